"""Coded concepts in highdicom's form, and what every object says of its maker."""

from functools import lru_cache

from highdicom.color import CIELabColor
from highdicom.content import AlgorithmIdentificationSequence
from highdicom.sr.coding import CodedConcept
from highdicom.sr.templates import AlgorithmIdentification
from pydicom.dataset import Dataset

from dicomnode.algorithm import AlgorithmIdentity
from dicomnode.domain.codes import CHEST_RADIOGRAPH, Code
from dicomnode.domain.identifiers import derived_uid
from dicomnode.encode.explicit import kept

PRIVATE_SCHEME = "99DICOMNODE"

ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")
IMAGING_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")
PROCEDURES = {
    "CT": Code("25045-6", "LN", "CT unspecified body region"),
    "MR": Code("25056-3", "LN", "MRI unspecified body region"),
    "PT": Code("44136-0", "LN", "PET unspecified body region"),
    "NM": Code("49118-3", "LN", "NM unspecified body region"),
    "CR": Code("43468-8", "LN", "XR unspecified body region"),
    "DX": Code("43468-8", "LN", "XR unspecified body region"),
}
"""Modality -> procedure reported (PS3.16 CID 100), where the source names no procedure."""
CHEST_PROCEDURES = {
    "CT": Code("24627-2", "LN", "CT Chest"),
    "CR": CHEST_RADIOGRAPH,
    "DX": CHEST_RADIOGRAPH,
}
"""The same where BodyPartExamined is the chest; CID 100, which may be extended, has neither."""

OF_INTEREST = Code("113000", "DCM", "Of Interest")
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
REPORT_TITLE = Code("126000", "DCM", "Imaging Measurement Report")
IMAGING_MEASUREMENTS = Code("126010", "DCM", "Imaging Measurements")
MEASUREMENT_GROUP = Code("125007", "DCM", "Measurement Group")
IMAGE_REGION = Code("111030", "DCM", "Image Region")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
PROCEDURE_REPORTED = Code("121058", "DCM", "Procedure reported")
FINDING = Code("121071", "DCM", "Finding")
COMMENT = Code("121106", "DCM", "Comment")
PRESENT = Code("52101004", "SCT", "Present")
ABSENT = Code("2667000", "SCT", "Absent")
SCORE = Code("score", PRIVATE_SCHEME, "Score")
PROBABILITY = Code("probability", PRIVATE_SCHEME, "Probability")
OPERATING_POINT = Code("operating-point", PRIVATE_SCHEME, "Operating point")


def concept(code: Code) -> CodedConcept:
    """`code` for a code sequence; meanings are cut to 64 characters (VR LO)."""
    return CodedConcept(value=code.value, scheme_designator=code.scheme, meaning=code.meaning[:64])


@lru_cache(maxsize=1024)
def shared_concept(code: Code) -> CodedConcept:
    """The same, one object for all content items that have this code; not to be changed."""
    return kept(concept(code))


def algorithm_sequence(identity: AlgorithmIdentity) -> AlgorithmIdentificationSequence:
    """Algorithm Identification macro (PS3.3 10.16), with the digest of the model."""
    return AlgorithmIdentificationSequence(
        name=identity.name[:64],
        family=concept(ARTIFICIAL_INTELLIGENCE),
        version=identity.version[:64],
        source=identity.manufacturer[:64],
        parameters={"model_sha256": identity.model_digest},
    )


@lru_cache(maxsize=16)
def algorithm_items(identity: AlgorithmIdentity) -> AlgorithmIdentification:
    """The same as content items (PS3.16 TID 4019); one object for all, not to be changed."""
    items = AlgorithmIdentification(
        name=identity.name,
        version=identity.version,
        manufacturer=identity.manufacturer,
        family=shared_concept(ARTIFICIAL_INTELLIGENCE),
        parameters=[f"model_sha256={identity.model_digest}"],
    )
    for item in items:
        kept(item)
    return items


def display_color(rgb: tuple[int, int, int]) -> CIELabColor:
    """sRGB (0 to 255) as the CIELab value viewers paint a segment with."""
    return CIELabColor.from_rgb(*rgb)


def private_scheme() -> Dataset:
    """Who is behind the private coding scheme (PS3.3 C.12.1.1.1)."""
    item = Dataset()
    item.CodingSchemeDesignator = PRIVATE_SCHEME
    item.CodingSchemeUID = derived_uid("dicomnode", "coding scheme", PRIVATE_SCHEME)
    item.CodingSchemeName = "dicomnode concepts"
    item.CodingSchemeResponsibleOrganization = "dicomnode"
    return item
