"""Pictures and volumes as MONAI is given them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.transforms.compose import Compose
from monai.transforms.transform import MapTransform

from dicomnode.domain.volumes import Grid, Volume
from dicomnode.networks.transforms import ToWorkingGridd, WindowToUnitd
from dicomnode.pipeline.inference import ReadyBundle, _only_read
from dicomnode.pipeline.tensors import to_metatensor


def _volume(slices: int) -> Volume:
    array = np.random.default_rng(0).random((slices, 70, 33)).astype(np.float32)
    array.flags.writeable = False
    return Volume(
        study_uid="1.2.3",  # type: ignore[arg-type]
        series_uid="1.2.3.4",  # type: ignore[arg-type]
        modality="CT",
        array=array,
        grid=Grid(affine_lps_mm=np.eye(4), shape=array.shape, frame_of_reference_uid=None),
        frames=(),
    )


@pytest.mark.parametrize(("dimensions", "slices"), [(2, 1), (3, 5)])
def test_a_tensor_is_a_copy_with_the_axes_reversed(dimensions: int, slices: int) -> None:
    volume = _volume(slices)
    array = volume.array

    tensor = to_metatensor(volume, dimensions).as_tensor()

    wanted = array.T if dimensions == 3 else array[0].T
    assert np.array_equal(tensor[0].numpy(), wanted)
    assert tensor.is_contiguous()
    tensor += 1
    assert np.array_equal(to_metatensor(volume, dimensions).as_tensor()[0], wanted)


def test_who_only_reads_is_given_the_volume_itself() -> None:
    volume = _volume(5)

    tensor = to_metatensor(volume, 3, copy=False)

    assert np.array_equal(tensor.as_tensor().numpy(), to_metatensor(volume, 3).as_tensor().numpy())
    assert tensor.as_tensor().data_ptr() == volume.array.ctypes.data
    assert tensor.meta["spatial_shape"].tolist() == [33, 70, 5]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_volume_that_lies_backwards_is_copied(dimensions: int) -> None:
    lying = _volume(1 if dimensions == 2 else 5)
    volume = replace(lying, array=lying.array[::-1, ::-1])

    tensor = to_metatensor(volume, dimensions, copy=False).as_tensor()

    wanted = volume.array.T if dimensions == 3 else volume.array[0].T
    assert np.array_equal(tensor[0].numpy(), wanted)


def test_only_a_step_that_keeps_nothing_is_given_the_volume_itself() -> None:
    def ready(*steps: MapTransform) -> ReadyBundle:
        return ReadyBundle(
            device=torch.device("cpu"),
            network=torch.nn.Identity(),
            inferer=None,
            preprocessing=Compose(steps),
            postprocessing=None,
            autocast=None,
        )

    grid, scaled = ToWorkingGridd("image"), WindowToUnitd("image", -1000, 400)
    assert _only_read(ready(grid, scaled), "image")
    assert not _only_read(ready(scaled, grid), "image")
    assert not _only_read(ready(ToWorkingGridd("image", keep_as="ct")), "image")
    assert not _only_read(ready(grid), "other")
    assert not _only_read(ready(), "image")
