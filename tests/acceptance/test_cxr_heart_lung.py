"""The shipped heart and lung network, on radiographs that it was not trained on."""

import hashlib
import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
BUNDLE = REPOSITORY / "algorithms" / "cxr_heart_lung"
DATA = Path(os.environ.get("DICOMNODE_DATA", REPOSITORY.parent / "shared" / "data"))
ROOT = DATA / "jsrt_wingspan"
SEGMENTS = ("heart", "right_lung", "left_lung")

Masks = NDArray[np.bool_]
"""(3, rows, columns), in the order of SEGMENTS."""
Image2D = NDArray[np.float32]
"""(rows, columns), 0 to 1, air dark."""
Segment = Callable[[Image2D], Masks]

pytestmark = pytest.mark.filterwarnings("ignore")  # MONAI's own, about optional readers
needs_data = pytest.mark.skipif(
    not ROOT.is_dir(), reason=f"no radiographs at {ROOT}; set DICOMNODE_DATA"
)


@pytest.fixture(scope="module")
def segment() -> Segment:
    """The bundle as the node runs it: MONAI's words, without reading and saving files."""
    import torch
    from monai.bundle.config_parser import ConfigParser
    from monai.data.meta_tensor import MetaTensor
    from monai.transforms.compose import Compose
    from safetensors.torch import load_file

    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / "inference.json"))
    parser["bundle_root"] = str(BUNDLE)
    skipped = ("LoadImaged", "EnsureChannelFirstd", "SaveImaged")
    before, after = (
        Compose(
            [
                t
                for t in parser.get_parsed_content(name).transforms
                if type(t).__name__ not in skipped
            ]
        )
        for name in ("preprocessing", "postprocessing")
    )
    inferer = parser.get_parsed_content("inferer")
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(load_file(BUNDLE / "models" / "model.safetensors"))

    def run(image: Image2D) -> Masks:
        data = before({"image": MetaTensor(torch.from_numpy(image.T.copy())[None])})
        with torch.no_grad():
            data["pred"] = inferer(data["image"][None], network)[0]
        found: Masks = after(data)["pred"].numpy().transpose(0, 2, 1) > 0.5
        return found

    return run


@pytest.fixture(scope="module")
def ratio() -> Callable[..., float | None]:
    """The reference definition of the cardiothoracic ratio."""
    spec = importlib.util.spec_from_file_location("cxr_ctr", BUNDLE / "scripts" / "ctr.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    definition: Callable[..., float | None] = module.cardiothoracic_ratio
    return definition


def held_out(each: int) -> list[tuple[str, str]]:
    """Return (source, id) of some images of the test part, spread over it."""
    part = json.loads((BUNDLE / "configs" / "split.json").read_text())["test"]
    return [(s, name) for s, ids in part.items() for name in ids[:: len(ids) // each][:each]]


def read(source: str, name: str) -> tuple[Image2D, Masks]:
    def grey(path: Path) -> NDArray[np.uint8]:
        return np.asarray(Image.open(path).convert("L"))

    image = grey(ROOT / source / "png" / f"{name}.png").astype(np.float32) / np.float32(255)
    masks = [grey(ROOT / source / "mask" / s / f"{name}.png") > 127 for s in SEGMENTS]
    return image, np.stack(masks)


def dice(found: Masks, true: Masks) -> NDArray[np.float64]:
    total = found.sum((1, 2)) + true.sum((1, 2))
    scores: NDArray[np.float64] = 2.0 * (found & true).sum((1, 2)) / total
    return scores


def test_the_manifest_names_the_weights_that_are_there() -> None:
    listed = json.loads((BUNDLE / "configs" / "dicom.json").read_text())["files"]
    there = {
        str(p.relative_to(BUNDLE)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in (BUNDLE / "models").rglob("*")
        if p.is_file()
    }
    assert listed == there


def test_no_image_is_in_two_parts() -> None:
    split = json.loads((BUNDLE / "configs" / "split.json").read_text())
    ids = [name for part in split.values() for names in part.values() for name in names]
    assert len(ids) == len(set(ids))


@needs_data
def test_outlines_and_ratio_agree_with_the_readers(
    segment: Segment, ratio: Callable[..., float | None]
) -> None:
    scores, errors = [], []
    for source, name in held_out(6):
        image, true = read(source, name)
        found = segment(image)
        scores.append(dice(found, true))
        got, want = ratio(*found), ratio(*true)
        assert got is not None
        assert want is not None
        errors.append(abs(got - want))
    heart, right, left = np.mean(scores, axis=0)
    assert heart >= 0.93
    assert right >= 0.965
    assert left >= 0.965
    assert np.mean(errors) <= 0.018


@needs_data
@pytest.mark.parametrize(
    ("low", "high", "least_heart", "least_lung"),
    [(0.15, 0.85, 0.90, 0.94), (0.0, 0.7, 0.84, 0.90)],
)
def test_outlines_survive_a_window_that_clips(
    segment: Segment, low: float, high: float, least_heart: float, least_lung: float
) -> None:
    scores = []
    for source, name in held_out(6):
        image, true = read(source, name)
        clipped = ((image - np.float32(low)) / np.float32(high - low)).clip(0, 1)
        scores.append(dice(segment(clipped), true))
    heart, right, left = np.mean(scores, axis=0)
    assert heart >= least_heart, (heart, right, left)
    assert min(right, left) >= least_lung, (heart, right, left)


@needs_data
@pytest.mark.parametrize("source", ["jsrt", "wingspan"])
def test_outlines_follow_the_image_onto_a_large_matrix_that_is_not_square(
    segment: Segment, source: str
) -> None:
    image, _ = read(source, next(name for s, name in held_out(6) if s == source))
    small = segment(image)

    def enlarge(picture: Image.Image, resample: Image.Resampling) -> Image.Image:
        wide = picture.resize((1900, 1900), resample)
        page = Image.new(picture.mode, (2048, 2500))
        page.paste(wide, (74, 300))
        return page

    large = np.asarray(enlarge(Image.fromarray(image), Image.Resampling.BILINEAR)).clip(0, 1)
    masks = [
        np.asarray(enlarge(Image.fromarray(m.astype(np.uint8)), Image.Resampling.NEAREST)) > 0
        for m in small
    ]
    found = segment(large)
    assert found.shape == (3, 2500, 2048)
    assert dice(found, np.stack(masks)).mean() >= 0.95


@needs_data
def test_the_right_lung_is_the_patients(segment: Segment) -> None:
    """On a frontal display the patient's right is on the left of the image."""
    image, _ = read(*held_out(6)[0])
    _, right, left = segment(image)
    assert np.nonzero(right)[1].mean() < np.nonzero(left)[1].mean()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_image_without_content_gives_masks_of_its_shape(segment: Segment, value: float) -> None:
    found = segment(np.full((90, 60), value, dtype=np.float32))
    assert found.shape == (3, 90, 60)
