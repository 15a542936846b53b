"""What a network says of a whole radiograph, as findings: probabilities and boxes."""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dicomnode.domain.errors import ContractBroken
from dicomnode.domain.findings import CaptionFinding, ClassFinding, Finding, Mark
from dicomnode.pipeline.boxes import Box, box_around, boxes_of
from dicomnode.pipeline.manifest import Classes, ImageClass, RatioCheck, Statements
from dicomnode.pipeline.sides import Doubt, doubt
from dicomnode.pipeline.turning import Turn

_HEART, _RIGHT_LUNG, _LEFT_LUNG = 0, 1, 2
_SURELY = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a network gave for one radiograph."""

    logits: npt.NDArray[np.float32]
    """(classes,)."""
    heatmaps: npt.NDArray[np.float32]
    """(classes, rows, columns), any scale of their own."""
    organs: npt.NDArray[np.float32]
    """(3, rows, columns): probabilities of heart, right lung, left lung, on the heatmaps' field."""
    ratio: float
    """Cardiothoracic ratio."""
    to_image: npt.NDArray[np.float64]
    """3 x 3: (column, row, 1) on a map to the image's, both counted from the corner of the first
    pixel (PS3.3 C.18.6)."""
    shape: tuple[int, int]
    """Rows and columns of the image."""
    words: npt.NDArray[np.int64] | None = None
    """(classes, length): what would be said after each class, for bundles of statements."""
    certainty: npt.NDArray[np.float32] | None = None
    """(classes, length): how sure each of these words is."""


def turned_back(reading: Reading, turn: Turn, shape: tuple[int, int]) -> Reading:
    """What was read on an upright image, placed on the stored one, of `shape` (rows, columns)."""
    return replace(reading, to_image=turn.to_stored(shape) @ reading.to_image, shape=shape)


def check_reading(reading: Reading, wanted: Classes | Statements) -> None:
    """Raise if the network gave something else than what `dicom.json` names.

    Raises:
        ContractBroken: another number of classes, or values that are not finite.
    """
    if reading.logits.shape != (len(wanted.classes),):
        raise ContractBroken(
            f"the network gave {reading.logits.size} classes, "
            f"but dicom.json names {len(wanted.classes)}"
        )
    if not (np.isfinite(reading.logits).all() and np.isfinite(reading.heatmaps).all()):
        raise ContractBroken("the network gave values that are not finite")


def findings_of(reading: Reading, wanted: Classes) -> tuple[Finding, ...]:
    """The classes that are reported, in the order of `dicom.json`; boxes where one is present.

    Raises:
        ContractBroken: another number of classes, or values that are not finite.
    """
    check_reading(reading, wanted)
    found: list[Finding] = []
    for number, one in wanted.classes.items():
        if one.reported:
            finding = _finding(reading, number, one)
            found.append(finding)
            if wanted.ratio_check is not None and wanted.ratio_check.name == one.name:
                found.extend(_disagreement(finding, reading.ratio, wanted.ratio_check))
    return tuple(found)


def doubt_of_reading(reading: Reading, orientation: tuple[str, str] | None) -> Doubt | None:
    """Whether sides can be believed (`sides.doubt`), by the organs that the network saw."""
    heart, right, left = reading.organs > _SURELY
    return doubt(heart, (right, left), orientation)


def probability(logit: float, one: ImageClass) -> float:
    """The calibrated probability of a logit."""
    scaled = (logit + one.bias) / one.temperature
    # Beyond 40 the sigmoid is 0 or 1 to the last digit, and exp would overflow far beyond.
    return 1 / (1 + math.exp(-min(max(scaled, -40.0), 40.0)))


def _finding(reading: Reading, number: int, one: ImageClass) -> ClassFinding:
    likely = probability(float(reading.logits[number]), one)
    marks: tuple[Mark, ...] = ()
    if likely >= one.operating_point:
        marks = tuple(_mark(box, reading) for box in image_boxes(reading, number, one))
    return ClassFinding(
        name=one.name,
        finding=one.code,
        probability=likely,
        operating_point=one.operating_point,
        marks=marks,
    )


def image_boxes(reading: Reading, number: int, one: ImageClass) -> list[Box]:
    """The boxes of a class, on its map, whatever its probability."""
    if one.boxes is None:
        return []
    sure = reading.organs > _SURELY
    if one.boxes.within == "heart":
        return box_around(sure[_HEART])
    return boxes_of(
        reading.heatmaps[number],
        sure[_RIGHT_LUNG] | sure[_LEFT_LUNG],
        share=one.boxes.share,
        most=one.boxes.most,
    )


def corners_on_image(box: Box, reading: Reading) -> npt.NDArray[np.float64]:
    """(2, 2): left and top, right and bottom of a box in the image's own coordinates."""
    corners = np.array([[box.left, box.top, 1], [box.right, box.bottom, 1]])
    # On an image that is stored mirrored what is left on the map is right.
    placed = np.sort((corners @ reading.to_image.T)[:, :2], axis=0)
    rows, columns = reading.shape
    return np.clip(placed, 0, [columns, rows])


def _mark(box: Box, reading: Reading) -> Mark:
    (left, top), (right, bottom) = corners_on_image(box, reading)
    ring = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    return Mark(slice_index=0, points=np.array(ring, dtype=np.float64))


def _disagreement(
    finding: ClassFinding, ratio: float, check: RatioCheck
) -> tuple[CaptionFinding, ...]:
    wide = ratio >= check.at_least
    if wide == finding.positive:
        return ()
    said = "at or above" if finding.positive else "below"
    return (
        CaptionFinding(
            name=f"{finding.name} and cardiothoracic ratio",
            text=(
                f"{finding.name} is {said} its operating point, but the cardiothoracic ratio is "
                f"{ratio:.2f} ({'at least' if wide else 'below'} {check.at_least:g}): "
                "the two do not agree."
            ),
        ),
    )
