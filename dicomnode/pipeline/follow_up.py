"""Lesions of a CT matched to those of earlier CTs of the patient: the same ones keep their UID.

Each earlier study is laid on the present one (`registration`); where that is poor, it says so and
matches nothing. Then each earlier lesion has a place here, and lesions of one type that lie near it
and are of about its size may be it. Which is which is one assignment for all together, so that no
lesion is taken twice. The last study that shows a lesion is the one that its growth is told from.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dicomnode.domain.codes import (
    COMPARED_AFTER,
    DAYS,
    DOUBLING_TIME,
    LONG_AXIS_CHANGE,
    PERCENT,
    SHORT_AXIS_CHANGE,
    VOLUME,
    VOLUME_CHANGE,
    Code,
)
from dicomnode.domain.findings import CaptionFinding, Finding, LesionFinding, Mark, Measurement
from dicomnode.domain.follow_up import (
    BodyMap,
    Compared,
    Fate,
    Growth,
    LesionPlace,
    LesionRecord,
    MissingLesion,
    PriorLesion,
    Priors,
    PriorStudy,
)
from dicomnode.domain.volumes import Volume
from dicomnode.pipeline.body_map import map_body
from dicomnode.pipeline.registration import (
    LEAST_AGREEMENT,
    LEAST_COMMON_MM,
    Registration,
    register,
)

GATE_MM = 15.0
"""How far a lesion may lie from its expected place, beside half its long axis."""
MOST_TIMES = 3.0
"""How many times as long or as short a lesion may have become."""
_FORBIDDEN = 1e6

Points = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUp:
    """The findings with what was learnt from earlier studies."""

    findings: tuple[Finding, ...]
    """Lesions with Tracking UID and growth; a sentence for each study compared."""
    lesions: Mapping[str, LesionRecord]
    """By the finding's name."""
    compared: tuple[Compared, ...]
    body: BodyMap


def follow_up(
    findings: Sequence[Finding], volume: Volume, priors: Priors, new_uids: Mapping[str, str]
) -> FollowUp:
    """Compare the lesions among `findings` with those of earlier studies.

    Args:
        findings: of one algorithm on `volume`.
        volume: a CT.
        priors: of the same patient and algorithm, the newest first.
        new_uids: name of a lesion -> the Tracking UID it has if it is a new one.
    """
    body = map_body(volume)
    places = _places(findings, volume)
    known: dict[str, str] = {}
    growths: dict[str, Growth] = {}
    compared: list[Compared] = []
    types = {one.name: one.type for one in findings if isinstance(one, LesionFinding)}
    for prior in priors.studies:
        fit = register(prior.body, body)
        same = _matched(prior, fit, places, types, known) if fit.usable else {}
        for name, earlier in same.items():
            known[name] = earlier.place.tracking_uid
            if not prior.same_study and name not in growths:
                growths[name] = _growth(earlier, places[name], prior, priors)
        if not prior.same_study:
            compared.append(_compared(prior, priors, fit, same))
    tracked = {
        name: replace(place, tracking_uid=known.get(name) or new_uids[name])
        for name, place in places.items()
    }
    told = [
        _with_growth(one, tracked[one.name].tracking_uid, growths.get(one.name))
        if isinstance(one, LesionFinding) and one.name in tracked
        else one
        for one in findings
    ]
    captions = [_caption(one, len(places), known) for one in compared]
    return FollowUp(
        findings=(*told, *captions),
        lesions={
            name: LesionRecord(place=place, growth=growths.get(name))
            for name, place in tracked.items()
        },
        compared=tuple(compared),
        body=body,
    )


def _places(findings: Sequence[Finding], volume: Volume) -> dict[str, LesionPlace]:
    """Every lesion with two measured axes."""
    return {
        one.name: _place(one, volume)
        for one in findings
        if isinstance(one, LesionFinding) and len(one.marks) >= 2
    }


def _place(lesion: LesionFinding, volume: Volume) -> LesionPlace:
    long_axis, short_axis = (_ends(mark, volume) for mark in lesion.marks[:2])
    x, y, z = long_axis.mean(axis=0).tolist()
    volumes = [one.value for one in lesion.measurements if one.name == VOLUME]
    return LesionPlace(
        tracking_uid=lesion.tracking_uid or "",
        center_lps_mm=(x, y, z),
        long_axis_mm=float(np.linalg.norm(np.diff(long_axis, axis=0))),
        short_axis_mm=float(np.linalg.norm(np.diff(short_axis, axis=0))),
        volume_ml=volumes[0] if volumes else None,
        sop_instance_uid=volume.frames[lesion.marks[0].slice_index].sop_instance_uid,
    )


def _ends(mark: Mark, volume: Volume) -> Points:
    """(2, 3), LPS mm."""
    ends = mark.points[[0, -1]]
    indices = np.column_stack([np.full(2, float(mark.slice_index)), ends[:, ::-1] - 0.5])
    affine = volume.grid.affine_lps_mm
    return np.asarray(indices @ affine[:3, :3].T + affine[:3, 3])


def _matched(
    prior: PriorStudy,
    fit: Registration,
    places: Mapping[str, LesionPlace],
    types: Mapping[str, Code],
    known: Mapping[str, str],
) -> dict[str, PriorLesion]:
    """Name of a present lesion -> the earlier one that it is.

    What has a UID already is found by it; of the rest, what is nearest for all together.
    """
    by_uid = {one.place.tracking_uid: one for one in prior.lesions}
    same = {name: by_uid[uid] for name, uid in known.items() if uid in by_uid}
    open_names = [name for name in places if name not in known]
    taken = set(known.values())
    earlier = [one for one in prior.lesions if one.place.tracking_uid not in taken]
    if not open_names or not earlier:
        return same
    expected = fit.moved(np.array([one.place.center_lps_mm for one in earlier]))
    costs = np.array(
        [
            [
                _cost(lesion, place, types[name], places[name])
                for lesion, place in zip(earlier, expected, strict=True)
            ]
            for name in open_names
        ]
    )
    # Here, as in `registration`: a node that starts has no need of it yet.
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(costs)
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        if costs[row, column] < _FORBIDDEN:
            same[open_names[row]] = earlier[column]
    return same


def _cost(earlier: PriorLesion, expected: Points, kind: Code, now: LesionPlace) -> float:
    """Distance in gates and change of size; `_FORBIDDEN` where they cannot be the same."""
    sizes = earlier.place.long_axis_mm, now.long_axis_mm
    apart = float(np.linalg.norm(expected - np.array(now.center_lps_mm)))
    gate = GATE_MM + max(sizes) / 2
    times = max(sizes) / max(min(sizes), 1e-3)
    is_type = (earlier.type.scheme, earlier.type.value) == (kind.scheme, kind.value)
    if not is_type or apart > gate or times > MOST_TIMES:
        return _FORBIDDEN
    return apart / gate + 0.5 * math.log(times)


def _growth(earlier: PriorLesion, now: LesionPlace, prior: PriorStudy, priors: Priors) -> Growth:
    before = earlier.place
    days = (priors.study_date - prior.study_date).days
    grown = None
    doubling = None
    if before.volume_ml and now.volume_ml:
        grown = _percent(before.volume_ml, now.volume_ml)
        if days > 0 and now.volume_ml > before.volume_ml:
            doubling = days * math.log(2) / math.log(now.volume_ml / before.volume_ml)
    return Growth(
        tracking_uid=before.tracking_uid,
        prior_job_id=prior.job_id,
        prior_name=earlier.name,
        days=days,
        long_axis_percent=_percent(before.long_axis_mm, now.long_axis_mm),
        short_axis_percent=_percent(before.short_axis_mm, now.short_axis_mm),
        volume_percent=grown,
        doubling_days=doubling,
    )


def _percent(before: float, now: float) -> float:
    return 100 * (now - before) / before


def _compared(
    prior: PriorStudy, priors: Priors, fit: Registration, same: Mapping[str, PriorLesion]
) -> Compared:
    found = {one.place.tracking_uid for one in same.values()}
    left = [one for one in prior.lesions if one.place.tracking_uid not in found]
    missing: tuple[MissingLesion, ...] = ()
    if fit.usable and left:
        shown = fit.shows(fit.moved(np.array([one.place.center_lps_mm for one in left])))
        missing = tuple(
            MissingLesion(
                name=one.name,
                tracking_uid=one.place.tracking_uid,
                fate=Fate.NOT_FOUND if is_shown else Fate.OUTSIDE,
            )
            for one, is_shown in zip(left, shown.tolist(), strict=True)
        )
    return Compared(
        job_id=prior.job_id,
        study_date=prior.study_date,
        days=(priors.study_date - prior.study_date).days,
        agreement=round(fit.agreement, 3),
        common_mm=round(fit.common_mm, 1),
        reason=_reason(fit),
        missing=missing,
    )


def _reason(fit: Registration) -> str:
    if fit.usable:
        return ""
    if fit.common_mm < LEAST_COMMON_MM:
        return f"the scans share {fit.common_mm:.0f} mm of the body, too little to align them"
    return f"the scans do not align (agreement {fit.agreement:.2f}, {LEAST_AGREEMENT:.2f} needed)"


def _with_growth(lesion: LesionFinding, uid: str, growth: Growth | None) -> LesionFinding:
    if growth is None:
        return replace(lesion, tracking_uid=uid)
    told = [
        (LONG_AXIS_CHANGE, growth.long_axis_percent, PERCENT),
        (SHORT_AXIS_CHANGE, growth.short_axis_percent, PERCENT),
        (VOLUME_CHANGE, growth.volume_percent, PERCENT),
        (COMPARED_AFTER, float(growth.days), DAYS),
        (DOUBLING_TIME, growth.doubling_days, DAYS),
    ]
    numbers = tuple(
        Measurement(name=name, value=value, unit=unit)
        for name, value, unit in told
        if value is not None
    )
    return replace(lesion, tracking_uid=uid, measurements=(*lesion.measurements, *numbers))


def _caption(compared: Compared, present: int, known: Mapping[str, str]) -> CaptionFinding:
    """What a reader has to know of the comparison, in a sentence."""
    start = f"Compared with the CT of {compared.study_date.isoformat()} ({compared.days} days):"
    if not compared.usable:
        text = f"{start} no lesion was matched, since {compared.reason}."
    else:
        fates = "".join(f" {one.name}: {one.fate.value}." for one in compared.missing)
        text = (
            f"{start} {len(known)} of {present} lesions were there before, "
            f"{present - len(known)} are new.{fates}"
        )
    return CaptionFinding(name=f"Comparison with {compared.study_date.isoformat()}", text=text)
