"""UIDs of the services the node uses or offers besides storage (PS3.6 Annex A)."""

VERIFICATION = "1.2.840.10008.1.1"
STORAGE_COMMITMENT_PUSH = "1.2.840.10008.1.20.1"
STORAGE_COMMITMENT_PUSH_INSTANCE = "1.2.840.10008.1.20.1.1"
"""The well-known instance every commitment request names (PS3.4 J.3.5)."""
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
LABELMAP_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.7"
"""Supplement 243; libraries and archives may not know it yet."""

REPORTS = (
    "1.2.840.10008.5.1.4.1.1.88.11",
    "1.2.840.10008.5.1.4.1.1.88.22",
    "1.2.840.10008.5.1.4.1.1.88.33",
    "1.2.840.10008.5.1.4.1.1.88.34",
)
"""SR classes a person's report may come in: Basic Text, Enhanced, Comprehensive, its 3D form."""

SEGMENTATIONS = (
    "1.2.840.10008.5.1.4.1.1.66.4",
    "1.2.840.10008.5.1.4.1.1.66.7",
)
"""Segmentation and Label Map Segmentation."""
