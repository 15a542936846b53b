"""Random views, candidates, and lesions placed on the CT's own grid."""

from collections.abc import Hashable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from scipy import ndimage
from torch.nn import functional

from dicomnode.networks.candidates import CandidateNet, heat_of, mirrored_heat_of
from dicomnode.networks.lesion_finder import (
    CUBE,
    FoundInferer,
    LesionFinder,
    OutlineNet,
    cube_at,
    joint_score,
)
from dicomnode.networks.lesion_placing import PlaceLesionsd, _Cube, _middle_part, _read, _soft
from dicomnode.networks.transforms import ToWorkingGridd
from dicomnode.networks.views import (
    SCALES_MM,
    ViewNet,
    aggregate,
    draw_poses,
    scales_for,
    two_windows,
    views_at,
)

Floats = npt.NDArray[np.float64]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_poses_depend_on_the_place_alone_and_a_longer_draw_begins_with_the_shorter() -> None:
    here = draw_poses((10.0, 20.0, 30.0), 20)
    assert np.array_equal(draw_poses((10.0, 20.0, 30.0), 5), here[:5])
    assert not np.array_equal(draw_poses((14.0, 20.0, 30.0), 5)[:, :, :3], here[:5, :, :3])
    shift = here[:, :, 3] - (10, 20, 30)
    assert np.abs(shift).max() <= 3
    sides = 2 * np.linalg.norm(here[:, :, :3], axis=1)
    assert set(np.unique(np.round(sides))) <= {30, 35, 40, 45}
    across = np.einsum("nij,nik->njk", here[..., :3], here[..., :3])
    assert np.abs(across - across * np.eye(3)).max() < 1e-3
    assert (np.linalg.det(here[..., :3]) < 0).any()


def test_views_are_the_three_planes_through_the_middle() -> None:
    x, y, z = (torch.arange(n, dtype=torch.float32) for n in (40, 50, 60))
    volume = x[:, None, None] + 100 * y[:, None] + 0 * z
    pose = np.concatenate([np.eye(3) * 8.0, [[20.0], [30.0], [40.0]]], axis=1)
    views = views_at(volume, (1, 1, 1), torch.from_numpy(pose[None].astype(np.float32)), side=16)
    line = torch.arange(16) + 0.5 - 8
    assert views.shape == (1, 3, 16, 16)
    flat = (20 + line)[:, None] + 100 * (30 + line)[None]
    assert torch.allclose(views[0, 0], flat, atol=0.05)
    assert torch.allclose(views[0, 1], (20 + line)[:, None] + 3000 + 0 * flat, atol=0.05)
    assert torch.allclose(views[0, 2], 20 + 100 * (30 + line)[:, None] + 0 * flat, atol=0.05)


def test_beyond_the_volume_there_is_air() -> None:
    views = views_at(torch.zeros(4, 4, 4), (1, 1, 1), torch.from_numpy(draw_poses((90, 90, 90), 2)))
    assert (views == -1024).all()


def test_a_candidate_scores_the_same_alone_and_among_others() -> None:
    volume = torch.randn(40, 40, 40) * 200
    network = ViewNet(3).eval()
    points = np.array([[30.0, 40, 50], [20, 20, 20], [60, 10, 44]])
    with torch.inference_mode():
        together = aggregate(network, volume, (2, 2, 2), points, views=6, batch=4)
        alone = aggregate(network, volume, (2, 2, 2), points[1:2], views=6)
    assert together.shape == (3, 6, 3)
    assert torch.allclose(together[1], alone[0], atol=1e-5)
    assert torch.allclose(together.sum(-1), torch.ones(3, 6), atol=1e-5)


def test_views_are_read_as_torch_reads_a_volume() -> None:
    volume = torch.randn(20, 30, 25) * 300
    spacing = torch.tensor([2.0, 1.5, 3.0])
    points = [(-3.0, 10.0, 20.0), (20.0, 22.0, 36.0), (39.0, 40.0, 74.0)]
    poses = torch.from_numpy(np.concatenate([draw_poses(point, 20) for point in points]))

    views = views_at(volume, spacing.tolist(), poses, side=12)

    line = (torch.arange(12) + 0.5) / 6 - 1
    u, v = torch.meshgrid(line, line, indexing="ij")
    nought = torch.zeros_like(u)
    planes = [torch.stack(p, -1) for p in ((u, v, nought), (u, nought, v), (nought, u, v))]
    at = torch.einsum("nij,pabj->npabi", poses[..., :3], torch.stack(planes))
    at += poses[:, None, None, None, :, 3]
    grid = ((at / spacing * 2 + 1) / torch.tensor(volume.shape) - 1).flip(-1)
    read = functional.grid_sample(
        volume[None, None] + 1024, grid.reshape(1, -1, 12, 12, 3), align_corners=False
    )
    assert torch.allclose(views, read.view_as(views) - 1024, atol=0.1)
    assert (views == -1024).any()


def test_windows_are_clipped() -> None:
    told = two_windows(torch.tensor([[-2000.0, 40.0, 3000.0]]), 0)
    assert told.tolist() == [[-1, 0, 1], [-1, pytest.approx(0.04, abs=1e-6), 1]]


def small() -> CandidateNet:
    """In evaluation mode, with statistics of noise, so that its head says something."""
    network = CandidateNet(2, features=(4, 6, 8, 8, 8))
    torch.nn.init.normal_(network.decide.weight, std=2.0)
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm3d):
            part.momentum = 1.0
    with torch.inference_mode():
        network(torch.randn(1, 1, 48, 48, 48) * 200 + 100)
    return network.eval()


def test_candidates_are_heat_of_each_type_and_a_radius_at_every_second_voxel() -> None:
    network = small().train()
    logits = network(torch.randn(1, 1, 32, 16, 48) * 300)
    assert logits.shape == (1, 3, 16, 8, 24)
    logits.sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())


def test_an_untrained_network_finds_next_to_nothing() -> None:
    network = CandidateNet(2, features=(4, 6, 8, 8, 8)).eval()
    with torch.inference_mode():
        assert float(heat_of(network, torch.randn(32, 32, 32) * 300).maps[:2].mean()) < 0.05


def test_heat_is_the_same_in_slabs_and_whole() -> None:
    network = small()
    volume = torch.randn(20, 18, 290) * 200 + 100
    with torch.inference_mode():
        whole = heat_of(network, volume, slab=304).maps
        parts = heat_of(network, volume, slab=96).maps
    assert whole.shape == (3, 10, 9, 145)
    assert whole[:2].std() > 0.05
    assert torch.allclose(whole, parts, atol=1e-3)


@pytest.mark.parametrize("columns", [64, 67, 70])
def test_heat_of_a_volume_and_its_mirror_image_is_their_mean(columns: int) -> None:
    """Of a network that says how dense a voxel is, but more so of the left: both sides alike."""

    def network(hu: torch.Tensor) -> torch.Tensor:
        heat = functional.avg_pool3d(hu, 2) / 100
        heat[:, :, : heat.shape[2] // 2] *= 2
        return heat.repeat(1, 2, 1, 1, 1)

    volume = torch.full((columns, 48, 32), -1000.0)
    volume[16:columns, 10:40, :] = 0
    volume[40:44, 20:24, 12:16] = 200
    plain, both = heat_of(network, volume), mirrored_heat_of(network, volume)
    assert plain.corner == both.corner
    assert plain.maps.shape == both.maps.shape
    even = columns + columns % 2
    mirrored = torch.full((even, 48, 32), -1000.0)
    mirrored[even - columns :] = volume.flip(0)
    other = heat_of(network, mirrored)
    at = np.array([21, 11, 7])
    here = tuple(at - plain.corner)
    there = tuple(np.array([even // 2 - 1 - 21, 11, 7]) - other.corner)
    two = [
        float(maps[0][place].logit()) for maps, place in ((plain.maps, here), (other.maps, there))
    ]
    assert float(both.maps[0][here].logit()) == pytest.approx(sum(two) / 2, abs=1e-3)
    assert float(both.maps[1][here]) == pytest.approx(
        float(plain.maps[1][here] + other.maps[1][there]) / 2
    )


def test_air_around_the_body_changes_nothing_and_holds_nothing() -> None:
    network = small()
    body = torch.randn(48, 48, 48) * 200 + 100
    around = torch.full((112, 96, 48), -1000.0)
    around[24:72, 32:80] = body
    with torch.inference_mode():
        heat = heat_of(network, around)
        alone = heat_of(network, body)
    # 8 voxels of air, 4 values, stay around the body.
    assert heat.corner == (8, 12, 0)
    assert alone.corner == (0, 0, 0)
    assert heat.maps.shape == (3, 32, 32, 24)
    assert alone.maps.shape == (3, 24, 24, 24)
    assert float(heat.maps[:2, 6:-6, 6:-6].max()) > 0.5
    with torch.inference_mode():
        empty = heat_of(network, torch.full((40, 40, 32), -1000.0))
    assert empty.maps.numel()


def test_candidates_lie_where_the_body_lies_in_the_ct() -> None:
    network = LesionFinder(2).eval()
    network.candidates = small()
    body = torch.randn(48, 48, 48) * 200 + 100
    around = torch.full((112, 96, 48), -1000.0)
    around[24:72, 32:80] = body
    inferer = FoundInferer(at_least=0.001, candidates=8)
    with torch.inference_mode():
        points, kinds, *_ = inferer.find(around, network)
        heat = heat_of(network.candidates, around)
    assert (points >= (32, 48, 0)).all()
    assert (points <= (160, 176, 96)).all()
    for kind in range(2):
        x, y, z = ((points[kinds == kind][0] - 1) / 4).round().astype(int) - heat.corner
        assert float(heat.maps[kind, x, y, z]) > 0.9 * float(heat.maps[kind].max())


def test_of_each_type_there_are_as_many_candidates_as_it_is_allowed() -> None:
    network = LesionFinder(2).eval()
    network.candidates = small()
    volume = torch.randn(48, 48, 48) * 200 + 100
    with torch.inference_mode():
        kinds = FoundInferer(at_least=0.001, candidates=[2, 5]).find(volume, network)[1]
    assert np.bincount(kinds).tolist() == [2, 5]


def test_views_widen_with_lesions_that_would_not_fit() -> None:
    assert scales_for(3.0) == scales_for(7.0) == SCALES_MM
    assert scales_for(14.0) == tuple(2 * side for side in SCALES_MM)
    assert max(scales_for(500.0)) == 3 * max(SCALES_MM)


def test_the_score_is_a_geometric_mean_of_both_networks() -> None:
    heats, seen = torch.tensor([0.9, 0.4]), torch.tensor([0.4, 0.9])
    assert torch.equal(joint_score(heats, seen, 1.0), heats)
    assert torch.equal(joint_score(heats, seen, 0.0), seen)
    assert joint_score(heats, seen, 0.5).tolist() == pytest.approx([0.6, 0.6])


def test_read_in_its_mirror_image_too_a_volume_and_its_image_hold_the_same() -> None:
    network = LesionFinder(2).eval()
    network.candidates = small()
    volume = torch.randn(48, 48, 48) * 200 + 100

    with torch.inference_mode():
        plain = heat_of(network.candidates, volume).maps
        both, image = (
            mirrored_heat_of(network.candidates, one).maps for one in (volume, volume.flip(0))
        )
        found = [
            FoundInferer(mirrored=mirrored).find(volume, network)[2].max()
            for mirrored in (True, False)
        ]
    assert torch.allclose(both, image.flip(1), atol=1e-4)
    assert not torch.allclose(plain, both, atol=1e-2)
    assert found == [float(both[:-1].max()), float(plain[:-1].max())]


def test_outlines_keep_the_shape_of_the_cube() -> None:
    network = OutlineNet()
    cubes = torch.randn(2, 16, 16, 12)
    assert [tuple(o.shape) for o in network.stages(cubes)] == [(2, 16, 16, 12)] * 3
    assert network.eval()(cubes).shape == (2, 16, 16, 12)


def test_a_cube_is_read_around_its_point() -> None:
    x = torch.arange(60, dtype=torch.float32)
    volume = x[:, None, None] + 0 * x[:, None] + 0 * x
    cube = cube_at(volume, (2, 2, 2), (60.0, 50, 50), 40)
    step = 40 / CUBE
    assert torch.allclose(
        cube[:, 5, 5], 30 + ((torch.arange(CUBE) + 0.5) * step - 20) / 2, atol=0.01
    )


def test_a_cube_is_linear_between_voxels_and_air_beyond_them() -> None:
    volume = torch.randn(20, 24, 22) * 300
    point, field = (37.0, 20.0, 3.0), 44.0
    cube = cube_at(volume, (2, 2, 2), point, field)
    line = ((np.arange(CUBE) + 0.5) / CUBE - 0.5) * field
    at = np.stack(np.meshgrid(*(line + p for p in point), indexing="ij")) / 2
    wanted = ndimage.map_coordinates(volume.numpy() + 1024, at, order=1, mode="grid-constant")
    assert np.abs(cube.numpy() + 1024 - wanted).max() < 0.01
    assert (cube == -1024).any()


@pytest.mark.parametrize("share", [0.0, 0.75, [0.75, 0.3]])
def test_without_low_scores_the_others_stay_as_they_are(share: float | list[float]) -> None:
    network = LesionFinder(2).eval()
    network.candidates = small()
    volume = torch.randn(1, 1, 48, 48, 48) * 200 + 100
    inferer = FoundInferer(views=2, heat_share=share, least_score=0.0, at_least=0.001)
    with torch.inference_mode():
        every = inferer(volume, network)
        floor = float(every["scores"].median())
        some = inferer.only_for({1: floor})(volume, network)
    kept = every["scores"] >= floor
    assert 0 < int(kept.sum()) < len(kept)
    assert some["scores"].tolist() == pytest.approx(every["scores"][kept].tolist(), abs=1e-5)
    assert torch.equal(some["points"], every["points"][kept])
    assert torch.allclose(some["cubes"], every["cubes"][kept], atol=1e-4)
    assert inferer.least_score == 0
    assert inferer.only_for({1: 0.3}).only_for({1: 0.1}).least_score == 0.3
    assert inferer.only_for({1: 0.5, 2: 0.4}).least_score == 0.4


def test_the_weight_of_the_heat_is_that_of_the_type() -> None:
    network = LesionFinder(2).eval()
    network.candidates = small()
    volume = torch.randn(1, 1, 32, 32, 32) * 200 + 100
    options = {"views": 2, "least_score": 0.0, "at_least": 0.001}
    with torch.inference_mode():
        first, second, both = (
            FoundInferer(heat_share=share, **options)(volume, network)  # type: ignore[arg-type]
            for share in (0.75, 0.3, [0.75, 0.3])
        )
    for kind, alone in enumerate((first, second)):
        of_kind = both["scores"][both["kinds"] == kind]
        assert len(of_kind)
        assert of_kind.tolist() == alone["scores"][alone["kinds"] == kind].tolist()


def test_the_inferer_sorts_by_score_and_says_what_it_looked_for() -> None:
    network = LesionFinder(3).eval()
    inferer = FoundInferer(
        kinds=[1, 2], views=2, candidates=3, at_least=0.0, most=4, least_score=0.0
    )
    with torch.inference_mode():
        found = inferer(torch.randn(1, 1, 24, 24, 24) * 200, network)
    assert set(found["kinds"].tolist()) <= {1, 2}
    assert 0 < len(found["scores"]) <= 2 * 3
    assert found["scores"].tolist() == sorted(found["scores"].tolist(), reverse=True)
    assert found["cubes"].shape[1:] == (CUBE, CUBE, CUBE)


def balls(points: list[tuple[float, float, float]], radius: float) -> dict[str, torch.Tensor]:
    """What the inferer would leave of balls: soft cubes of 40 mm."""
    side = 40.0
    line = ((torch.arange(CUBE) + 0.5) / CUBE - 0.5) * side
    grid = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1)
    cube = (0.5 + (radius - grid.norm(dim=-1)) / 2).clamp(0, 1)
    n = len(points)
    return {
        "points": torch.tensor(points, dtype=torch.float64),
        "kinds": torch.zeros(n, dtype=torch.int64),
        "scores": torch.linspace(0.9, 0.5, n),
        "fields": torch.full((n,), side, dtype=torch.float64),
        "cubes": cube.expand(n, -1, -1, -1).clone(),
    }


def placed(affine: Floats, found: dict[str, torch.Tensor]) -> tuple[dict[str, Any], Floats]:
    ct = MetaTensor(torch.zeros(1, 90, 80, 40), affine=torch.from_numpy(affine))
    data: dict[Hashable, Any] = {**ToWorkingGridd("image", spacing=(2, 2, 2))({"image": ct})}
    working = np.asarray(data["image"].affine)
    data["pred"] = found
    pred: Any = PlaceLesionsd("pred", types=[4], sites=[2])(data)["pred"]
    return pred, working


AFFINES = {
    "upright": np.array([[1.0, 0, 0, -40], [0, 1, 0, -30], [0, 0, 2.5, 10], [0, 0, 0, 1]]),
    "as most CTs": np.array([[-1.0, 0, 0, 40], [0, -1, 0, 30], [0, 0, 2.5, 10], [0, 0, 0, 1]]),
}


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES.keys())
def test_a_ball_is_placed_measured_and_masked(affine: Floats) -> None:
    pred, working = placed(affine, balls([(48, 42, 50)], 9.0))
    centre = (working @ [24, 21, 25, 1])[:3] * (-1, -1, 1)
    assert pred["types"].tolist() == [4]
    assert pred["sites"].tolist() == [2]
    assert pred["scores"][0] == pytest.approx(0.9)
    long, short = pred["long_axes"][0], pred["short_axes"][0]
    assert np.linalg.norm(long[1] - long[0]) == pytest.approx(18, abs=0.7)
    assert np.linalg.norm(short[1] - short[0]) == pytest.approx(18, abs=1.0)
    assert long.mean(0) == pytest.approx(centre, abs=1.5)
    assert np.ptp(np.vstack([long, short])[:, 2]) == pytest.approx(0, abs=1e-6)
    assert (pred["boxes"][0][0] <= centre - 7).all()
    assert (pred["boxes"][0][1] >= centre + 7).all()
    mask = np.asarray(pred["mask"])
    assert mask.shape == (1, 90, 80, 40)
    assert (mask == 1).sum() * 2.5 == pytest.approx(4 / 3 * np.pi * 9**3, rel=0.08)


def test_two_marks_in_one_lesion_are_one() -> None:
    pred, _ = placed(AFFINES["upright"], balls([(48, 42, 50), (52, 42, 50), (20, 20, 40)], 9.0))
    assert len(pred["scores"]) == 2
    assert set(np.unique(np.asarray(pred["mask"]))) == {0, 1, 2}


def test_a_lesion_without_an_outline_is_a_ball() -> None:
    found = balls([(48, 42, 50)], 9.0)
    found["cubes"][:] = 0
    pred, _ = placed(AFFINES["upright"], found)
    long = pred["long_axes"][0]
    assert np.linalg.norm(long[1] - long[0]) == pytest.approx(16, abs=2)


def test_only_the_box_of_a_lesion_is_read_and_nothing_of_it_is_lost() -> None:
    turn = np.eye(4)
    turn[:3, :3] = np.array([[0.8, 0.1, 0], [-0.1, 0.7, 0.05], [0, -0.05, 0.4]])
    turn[:3, 3] = (-3.3, 2.1, 0.4)
    spacing = np.array([1.25, 1.4, 2.5])
    labels = np.zeros((60, 50, 30), np.int16)
    labels[20:30, :, :8] = 1
    rng = np.random.default_rng(0)
    for _ in range(20):
        values = ndimage.gaussian_filter(rng.normal(size=(40, 40, 40)), 4)
        values = np.clip(0.5 + 4 * values, 0, 1).astype(np.float32)
        cube = _Cube(values=values, middle_mm=rng.uniform(0, 60, 3), side_mm=rng.uniform(30, 60))
        here = np.clip(np.round(turn[:3, :3] @ cube.middle_mm + turn[:3, 3]), 0, (59, 49, 29))
        whole = np.zeros(3, int), np.array(labels.shape)
        read = np.where(labels > 0, 0.0, _read(cube, turn, *whole)).astype(np.float32)
        wanted = _middle_part(read, here.astype(int), spacing)

        found = _soft(
            cube, to_ct=turn, spacing=spacing, labels=labels, within=whole, here=here.astype(int)
        )

        assert (found is None) == (wanted is None)
        if found is None or wanted is None:
            continue
        soft, start = found
        part = tuple(slice(a, a + n) for a, n in zip(start, soft.shape, strict=True))
        assert np.abs(wanted[part] - soft).max() < 1e-6
        wanted[part] = 0
        assert not wanted.any()


def test_at_the_border_everything_stays_inside() -> None:
    pred, _ = placed(AFFINES["upright"], balls([(0, 0, 0), (88, 78, 98)], 9.0))
    ends = np.concatenate([pred["long_axes"], pred["short_axes"]]).reshape(-1, 3) * (-1, -1, 1)
    index = (ends - AFFINES["upright"][:3, 3]) / (1, 1, 2.5)
    assert (index >= -0.51).all()
    assert (index <= np.array([90, 80, 40]) - 0.49).all()
    assert len(pred["scores"]) == 2


def test_more_lesions_than_a_byte_counts_have_labels_of_their_own() -> None:
    points = [(4.0 + 5 * i, 4.0 + 5 * j, 50.0) for i in range(17) for j in range(16)]
    pred, _ = placed(AFFINES["upright"], balls(points, 2.0))
    assert len(pred["scores"]) > 256
    assert int(np.asarray(pred["mask"]).max()) == len(pred["scores"])


def test_nothing_found_is_no_row() -> None:
    pred, _ = placed(AFFINES["upright"], {k: v[:0] for k, v in balls([(1, 1, 1)], 5).items()})
    assert pred["long_axes"].shape == (0, 2, 3)
    assert not np.asarray(pred["mask"]).any()
