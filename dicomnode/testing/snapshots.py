"""Closed studies as rules see them, without any image."""

from collections.abc import Mapping
from datetime import UTC, datetime

from dicomnode.domain.identifiers import SeriesUid, StudyUid
from dicomnode.domain.studies import ClosingReason, Evidence, SeriesFacts, StudySnapshot

STUDY_UID = StudyUid("1.2")
NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)

Texts = str | tuple[str, ...]

_CT: Mapping[str, Texts] = {
    "Modality": "CT",
    "ImageOrientationPatient": ("1", "0", "0", "0", "1", "0"),
    "SliceThickness": "3.0",
}


def series_facts(
    uid: str = "1.2.1",
    *,
    count: int = 100,
    without: tuple[str, ...] = (),
    values: Mapping[str, Texts] | None = None,
    **more: Texts,
) -> SeriesFacts:
    """An axial CT series; `values` and `more` come on top, keywords in `without` are absent.

    SeriesNumber is the last component of `uid`.
    """
    every = {**_CT, "SeriesNumber": uid.rsplit(".", 1)[-1], **(values or {}), **more}
    texts = {
        keyword: one if isinstance(one, tuple) else (one,)
        for keyword, one in every.items()
        if keyword not in without
    }
    return SeriesFacts(
        series_uid=SeriesUid(uid),
        study_uid=STUDY_UID,
        modality=next(iter(texts.get("Modality", ())), ""),
        instance_count=count,
        values=texts,
    )


def study_snapshot(
    *series: SeriesFacts, calling_ae: str = "CT1", closed_series: str | None = None
) -> StudySnapshot:
    """The first revision of a study, or of one series of it, closed at noon."""
    count = sum(facts.instance_count for facts in series)
    evidence = Evidence(
        received_instances=count,
        new_instances=count,
        first_new_at=NOON,
        last_new_at=NOON,
        open_associations=0,
        required_series_present=None,
        expected_instances=None,
    )
    return StudySnapshot(
        study_uid=STUDY_UID,
        revision=1,
        series_uid=None if closed_series is None else SeriesUid(closed_series),
        reason=ClosingReason.QUIET,
        evidence=evidence,
        closed_at=NOON,
        calling_aes=frozenset({calling_ae}),
        series={facts.series_uid: facts for facts in series},
    )
