"""Where lesions lie, as coded sites (PS3.16 CID 7151 and its like)."""

from enum import Enum

from dicomnode.domain.codes import Code

NECK_NODE = Code("81105003", "SCT", "Cervical lymph node")
MEDIASTINAL_NODE = Code("62683002", "SCT", "Mediastinal lymph node")
AXILLARY_NODE = Code("68171009", "SCT", "Axillary lymph node")
THORACIC_NODE = Code("47109002", "SCT", "Lymph node of thorax")
RETROPERITONEAL_NODE = Code("91394001", "SCT", "Retroperitoneal lymph node")
ABDOMINAL_NODE = Code("8568009", "SCT", "Abdominal lymph node")
PELVIC_NODE = Code("54268001", "SCT", "Pelvic lymph node")
INGUINAL_NODE = Code("8928004", "SCT", "Inguinal lymph node")
SPINE = Code("51282000", "SCT", "Bone structure of spine")
PELVIS_BONE = Code("118645006", "SCT", "Bone structure of pelvis")
RIB = Code("113197003", "SCT", "Rib")


class Refined(Enum):
    """How the site of a type of lesion is told more exactly."""

    LYMPH_NODE = "lymph node"
    """By station: neck, mediastinum, axilla, retroperitoneum, abdomen, pelvis, groin."""
    BONE = "bone"
    """Spine, pelvis or rib."""
    SIDE = "side"
    """Right or left of the body's middle, for paired organs."""
