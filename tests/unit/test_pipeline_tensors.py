"""Pictures and volumes as MONAI is given them."""

from dataclasses import replace

import numpy as np
import pytest

from dicomnode.domain.volumes import Grid, Volume
from dicomnode.pipeline.tensors import to_metatensor


@pytest.mark.parametrize(("dimensions", "slices"), [(2, 1), (3, 5)])
def test_a_tensor_is_a_copy_with_the_axes_reversed(dimensions: int, slices: int) -> None:
    array = np.random.default_rng(0).random((slices, 70, 33)).astype(np.float32)
    array.flags.writeable = False
    volume = Volume(
        study_uid="1.2.3",  # type: ignore[arg-type]
        series_uid="1.2.3.4",  # type: ignore[arg-type]
        modality="CT",
        array=array,
        grid=Grid(affine_lps_mm=np.eye(4), shape=array.shape, frame_of_reference_uid=None),
        frames=(),
    )

    tensor = to_metatensor(volume, dimensions).as_tensor()

    wanted = array.T if dimensions == 3 else array[0].T
    assert np.array_equal(tensor[0].numpy(), wanted)
    assert tensor.is_contiguous()
    tensor += 1
    assert np.array_equal(to_metatensor(replace(volume), dimensions).as_tensor()[0], wanted)
