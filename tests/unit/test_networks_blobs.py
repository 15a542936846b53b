"""The blob filter finds balls, tells their size, and keeps to the organ it is given."""

import numpy as np
import pytest
import torch

from dicomnode.networks.blobs import RADII_MM, Channel, find_blobs

BRIGHT = Channel(low=-160, high=240, sign=1)


def balls(*lesions: tuple[tuple[float, float, float], float]) -> torch.Tensor:
    """Balls of 60 HU in fat, on a grid of 2 mm."""
    line = np.arange(48) * 2.0
    volume = np.full((48, 48, 48), -100.0, np.float32)
    points = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1)
    for centre, radius in lesions:
        away = np.linalg.norm(points - np.array(centre), axis=-1)
        volume = np.maximum(volume, -100 + 160 * np.clip(0.5 + (radius - away) / 2, 0, 1))
    return torch.from_numpy(volume.astype(np.float32))


@pytest.mark.parametrize("radius", RADII_MM[1:4])
def test_a_ball_is_found_with_its_radius(radius: float) -> None:
    told = find_blobs(balls(((50.0, 44, 48), radius)), (2, 2, 2), BRIGHT, most=5)
    assert np.linalg.norm(told.points[0] - (50, 44, 48)) < 3
    assert told.radii[0] == pytest.approx(radius, rel=0.65)


def test_dark_balls_need_the_other_sign_and_masks_are_kept_to() -> None:
    volume = balls(((30.0, 30, 30), 6), ((66, 66, 66), 6))
    inside = torch.zeros(volume.shape, dtype=torch.bool)
    inside[24:] = True
    told = find_blobs(volume, (2, 2, 2), BRIGHT, most=5, inside=inside)
    assert np.linalg.norm(told.points[0] - (66, 66, 66)) < 3
    assert (told.points[:, 0] >= 48).all()
    dark = find_blobs(
        -100 - (volume + 100), (2, 2, 2), Channel(low=-300, high=-90, sign=-1), most=2
    )
    assert {tuple(np.round(p / 36)) for p in dark.points} == {(1, 1, 1), (2, 2, 2)}
