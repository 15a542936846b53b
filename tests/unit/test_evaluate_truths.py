"""Labelled folders of radiographs: what is known of an image, and where its boxes lie."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dicomnode.evaluate.truths import Labelled, read_truths, truth_of

PLACED = ("scale_x", "scale_y", "offset_x", "offset_y")


def folder(root: Path, side: int, **tables: Sequence[Sequence[object]]) -> Path:
    (root / "images").mkdir(parents=True)
    for name in "abc":
        Image.fromarray(np.zeros((side, side), np.uint8)).save(root / "images" / f"{name}.png")
    for table, rows in tables.items():
        with (root / f"{table}.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows(rows)
    return root


def known(images: Sequence[Labelled], label: str) -> list[float]:
    return [truth_of(image, label) for image in images]


def test_what_an_export_leaves_blank_is_not_known_even_if_it_denies_nothing(tmp_path: Path) -> None:
    rows = [("image", "effusion", "mass", "normal"), ("a.png", 1, "", 0), ("b.png", -1, 1, 0)]
    images = read_truths(folder(tmp_path, 8, labels=rows))
    assert known(images, "effusion") == pytest.approx([1, np.nan], nan_ok=True)
    assert known(images, "mass") == pytest.approx([np.nan, 1], nan_ok=True)


def test_a_normal_report_denies_what_it_does_not_mention(tmp_path: Path) -> None:
    rows = [("image", "effusion", "mass", "normal"), ("a.png", 0, "", 1), ("b.png", -1, "", 1)]
    images = read_truths(folder(tmp_path, 8, labels=rows))
    assert known(images, "mass") == [0, 0]
    assert known(images, "effusion") == pytest.approx([0, np.nan], nan_ok=True)
    assert np.isnan(known(images, "hernia")).all()


def test_what_chestxray14_does_not_name_is_absent(tmp_path: Path) -> None:
    rows = [("Image Index", "Finding Labels"), ("a.png", "Effusion"), ("b.png", "No Finding")]
    images = read_truths(folder(tmp_path, 8, Data_Entry_2017=rows))
    assert known(images, "effusion") == [1, 0]
    assert known(images, "hernia") == [0, 0]


BOX = (("image", "finding", "x", "y", "width", "height"), ("a.png", "Lung opacity", 16, 32, 8, 16))


def test_boxes_of_an_export_lie_in_its_pictures_whatever_their_size(tmp_path: Path) -> None:
    rows = [("image", *PLACED), ("a.png", 1, 1, 0, 0)]
    (image,) = read_truths(folder(tmp_path, 64, labels=rows, boxes=BOX))
    assert image.boxes == {"lung_opacity": ((0.25, 0.5, 0.375, 0.75),)}


def test_boxes_of_others_lie_in_a_frame_of_1024_unless_it_is_told(tmp_path: Path) -> None:
    root = folder(tmp_path, 64, labels=[("image", "mass"), ("a.png", 1)], boxes=BOX)
    (image,) = read_truths(root)
    assert image.boxes["lung_opacity"] == ((16 / 1024, 32 / 1024, 24 / 1024, 48 / 1024),)
    (image,) = read_truths(root, box_frame=128)
    assert image.boxes["lung_opacity"] == ((0.125, 0.25, 0.1875, 0.375),)
