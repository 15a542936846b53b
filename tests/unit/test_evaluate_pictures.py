"""Radiographs as pictures, beside label maps as pictures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dicomnode.domain.errors import UnsupportedImage
from dicomnode.evaluate.pairs import read_image, read_pairs, read_truth


def write(path: Path, pixels: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_a_picture_is_a_radiograph_of_one_slice_from_0_to_1(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:30, :20]
    write(tmp_path / "images" / "one.a.png", (rows * 8).astype(np.uint8))
    write(tmp_path / "images" / "two.png", (columns * 3000).astype(np.uint16))
    for name in ("one.a", "two"):
        write(tmp_path / "labels" / f"{name}.png", (rows > 9).astype(np.uint8) * 2)
    pairs, said = read_pairs(tmp_path)
    assert [pair.name for pair in pairs] == ["one.a", "two"]
    assert said == {}
    for pair, wanted in zip(pairs, (rows * 8 / 255, columns * 3000 / 65535), strict=True):
        image = read_image(pair, "DX")
        assert image.modality == "DX"
        assert image.array.shape == (1, 30, 20)
        assert np.allclose(image.array[0], wanted, atol=1e-6)
        assert not image.grid.calibrated
        assert image.grid.spacing_mm == (1.0, 1.0, 1.0)
        assert np.array_equal(read_truth(pair.truth, image.grid)[0], (rows > 9) * 2)


def test_labels_of_another_size_or_with_losses_are_refused(tmp_path: Path) -> None:
    grey = np.full((30, 20), 100, np.uint8)
    write(tmp_path / "images" / "one.jpg", grey)
    write(tmp_path / "labels" / "one.png", grey[:-1])
    ((pair,), _) = read_pairs(tmp_path)
    grid = read_image(pair, "CR").grid
    with pytest.raises(UnsupportedImage, match="not of the size"):
        read_truth(pair.truth, grid)
    write(tmp_path / "labels" / "one.jpg", grey)
    with pytest.raises(UnsupportedImage, match="no PNG"):
        read_truth(tmp_path / "labels" / "one.jpg", grid)
    (tmp_path / "images" / "one.jpg").write_bytes(b"none")
    with pytest.raises(UnsupportedImage, match="cannot be read"):
        read_image(pair, "CR")
