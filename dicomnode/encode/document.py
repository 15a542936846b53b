"""The SR document around a content tree: header, evidence, predecessors."""

from collections.abc import Sequence
from functools import lru_cache

from highdicom import ContributingEquipment
from highdicom.sr import Comprehensive3DSR, value_types
from highdicom.sr.utils import collect_evidence
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from dicomnode.algorithm import AlgorithmIdentity
from dicomnode.domain.errors import EncodeError
from dicomnode.domain.results import ResultKind
from dicomnode.encode.concepts import REPORT_TITLE, private_scheme, shared_concept
from dicomnode.encode.derivation import Derivation
from dicomnode.encode.heading import Heading, finish
from dicomnode.encode.origin import Origin

_STAND_IN = "2.25.0"
"""Where the kept header has a UID of a study, series or instance; every report puts in its own."""
_CONTENT_SEQUENCE = 0x0040A730


def fill(item: Dataset, content: Sequence[Dataset]) -> None:
    """Put content items below one; a `ContentSequence` would sort them all by concept as well."""
    item.add_new(_CONTENT_SEQUENCE, "SQ", content)


def document(
    content: Sequence[Dataset],
    evidence: Sequence[Dataset],
    origin: Origin,
    kind: ResultKind,
    heading: Heading,
) -> Dataset:
    """An SR of these content items.

    What is the same in every report of an algorithm is made by highdicom once and kept. Its own
    way for each would copy the whole content twice, and take as long as everything else here.

    Raises:
        EncodeError: the content refers to what is no evidence, or highdicom refuses the source.
    """
    check_evidence(content, evidence)
    study = str(origin.volume.study_uid)
    try:
        sr = _own_copy(_header(origin.identity, complete=origin.derivation.complete))
        here, elsewhere = collect_evidence(evidence, _root(), study)
        previous = collect_evidence(_previous(origin.derivation, kind), _root(), study)
    except (ValueError, TypeError, AttributeError, KeyError) as exc:
        raise EncodeError(f"no report could be made on this source: {type(exc).__name__}") from exc
    sr.StudyInstanceUID = study
    sr.SeriesInstanceUID = str(origin.uids.series(kind))
    sr.SeriesNumber = heading.series_number
    sr.SOPInstanceUID = str(origin.uids.instance(kind))
    sr.file_meta.MediaStorageSOPInstanceUID = UID(sr.SOPInstanceUID)
    for keyword, items in (
        ("CurrentRequestedProcedureEvidenceSequence", here),
        ("PertinentOtherEvidenceSequence", elsewhere),
        ("PredecessorDocumentsSequence", [*previous[0], *previous[1]]),
    ):
        if items:
            setattr(sr, keyword, items)
    fill(sr, content)
    finish(sr, origin.source.patient, heading)
    return sr


class _Document(Comprehensive3DSR):
    """Without the search for what the stand-in of a source image does not have.

    It names neither patient (`finish` puts it in) nor equipment, and highdicom looks for both
    through all modules of its class.
    """

    def copy_patient_and_study_information(self, dataset: Dataset) -> None:
        """Leave the patient to `finish`."""

    def _add_contributing_equipment(
        self,
        contributing_equipment: Sequence[ContributingEquipment] | None = None,
        _source_image: Dataset | None = None,
    ) -> None:
        super()._add_contributing_equipment(contributing_equipment)


@lru_cache(maxsize=16)
def _header(identity: AlgorithmIdentity, *, complete: bool) -> Dataset:
    """What reports of an algorithm have in common; one for all, not to be changed."""
    image = Dataset()
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
        setattr(image, keyword, _STAND_IN)
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"):
        setattr(image, keyword, None)
    for keyword in ("AccessionNumber", "StudyID", "StudyDate", "StudyTime"):
        setattr(image, keyword, None)
    sr = _Document(
        evidence=[image],
        content=_root(),
        series_instance_uid=_STAND_IN,
        series_number=1,
        sop_instance_uid=_STAND_IN,
        instance_number=1,
        manufacturer=identity.manufacturer[:64],
        manufacturer_model_name=identity.name[:64],
        software_versions=identity.version[:64],
        device_serial_number=identity.model_digest[:16],
        is_complete=complete,
        is_final=False,
        is_verified=False,
    )
    del sr.CurrentRequestedProcedureEvidenceSequence
    sr.CodingSchemeIdentificationSequence = [private_scheme()]
    return sr


def _root() -> value_types.ContainerContentItem:
    root = value_types.ContainerContentItem(name=shared_concept(REPORT_TITLE), template_id="1500")
    fill(root, [])
    return root


def _own_copy(header: Dataset) -> Dataset:
    """A data set that can be changed: its own elements, and its own items of equipment."""
    sr = Dataset()
    _copy_elements(header, sr)
    sr.file_meta = FileMetaDataset()
    _copy_elements(header.file_meta, sr.file_meta)
    contributors = []
    for item in header.ContributingEquipmentSequence:
        contributors.append(Dataset())
        _copy_elements(item, contributors[-1])
    sr.ContributingEquipmentSequence = contributors
    return sr


def _copy_elements(source: Dataset, target: Dataset) -> None:
    for element in source.values():
        assert isinstance(element, DataElement)
        target.add(DataElement(element.tag, element.VR, element.value, already_converted=True))


def check_evidence(content: Sequence[Dataset], evidence: Sequence[Dataset]) -> None:
    """Raise if an image or another object is referred to that is not listed as evidence."""
    listed = {str(one.SOPInstanceUID) for one in evidence}
    for item in content:
        if not _referred_to(item) <= listed:
            raise EncodeError("the report refers to an object that is not part of its evidence")


def _referred_to(item: Dataset) -> set[str]:
    found = {
        str(reference.ReferencedSOPInstanceUID)
        for reference in item.get("ReferencedSOPSequence", ())
    }
    return found.union(*(_referred_to(child) for child in item.get("ContentSequence", ())))


def _previous(derivation: Derivation, kind: ResultKind) -> list[Dataset]:
    """The earlier reports of the same kind, else those that refer to a SEG."""
    earlier = (*derivation.predecessors, *derivation.earlier_runs)
    alike = [one for one in earlier if one.kind is kind]
    documents = []
    for predecessor in alike or [one for one in earlier if one.kind is ResultKind.SR]:
        ds = Dataset()
        ds.StudyInstanceUID = predecessor.study_uid
        ds.SeriesInstanceUID = predecessor.series_uid
        ds.SOPClassUID = predecessor.sop_class_uid
        ds.SOPInstanceUID = predecessor.sop_instance_uid
        documents.append(ds)
    return documents
