"""Tables of what stands in the objects the node writes, read from example results."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pydicom
from pydicom.datadict import dictionary_description
from pydicom.dataset import Dataset

from dicomnode.conformance.attributes import attribute_table
from dicomnode.conformance.content import content_table
from dicomnode.documents import table
from dicomnode.domain import codes
from dicomnode.domain.codes import LUNG, RIGHT, Code
from dicomnode.domain.findings import (
    CaptionFinding,
    ClassFinding,
    Finding,
    LesionFinding,
)
from dicomnode.domain.identifiers import InstanceUid, SeriesUid, StudyUid
from dicomnode.domain.results import EncodedObject, ResultKind
from dicomnode.domain.volumes import Volume
from dicomnode.encode import concepts
from dicomnode.encode.concepts import PRIVATE_SCHEME, private_scheme
from dicomnode.encode.derivation import Derivation, Predecessor
from dicomnode.encode.patient import PATIENT_KEYWORDS
from dicomnode.encode.results import encode_results
from dicomnode.settings import OutputSettings
from dicomnode.testing.findings import PHANTOM_ALGORITHM, heart_with_ratio, lungs
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series, radiograph
from dicomnode.testing.volumes import written_volume

_KINDS = (
    ResultKind.SEG,
    ResultKind.SR,
    ResultKind.SECONDARY_CAPTURE,
    ResultKind.GSPS,
    ResultKind.KOS,
)
_MADE_AT = datetime(2024, 1, 31, 12, 30, tzinfo=UTC)
_FIRST = Derivation(job_key="first", revision=1, made_at=_MADE_AT, software_versions=("dicomnode",))
_SECOND = Derivation(
    job_key="second",
    revision=2,
    made_at=_MADE_AT,
    software_versions=("dicomnode",),
    predecessors=(
        Predecessor(
            study_uid=StudyUid("1.2.3"),
            series_uid=SeriesUid("1.2.3.4"),
            sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34",
            sop_instance_uid=InstanceUid("1.2.3.4.5"),
        ),
    ),
    complete=False,
)
CARDIOMEGALY = Code("8186001", "SCT", "Cardiomegaly")
NODULE = Code("27925004", "SCT", "Nodule")


def example_results(folder: Path) -> Mapping[ResultKind, Sequence[Dataset]]:
    """Results of a first and a second revision, on a CT and on a radiograph."""
    ct_folder, dx_folder = folder / "ct", folder / "dx"
    ct_folder.mkdir()
    dx_folder.mkdir()
    geometry = SeriesGeometry(slices=4)
    ct = written_volume(ct_series(StudyIdentity(seed="conformance"), geometry), ct_folder)
    dx = written_volume([radiograph(StudyIdentity(seed="conformance"))], dx_folder)
    made = [
        *_encode((*lungs(ct), _nodule(ct), _caption()), ct, _FIRST, ct_folder),
        *_encode((*heart_with_ratio(dx), _cardiomegaly()), dx, _SECOND, dx_folder),
    ]
    return {
        kind: [pydicom.dcmread(one.path) for one in made if one.kind is kind] for kind in _KINDS
    }


def _encode(
    findings: tuple[Finding, ...], volume: Volume, derivation: Derivation, folder: Path
) -> tuple[EncodedObject, ...]:
    return encode_results(
        findings,
        volume,
        identity=PHANTOM_ALGORITHM,
        derivation=derivation,
        out=folder / "results",
        settings=OutputSettings(institution="Hospital"),
        kinds=frozenset(_KINDS),
    )


def _nodule(volume: Volume) -> LesionFinding:
    mask = lungs(volume)[0].mask.copy()
    mask[1:] = False
    return LesionFinding(
        name="Nodule 1",
        type=NODULE,
        site=LUNG,
        laterality=RIGHT,
        score=0.9,
        marks=(),
        mask=mask,
    )


def _caption() -> CaptionFinding:
    return CaptionFinding(name="caption", text="A phantom.")


def _cardiomegaly() -> ClassFinding:
    return ClassFinding(
        name="cardiomegaly", finding=CARDIOMEGALY, probability=0.7, operating_point=0.5
    )


def object_tables(results: Mapping[ResultKind, Sequence[Dataset]]) -> Mapping[str, str]:
    """Tables by name."""
    every = [ds for of_kind in results.values() for ds in of_kind]
    return {
        "seg-attributes": attribute_table(results[ResultKind.SEG]),
        "sr-attributes": attribute_table(results[ResultKind.SR]),
        "sr-content": content_table(results[ResultKind.SR]),
        "sc-attributes": attribute_table(results[ResultKind.SECONDARY_CAPTURE]),
        "gsps-attributes": attribute_table(results[ResultKind.GSPS]),
        "kos-attributes": attribute_table(results[ResultKind.KOS]),
        "kos-content": content_table(results[ResultKind.KOS]),
        "copied-attributes": _copied(),
        "private-elements": _private_elements(every),
        "codes": _codes(code for code in _concepts() if code.scheme != PRIVATE_SCHEME),
        "private-codes": _private_codes(),
    }


def _copied() -> str:
    names = [dictionary_description(keyword) for keyword in PATIENT_KEYWORDS[1:]]
    return "; ".join(names) + "."


def _concepts() -> list[Code]:
    procedures = (*concepts.PROCEDURES.values(), *concepts.CHEST_PROCEDURES.values())
    known = [*vars(codes).values(), *vars(concepts).values(), *procedures]
    return sorted(
        {one for one in known if isinstance(one, Code)}, key=lambda code: (code.scheme, code.value)
    )


def _codes(concepts_shown: Iterable[Code]) -> str:
    rows = [(f"`{code.value}`", code.scheme, code.meaning) for code in concepts_shown]
    return table(("code value", "scheme", "meaning"), rows)


def _private_codes() -> str:
    scheme = private_scheme()
    listed = _codes(code for code in _concepts() if code.scheme == PRIVATE_SCHEME)
    uid = f"`{scheme.CodingSchemeUID}`"
    return f"Coding scheme {PRIVATE_SCHEME} ({scheme.CodingSchemeName}), UID {uid}.\n\n{listed}"


def _private_elements(results: Iterable[Dataset]) -> str:
    tags = sorted(
        {element.tag for ds in results for element in ds.iterall() if element.tag.is_private}
    )
    return ", ".join(str(tag) for tag in tags) or "None: no object holds a private element."
