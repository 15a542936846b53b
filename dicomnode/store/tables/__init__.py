"""Every table, as typed mappings. Migrations live in `sql/migrations`; a test compares the two."""

from dicomnode.store.tables.base import Base
from dicomnode.store.tables.received import (
    AssociationRow,
    InstanceRow,
    QuarantineRow,
    SeriesRow,
    StudyAssociationRow,
    StudyRow,
)
from dicomnode.store.tables.reports import (
    ConceptCodeRow,
    ImageReferenceRow,
    LabelNameRow,
    MentionRow,
    MiningVersionRow,
    ReportLabelRow,
    ReportPartRow,
    ReportReadingRow,
    ReportRow,
    ReportSectionRow,
)
from dicomnode.store.tables.work import (
    DeliveryRow,
    EventRow,
    FindingRow,
    JobRow,
    MeasurementRow,
    ResultRow,
    RevisionRow,
    RuleSetRow,
)

__all__ = [
    "AssociationRow",
    "Base",
    "ConceptCodeRow",
    "DeliveryRow",
    "EventRow",
    "FindingRow",
    "ImageReferenceRow",
    "InstanceRow",
    "JobRow",
    "LabelNameRow",
    "MeasurementRow",
    "MentionRow",
    "MiningVersionRow",
    "QuarantineRow",
    "ReportLabelRow",
    "ReportPartRow",
    "ReportReadingRow",
    "ReportRow",
    "ReportSectionRow",
    "ResultRow",
    "RevisionRow",
    "RuleSetRow",
    "SeriesRow",
    "StudyAssociationRow",
    "StudyRow",
]
