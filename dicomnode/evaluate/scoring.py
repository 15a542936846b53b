"""Runs a bundle of classes on labelled images, one by one."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir

from dicomnode.algorithm import RunContext
from dicomnode.domain.errors import InputRefused, StudyError, VolumeError
from dicomnode.domain.volumes import Volume
from dicomnode.evaluate.truths import Corners, Labelled
from dicomnode.pipeline.bundle import BundleAlgorithm
from dicomnode.pipeline.classes import Reading, corners_on_image, image_boxes, probability
from dicomnode.pipeline.manifest import Classes
from dicomnode.pipeline.pictures import read_picture
from dicomnode.pipeline.radiograph import read_radiograph
from dicomnode.pipeline.turning import turn_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One image and what the bundle said, whether it reports it or not."""

    image: Labelled
    refused: str
    """Why nothing was read; empty if it was."""
    logits: Mapping[str, float]
    """Class as `dicom.json` names it -> logit."""
    likely: Mapping[str, float]
    """Class -> calibrated probability."""
    boxes: Mapping[str, tuple[Corners, ...]]
    """Class -> boxes, as shares of width and height; whatever the probability."""
    ratio: float
    seconds: float


def classes_of(algorithm: BundleAlgorithm) -> Classes:
    """What the bundle reports.

    Raises:
        StudyError: it is no bundle of classes.
    """
    pred = algorithm.manifest.outputs.pred
    if pred.kind != "classes":
        raise StudyError(f"{algorithm.identity.name} gives no classes; only those are evaluated")
    return pred


def score(
    algorithm: BundleAlgorithm,
    images: Sequence[Labelled],
    *,
    device: str,
    tick: Callable[[Iterable[Labelled]], Iterable[Labelled]],
) -> list[Scored]:
    """Read every image; `tick` shows the progress."""
    wanted = classes_of(algorithm)
    context = RunContext(device=device, scratch=Path(gettempdir()))
    return [_scored(algorithm, wanted, image, context) for image in tick(images)]


def _scored(
    algorithm: BundleAlgorithm, wanted: Classes, image: Labelled, context: RunContext
) -> Scored:
    started = time.monotonic()
    name = next(iter(algorithm.needs))
    try:
        reading = algorithm.reading({name: volume_of(image.path)}, context)
    except (InputRefused, VolumeError) as exc:
        return Scored(
            image=image,
            refused=str(exc),
            logits={},
            likely={},
            boxes={},
            ratio=float("nan"),
            seconds=time.monotonic() - started,
        )
    logits = {one.name: float(reading.logits[n]) for n, one in wanted.classes.items()}
    return Scored(
        image=image,
        refused="",
        logits=logits,
        likely={one.name: probability(logits[one.name], one) for one in wanted.classes.values()},
        boxes={
            one.name: _shares(reading, number, wanted)
            for number, one in wanted.classes.items()
            if one.boxes is not None
        },
        ratio=reading.ratio,
        seconds=time.monotonic() - started,
    )


def volume_of(path: Path) -> Volume:
    """A radiograph from a DICOM file or a picture.

    Raises:
        UnsupportedImage: it is neither, or cannot be read.
    """
    return read_radiograph(path) if path.suffix.lower() == ".dcm" else read_picture(path)


def upright_of(path: Path) -> Volume:
    """The same, turned as its header says: what a bundle with a gate looks at."""
    image = volume_of(path)
    turn = turn_of(image.orientation)
    return turn.upright(image) if turn else image


def _shares(reading: Reading, number: int, wanted: Classes) -> tuple[Corners, ...]:
    rows, columns = reading.shape
    found = []
    for box in image_boxes(reading, number, wanted.classes[number]):
        (left, top), (right, bottom) = corners_on_image(box, reading).tolist()
        found.append((left / columns, top / rows, right / columns, bottom / rows))
    return tuple(found)
