"""Boxes of a detector become lesions on the slices of the CT, whatever its grid."""

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from dicomnode.networks.boxes import BoxesToLesionsd, KeepGridd

# columns to the right, rows to the back, slices to the head, 1 x 1 x 5 mm
CT = np.array([[-1.0, 0, 0, 100], [0, -1.0, 0, 50], [0, 0, 5.0, -30], [0, 0, 0, 1]])
# what RAS and 2 mm make of it
NETWORK = np.array([[2.0, 0, 0, 37], [0, 2.0, 0, -13], [0, 0, 2.0, -30], [0, 0, 0, 1]])


def lesions(box: list[float], score: float = 0.9) -> dict[str, np.ndarray]:
    ct = MetaTensor(torch.zeros(1, 64, 64, 20), affine=torch.from_numpy(CT))
    kept = KeepGridd("image")({"image": ct})
    kept["image"] = MetaTensor(torch.zeros(1, 32, 32, 50), affine=torch.from_numpy(NETWORK))
    kept["pred"] = {
        "box": torch.tensor([box]),
        "label": torch.tensor([0]),
        "label_scores": torch.tensor([score]),
    }
    found: dict[str, np.ndarray] = BoxesToLesionsd("pred")(kept)["pred"]
    return found


def test_axes_lie_on_the_slice_of_the_middle_and_are_the_sides_of_the_box() -> None:
    # x 10..14, y 8..20, z 9..13 in voxels of 2 mm: middle at z -30 + 22 = -8, slice 4 (-10 mm)
    found = lesions([10, 8, 9, 14, 20, 13])
    long, short = found["long_axes"][0], found["short_axes"][0]
    assert np.linalg.norm(long[1] - long[0]) == pytest.approx(24)
    assert np.linalg.norm(short[1] - short[0]) == pytest.approx(8)
    np.testing.assert_allclose(long[:, 2], -10)
    # LPS: signs of x and y turned
    np.testing.assert_allclose(long.mean(0)[:2], [-(37 + 2 * 12), -(-13 + 2 * 14)])
    np.testing.assert_allclose(found["boxes"][0], [[-65, -27, -12], [-57, -3, -4]])
    assert found["types"].tolist() == [1.0]


def test_low_scores_and_boxes_beside_the_ct_are_left_out() -> None:
    assert lesions([10, 8, 9, 14, 20, 13], score=0.01)["scores"].size == 0
    outside = lesions([-40, 8, 9, -36, 20, 13])
    assert outside["long_axes"].shape == (0, 2, 3)
