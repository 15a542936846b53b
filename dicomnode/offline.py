"""Studies straight from a folder, without a node: for `run` and `rules explain`."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dicomnode.assembly.facts import facts_by_series
from dicomnode.assembly.headers import read_header
from dicomnode.domain.errors import InstanceUnreadable, InvalidUid
from dicomnode.domain.identifiers import SeriesUid, StudyUid
from dicomnode.domain.instances import InstanceHeader
from dicomnode.domain.studies import ClosingReason, Evidence, SeriesFacts, StudySnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """What a folder holds."""

    files: Mapping[SeriesUid, tuple[Path, ...]]
    series: Mapping[SeriesUid, SeriesFacts]
    unreadable: tuple[tuple[Path, str], ...]
    """Files that are no DICOM instance, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshots:
    """The studies of a folder, whole and series by series, as if they had just closed."""

    snapshots: tuple[StudySnapshot, ...]
    unreadable: tuple[tuple[Path, str], ...]


def read_folder(paths: Iterable[Path]) -> Folder:
    """Sort files into series by their headers."""
    headers: list[InstanceHeader] = []
    files: dict[SeriesUid, list[Path]] = defaultdict(list)
    unreadable = []
    for path in paths:
        try:
            header = read_header(path)
        except (InstanceUnreadable, InvalidUid) as exc:
            unreadable.append((path, str(exc)))
            continue
        headers.append(header)
        files[header.series_uid].append(path)
    return Folder(
        files={uid: tuple(paths) for uid, paths in files.items()},
        series=facts_by_series(headers),
        unreadable=tuple(unreadable),
    )


def snapshots_of(paths: Iterable[Path], now: datetime) -> Snapshots:
    """Every study in `paths`: first whole, then each series alone (for rules of scope series)."""
    folder = read_folder(paths)
    studies: dict[StudyUid, dict[SeriesUid, SeriesFacts]] = defaultdict(dict)
    for uid, facts in sorted(folder.series.items()):
        studies[facts.study_uid][uid] = facts
    snapshots = []
    for study_uid, series in sorted(studies.items()):
        snapshots.append(_snapshot(study_uid, None, series, now))
        snapshots += [_snapshot(study_uid, uid, {uid: facts}, now) for uid, facts in series.items()]
    return Snapshots(snapshots=tuple(snapshots), unreadable=folder.unreadable)


def _snapshot(
    study_uid: StudyUid,
    series_uid: SeriesUid | None,
    series: Mapping[SeriesUid, SeriesFacts],
    now: datetime,
) -> StudySnapshot:
    count = sum(facts.instance_count for facts in series.values())
    evidence = Evidence(
        received_instances=count,
        new_instances=count,
        first_new_at=now,
        last_new_at=now,
        open_associations=0,
        required_series_present=None,
        expected_instances=None,
    )
    return StudySnapshot(
        study_uid=study_uid,
        revision=1,
        series_uid=series_uid,
        reason=ClosingReason.QUIET,
        evidence=evidence,
        closed_at=now,
        calling_aes=frozenset(),
        series=series,
    )
