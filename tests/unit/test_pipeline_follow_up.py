"""Lesions found again in a later CT: aligned by the body, matched one to one, or not at all."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from dicomnode.domain.codes import LONG_AXIS, ML, MM, SHORT_AXIS, VOLUME, Code
from dicomnode.domain.findings import CaptionFinding, LesionFinding, Mark, Measurement
from dicomnode.domain.follow_up import Fate, PriorLesion, Priors, PriorStudy
from dicomnode.domain.identifiers import InstanceUid, JobId, SeriesUid, StudyUid
from dicomnode.domain.volumes import Grid, SourceFrame, Volume
from dicomnode.pipeline.body_map import AIR, BONE, SOFT, classes_of, map_body
from dicomnode.pipeline.follow_up import FollowUp, follow_up
from dicomnode.pipeline.registration import register
from dicomnode.testing.torso import trunk

NODE = Code("30746006", "SCT", "Lymph node structure")
BONE_LESION = Code("272673000", "SCT", "Bone structure")
THEN, NOW = date(2024, 1, 31), date(2024, 4, 30)
SPACING = np.array([4.0, 4.0, 4.0])
NOWHERE = Priors(study_date=THEN, studies=())
Place = tuple[float, float, float]


def torso(
    *, moved: Place = (0, 0, 0), first: int = 0, slices: int = 70, turned: float = 0.0
) -> Volume:
    """The trunk in voxels of 4 mm. `moved` is the table's (x, y, z).

    `first` and `slices` say which part of it is scanned.
    """
    z, y, x = np.mgrid[:slices, :72, :96] * SPACING[0]
    z = z + first * SPACING[0] - moved[2]
    x, y = x - 192 - moved[0], y - 144 - moved[1]
    x, y = x * np.cos(turned) - y * np.sin(turned), x * np.sin(turned) + y * np.cos(turned)
    values = trunk(x, y, z)
    affine = np.array([[0, 0, 4, -192], [0, 4, 0, -144], [4, 0, 0, first * 4.0], [0, 0, 0, 1]])
    grid = Grid(
        affine_lps_mm=affine.astype(float), shape=values.shape, frame_of_reference_uid="1.2.3"
    )
    return Volume(
        study_uid=StudyUid("1.2"),
        series_uid=SeriesUid("1.2.3"),
        modality="CT",
        array=values,
        grid=grid,
        frames=tuple(_frame(index) for index in range(slices)),
    )


def _frame(index: int) -> SourceFrame:
    return SourceFrame(
        path=Path(f"{index}.dcm"),
        sop_instance_uid=InstanceUid(f"1.2.3.{index + 1}"),
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        frame_number=None,
    )


def lesion(
    volume: Volume, name: str, center: Place, long_mm: float, *, kind: Code = NODE
) -> LesionFinding:
    """Two thirds as wide as long, with the volume of its ellipsoid; `center` is LPS, mm."""
    inverse = np.linalg.inv(volume.grid.affine_lps_mm)
    index, row, column = (inverse @ (*center, 1))[:3]
    half = long_mm / 2 / 4
    ends = {
        LONG_AXIS: [[column - half, row], [column + half, row]],
        SHORT_AXIS: [[column, row - half / 1.5], [column, row + half / 1.5]],
    }
    marks = tuple(
        Mark(
            slice_index=round(index),
            points=np.array(points) + 0.5,
            measurement=Measurement(name=axis, value=long_mm, unit=MM),
        )
        for axis, points in ends.items()
    )
    millilitres = np.pi / 6 * long_mm**3 / 1.5**2 / 1000
    return LesionFinding(
        name=name,
        type=kind,
        site=None,
        laterality=None,
        score=0.9,
        marks=marks,
        measurements=(Measurement(name=VOLUME, value=float(millilitres), unit=ML),),
    )


def new_uids(*names: str) -> dict[str, str]:
    return {name: f"2.25.{number}" for number, name in enumerate(names, start=100)}


def as_prior(done: FollowUp, when: date = THEN, job: str = "earlier", **more: bool) -> PriorStudy:
    kinds = {one.name: one.type for one in done.findings if isinstance(one, LesionFinding)}
    return PriorStudy(
        job_id=JobId(job),
        study_date=when,
        body=done.body,
        lesions=tuple(
            PriorLesion(name=name, type=kinds[name], place=record.place)
            for name, record in done.lesions.items()
        ),
        **more,
    )


def baseline() -> PriorStudy:
    """Three lesions: in the mediastinum, beside it, and low in the liver."""
    volume = torso()
    found = [
        lesion(volume, "Node 1", (10, -20, 180), 20),
        lesion(volume, "Node 2", (-12, 20, 160), 12),
        lesion(volume, "Node 3", (-60, 0, 36), 30),
    ]
    uids = {"Node 1": "2.25.1", "Node 2": "2.25.2", "Node 3": "2.25.3"}
    return as_prior(follow_up(found, volume, NOWHERE, uids))


@pytest.fixture(scope="module")
def prior() -> PriorStudy:
    return baseline()


def after(prior: PriorStudy) -> Priors:
    return Priors(study_date=NOW, studies=(prior,))


def shifted(place: Place, by: Place) -> Place:
    x, y, z = (np.array(place) + by).tolist()
    return x, y, z


def test_tissues_of_the_map_lie_where_the_ct_has_them() -> None:
    classes = classes_of(map_body(torso()))

    # (z, y, x) of the map at LPS (-70, 0, 190), (0, 62, 190) and (0, -20, 190).
    def at(x: float, y: float, z: float) -> int:
        return int(classes[round(z / 6), round((y + 144) / 6), round((x + 192) / 6)])

    assert (at(-70, 0, 190), at(0, 62, 186), at(0, -20, 190)) == (AIR, BONE, SOFT)


@pytest.mark.parametrize("moved", [(0, 0, 0), (25, -14, 40), (-30, 10, -60)])
def test_a_lesion_keeps_its_uid_wherever_the_table_stood(prior: PriorStudy, moved: Place) -> None:
    volume = torso(moved=moved, turned=0.05)
    back = lesion(volume, "Node 1", shifted((-12, 20, 160), moved), 12.2)
    grown = lesion(volume, "Node 2", shifted((10, -20, 180), moved), 30)
    done = follow_up([back, grown], volume, after(prior), new_uids("Node 1", "Node 2"))
    first, second = (one for one in done.findings if isinstance(one, LesionFinding))
    assert (first.tracking_uid, second.tracking_uid) == ("2.25.2", "2.25.1")
    (compared,) = done.compared
    assert compared.agreement > 0.9


def test_growth_is_told_in_percent_and_doubling_time(prior: PriorStudy) -> None:
    volume = torso()
    grown = lesion(volume, "Node 1", (10, -20, 180), 30)
    done = follow_up([grown], volume, after(prior), new_uids("Node 1"))
    growth = done.lesions["Node 1"].growth
    assert growth is not None
    assert growth.days == 90
    assert growth.long_axis_percent == pytest.approx(50)
    assert growth.volume_percent == pytest.approx(100 * (1.5**3 - 1))
    assert growth.doubling_days == pytest.approx(90 * np.log(2) / np.log(1.5**3))
    (told,) = (one for one in done.findings if isinstance(one, LesionFinding))
    numbers = {one.name.meaning: one.value for one in told.measurements}
    assert numbers["Change of long axis"] == pytest.approx(50)
    assert numbers["Time since compared study"] == 90


def test_what_is_not_found_again_is_said_and_what_is_outside_too(prior: PriorStudy) -> None:
    """The later scan begins above the liver."""
    volume = torso(first=20, slices=50)
    seen = lesion(volume, "Node 1", (10, -20, 180), 20)
    done = follow_up([seen], volume, after(prior), new_uids("Node 1"))
    (compared,) = done.compared
    assert {one.name: one.fate for one in compared.missing} == {
        "Node 2": Fate.NOT_FOUND,
        "Node 3": Fate.OUTSIDE,
    }
    (caption,) = (one for one in done.findings if isinstance(one, CaptionFinding))
    assert "Node 2: not found again. Node 3: outside of these images." in caption.text


def test_a_new_lesion_has_a_new_uid(prior: PriorStudy) -> None:
    volume = torso()
    new = lesion(volume, "Node 1", (60, 0, 60), 14)
    done = follow_up([new], volume, after(prior), new_uids("Node 1"))
    assert done.lesions["Node 1"].place.tracking_uid == "2.25.100"
    assert done.lesions["Node 1"].growth is None


@pytest.mark.parametrize(
    ("place", "long_mm", "kind"),
    [
        ((10, -20, 180), 20, BONE_LESION),
        ((10, -20, 180), 61, NODE),
        ((45, -20, 180), 20, NODE),
    ],
)
def test_another_type_size_or_place_is_another_lesion(
    prior: PriorStudy, place: Place, long_mm: float, kind: Code
) -> None:
    volume = torso()
    other = lesion(volume, "Node 1", place, long_mm, kind=kind)
    done = follow_up([other], volume, after(prior), new_uids("Node 1"))
    assert done.lesions["Node 1"].place.tracking_uid == "2.25.100"


def test_two_lesions_near_one_place_share_it_out(prior: PriorStudy) -> None:
    """Both would be nearest to the same earlier one; only one of them can be it."""
    volume = torso()
    found = [
        lesion(volume, "Node 1", (10, -14, 180), 20),
        lesion(volume, "Node 2", (10, -26, 180), 16),
    ]
    done = follow_up(found, volume, after(prior), new_uids("Node 1", "Node 2"))
    uids = [record.place.tracking_uid for record in done.lesions.values()]
    assert uids == ["2.25.1", "2.25.101"]


def test_another_body_is_matched_to_nothing_and_says_so(prior: PriorStudy) -> None:
    volume = torso()
    noise = np.random.default_rng(1).normal(size=volume.array.shape)
    blobs = ndimage.gaussian_filter(noise, 6) * 60
    other = replace(volume, array=np.where(blobs > 0.5, 200, -1000).astype(np.float32))
    seen = lesion(other, "Node 1", (10, -20, 180), 20)
    done = follow_up([seen], other, after(prior), new_uids("Node 1"))
    (compared,) = done.compared
    assert not compared.usable
    assert done.lesions["Node 1"].place.tracking_uid == "2.25.100"
    (caption,) = (one for one in done.findings if isinstance(one, CaptionFinding))
    assert "no lesion was matched, since the scans" in caption.text


def test_scans_of_different_regions_share_too_little() -> None:
    low, high = map_body(torso(slices=38)), map_body(torso(first=34, slices=36))
    assert not register(low, high).usable


def test_a_lesion_that_was_missed_once_is_itself_again(prior: PriorStudy) -> None:
    volume = torso()
    between = as_prior(
        follow_up(
            [lesion(volume, "Node 1", (-12, 20, 160), 13)],
            volume,
            after(prior),
            new_uids("Node 1"),
        ),
        NOW,
        "between",
    )
    last = Priors(study_date=date(2024, 7, 29), studies=(between, prior))
    found = [
        lesion(volume, "Node 1", (10, -20, 180), 22),
        lesion(volume, "Node 2", (-12, 20, 160), 14),
    ]
    done = follow_up(found, volume, last, new_uids("Node 1", "Node 2"))
    growths = [record.growth for record in done.lesions.values()]
    assert [one and one.tracking_uid for one in growths] == ["2.25.1", "2.25.2"]
    # Each from the last study that showed it.
    assert [one and one.prior_job_id for one in growths] == ["earlier", "between"]


def test_a_later_revision_of_the_same_study_keeps_the_uids_without_growth(
    prior: PriorStudy,
) -> None:
    volume = torso()
    again = replace(prior, same_study=True, job_id=JobId("revision 1"))
    done = follow_up(
        [lesion(volume, "Node 1", (10, -20, 180), 20)],
        volume,
        Priors(study_date=THEN, studies=(again,)),
        new_uids("Node 1"),
    )
    assert done.lesions["Node 1"].place.tracking_uid == "2.25.1"
    assert done.lesions["Node 1"].growth is None
    assert done.compared == ()


def test_the_map_follows_the_affine_not_the_order_of_slices() -> None:
    volume = torso()
    flipped = volume.grid.affine_lps_mm.copy()
    flipped[:3, 3] += flipped[:3, 0] * (volume.grid.shape[0] - 1)
    flipped[:3, 0] *= -1
    turned: npt.NDArray[np.float32] = volume.array[::-1]
    other = replace(volume, array=turned, grid=replace(volume.grid, affine_lps_mm=flipped))
    first, second = map_body(volume), map_body(other)
    assert first.shape == second.shape
    assert (classes_of(first) == classes_of(second)).mean() > 0.97
