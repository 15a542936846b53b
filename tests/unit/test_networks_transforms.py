"""Reading a CT onto the working grid and bringing labels back, whatever way its axes point."""

import itertools

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from scipy import ndimage
from torch import Tensor, nn

from dicomnode.networks import (
    KeepLargestPartsd,
    OntoImageGridd,
    SlabInferer,
    ToWorkingGridd,
    WindowToUnitd,
)
from dicomnode.networks.resampling import Upsampler, block_means, read_block_means

CENTRE = np.array([20.0, -35.0, 60.0])
HALF = np.array([40.0, 30.0, 50.0])


def grid_points(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    points: np.ndarray = index @ affine[:3, :3].T + affine[:3, 3]
    return points


def ellipsoid(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """A body of air right of its own middle (1) and left of it (2), in world millimetres."""
    points = grid_points(shape, affine) - CENTRE
    within = ((points / HALF) ** 2).sum(-1) < 1
    labels: np.ndarray = np.where(within, np.where(points[..., 0] > 0, 1, 2), 0)
    return labels


def affine_for(
    order: tuple[int, ...], signs: tuple[int, ...], turn: float, shape: tuple[int, ...]
) -> np.ndarray:
    """An affine whose grid has the body in its middle."""
    spacing = np.array([1.6, 1.3, 2.7])
    c, s = np.cos(turn), np.sin(turn)
    oblique = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, c, -s], [0, s, c]]
    )
    axes = np.zeros((3, 3))
    for column, (axis, sign) in enumerate(zip(order, signs, strict=True)):
        axes[axis, column] = sign
    affine = np.eye(4)
    affine[:3, :3] = oblique @ axes @ np.diag(spacing)
    affine[:3, 3] = CENTRE - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


ORDERS = list(itertools.permutations(range(3)))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, -1)])
@pytest.mark.parametrize("turn", [0.0, 0.3])
def test_labels_come_back_where_the_patient_is_for_every_axis_order(
    order: tuple[int, ...], signs: tuple[int, ...], turn: float
) -> None:
    shape = (88, 90, 62)
    affine = affine_for(order, signs, turn, shape)
    truth = ellipsoid(shape, affine)
    hu = torch.from_numpy(np.where(truth > 0, -850.0, 40.0).astype(np.float32))[None]

    data = ToWorkingGridd("image")({"image": MetaTensor(hu, affine=torch.from_numpy(affine))})
    image = data["image"]
    assert isinstance(image, MetaTensor)
    air = torch.from_numpy(grid_points(tuple(image.shape[1:]), image.affine.numpy()))
    on_right = ((air[..., 0] - CENTRE[0]) / 2 + 0.5).clamp(0, 1)
    lung = ((40.0 - image[0]) / 890.0).clamp(0, 1) * (image[0] > -1000)
    inside = torch.from_numpy(ellipsoid(tuple(image.shape[1:]), image.affine.numpy())) > 0
    lung = lung * torch.nn.functional.max_pool3d(inside[None].float(), 3, 1, 1)[0]
    pred = torch.stack((1 - lung, lung * on_right, lung * (1 - on_right))).as_subclass(Tensor)
    back = OntoImageGridd("pred")({**data, "pred": pred})["pred"]

    assert isinstance(back, MetaTensor)
    assert back.shape == (1, *shape)
    np.testing.assert_allclose(back.affine.numpy(), affine)
    for side in (1, 2):
        found, true = back[0].numpy() == side, truth == side
        assert 2 * (found & true).sum() / (found.sum() + true.sum()) > 0.97


def test_air_beyond_the_scan_circle_is_plain_air() -> None:
    hu = torch.full((1, 8, 8, 8), -3024.0)
    image = MetaTensor(hu, affine=torch.diag(torch.tensor([2.0, 2.0, 3.0, 1.0])))

    read = ToWorkingGridd("image")({"image": image})["image"]

    assert float(read.min()) == float(read.max()) == -1024.0


def test_a_volume_without_an_affine_is_refused() -> None:
    with pytest.raises(TypeError, match="affine"):
        ToWorkingGridd("image")({"image": torch.zeros(1, 4, 4, 4)})


def test_a_volume_of_impossible_extent_is_refused() -> None:
    image = MetaTensor(torch.zeros(1, 4, 4, 4), affine=torch.diag(torch.tensor([1e4, 1e4, 1e4, 1])))
    with pytest.raises(ValueError, match="too large"):
        ToWorkingGridd("image")({"image": image})


def test_the_window_becomes_minus_one_to_one() -> None:
    data = WindowToUnitd("image", low=-1000.0, high=500.0)(
        {"image": torch.tensor([-2000.0, -1000.0, -250.0, 500.0, 3000.0])}
    )

    torch.testing.assert_close(data["image"], torch.tensor([-1.0, -1.0, 0.0, 1.0, 1.0]))


def cleaned(labels: Tensor) -> Tensor:
    p = nn.functional.one_hot(labels, 3).permute(3, 0, 1, 2).float()
    image = MetaTensor(
        torch.zeros(1, *labels.shape), affine=torch.diag(torch.tensor([10.0] * 3 + [1]))
    )
    clean = KeepLargestPartsd("pred", smallest_ml=3.0)
    result: Tensor = clean({"image": image, "pred": p})["pred"].argmax(0)
    return result


def test_holes_are_filled_and_specks_go() -> None:
    labels = torch.zeros(30, 30, 30, dtype=torch.long)
    labels[3:12, 5:25, 5:25] = 2
    labels[16:28, 5:25, 5:25] = 1
    wanted = labels.clone()
    labels[6, 12:14, 12:14] = 0
    labels[1, 1, 1] = 1
    labels[0, 28, 28] = 2

    torch.testing.assert_close(cleaned(labels), wanted)


def test_an_island_of_the_other_side_inside_a_lung_joins_it() -> None:
    labels = torch.zeros(30, 30, 30, dtype=torch.long)
    labels[3:12, 5:25, 5:25] = 2
    labels[16:28, 5:25, 5:25] = 1
    wanted = labels.clone()
    labels[20:22, 8:10, 8:10] = 2

    torch.testing.assert_close(cleaned(labels), wanted)


def test_no_lung_stays_no_lung() -> None:
    assert not cleaned(torch.zeros(8, 8, 8, dtype=torch.long)).any()


def test_a_few_voxels_alone_are_no_lung() -> None:
    labels = torch.zeros(8, 8, 8, dtype=torch.long)
    labels[2, 2, 2] = 1

    assert not cleaned(labels).any()


class Neighbours(nn.Module):
    """Says class 1 where the slice above is bright."""

    def forward(self, x: Tensor) -> Tensor:
        bright = x[:, -1:] * 20 - 10
        return torch.cat((-bright, bright), 1)


def test_each_slice_is_read_with_its_neighbours_and_the_ends_repeat() -> None:
    volume = torch.zeros(1, 1, 5, 7, 6)
    volume[..., 3] = 1.0
    volume[..., 5] = 1.0

    p = SlabInferer(offsets=(-1, 0, 1), multiple=4, batch=4)(volume, Neighbours())

    assert p.shape == (1, 2, 5, 7, 6)
    assert (p[0, 1, 0, 0] > 0.5).tolist() == [False, False, True, False, True, True]


class RightHalf(nn.Module):
    """Says class 1 in the half where columns are high, class 2 in the other."""

    def forward(self, x: Tensor) -> Tensor:
        high = torch.linspace(-9, 9, x.shape[-1]).expand_as(x[:, :1])
        return torch.cat((torch.full_like(high, -9.0), high, -high), 1)


def test_the_mirrored_reading_exchanges_the_sides_back() -> None:
    volume = torch.zeros(1, 1, 16, 16, 2)

    plain = SlabInferer(offsets=(0,))(volume, RightHalf())
    both = SlabInferer(offsets=(0,), mirrored=(0, 2, 1))(volume, RightHalf())

    torch.testing.assert_close(both, plain)


def test_the_border_is_laid_where_the_ct_crosses_the_density_and_dense_lung_inside_stays() -> None:
    affine = torch.diag(torch.tensor([1.0, 1.0, 1.0, 1.0]))
    hu = torch.full((1, 40, 24, 24), 40.0)
    hu[:, 12:] = -850.0
    hu[:, 24:32] = 40.0
    data = ToWorkingGridd("image", spacing=(2.0, 2.0, 2.0), keep_as="ct")(
        {"image": MetaTensor(hu, affine=affine, meta={"filename_or_obj": "a.nii.gz"})}
    )
    lung = torch.zeros(data["image"].shape[1:])
    lung[6:] = 1.0
    lung[5] = 0.4
    pred = torch.stack((1 - lung, lung))

    plain = OntoImageGridd("pred")({**data, "pred": pred})["pred"]
    snapped = OntoImageGridd("pred", edge_hu=-430.0)({**data, "pred": pred})["pred"]

    def first(labels: Tensor) -> int:
        return int(torch.nonzero(labels[0, :, 12, 12])[0])

    assert first(plain) == 11
    assert first(snapped) == 12
    assert snapped[0, 24:32, 12, 12].all()
    assert isinstance(snapped, MetaTensor)
    assert snapped.meta["filename_or_obj"] == "a.nii.gz"


def test_a_turned_view_has_the_block_means_of_its_copy() -> None:
    lying = torch.randn(37, 41, 50) * 500
    view = lying.permute(2, 1, 0)

    means = block_means(view, (2, 3, 4), -1024.0)

    wanted = block_means(view.contiguous(), (2, 3, 4), -1024.0)
    assert means.shape == wanted.shape == (1, 1, 25, 14, 10)
    assert torch.allclose(means, wanted, atol=1e-3)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_interpolation_is_the_same_however_the_values_lie(order: tuple[int, ...]) -> None:
    values = torch.randn(2, 14, 15, 16)
    lying = values.permute(0, *(axis + 1 for axis in order)).contiguous()
    turned = lying.permute(0, *(order.index(axis) + 1 for axis in range(3)))
    to_index = torch.diag(torch.tensor([0.7, 1.4, 0.9, 1.0], dtype=torch.float64))
    to_index[:3, 3] = torch.tensor([-0.6, 0.3, 1.2])

    read = Upsampler(turned, to_index).read((2, 0, 1), (7, 12, 20))

    i, j, k = torch.meshgrid(
        *(torch.arange(a, b) for a, b in ((2, 7), (0, 12), (1, 20))), indexing="ij"
    )
    at = torch.stack([i, j, k], -1).double() @ to_index[:3, :3].T + to_index[:3, 3]
    wanted = [
        ndimage.map_coordinates(
            one.numpy(), at.permute(3, 0, 1, 2).numpy(), order=1, mode="grid-constant"
        )
        for one in values
    ]
    assert torch.allclose(read, torch.from_numpy(np.stack(wanted)), atol=1e-5)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_means_read_axis_by_axis_are_those_read_between_blocks(order: tuple[int, ...]) -> None:
    lying = torch.randn(37, 41, 50) * 500 - 600
    ct = lying.permute(order)
    factors = (2, 3, 1)
    to_block = torch.zeros(4, 4, dtype=torch.float64)
    to_block[1, 0], to_block[0, 1], to_block[2, 2], to_block[3, 3] = 0.7, -1.3, 0.9, 1.0
    to_block[:3, 3] = torch.tensor([16.2, -1.4, 0.3])
    size = (20, 14, 44)

    read = read_block_means(ct, factors, to_block, size, -1024.0)

    means = block_means(ct, factors, -1024.0)
    wanted = Upsampler(means[0], to_block).read((0, 0, 0), size)
    assert read.shape == wanted.shape == (1, *size)
    assert read.is_contiguous()
    assert torch.allclose(read, wanted, atol=2e-3)
    assert float(read.std()) > 50
