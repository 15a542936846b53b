"""Images as a person would see them, and small (PS3.18 10.4.1.1.3, 8.3.5)."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import dcmread
from pydicom.pixels.processing import apply_color_lut

from dicomnode.domain.errors import UnsupportedImage
from dicomnode.pipeline.brightness import brightness, read_display_header
from dicomnode.pipeline.display import Window, WindowShape
from dicomnode.web.dicomweb.accepting import Wanted, first_that_fits
from dicomnode.web.dicomweb.frames import decode, frame_count
from dicomnode.web.dicomweb.problems import BadRequest, NotAcceptable, NotHeld
from dicomnode.web.dicomweb.stored import StoredFile

JPEG, PNG = "image/jpeg", "image/png"
OFFERED = (JPEG, PNG)
THUMBNAIL = 128
"""Pixels of the longer side."""
_LARGEST_SIDE = 4096
_GREY = ("MONOCHROME1", "MONOCHROME2")
_QUALITY = 90
_REAL = r"[+-]?[0-9]{1,9}(?:\.[0-9]{1,6})?"
_VIEWPORT = re.compile(r"([0-9]{1,5}),([0-9]{1,5})((?:,[+-]?[0-9.]{0,12}){4})?")
_WINDOW = re.compile(rf"({_REAL}),({_REAL})(?:,([\w-]+))?")
_SHAPES: Mapping[str, WindowShape] = {
    "linear": WindowShape.LINEAR,
    "linear-exact": WindowShape.LINEAR_EXACT,
    "linear_exact": WindowShape.LINEAR_EXACT,
    "sigmoid": WindowShape.SIGMOID,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureForm:
    """How a picture is to be made."""

    media_type: str
    quality: int = _QUALITY
    window: Window | None = None
    """In place of the header's."""
    within: tuple[int, int] | None = None
    """Width and height to fit it into, its shape kept."""

    @property
    def key(self) -> str:
        """Differs where the pictures do."""
        return repr(self)


def choose_picture(wanted: Sequence[Wanted], query: Mapping[str, str]) -> PictureForm:
    """What the request asks for.

    Raises:
        NotAcceptable: neither JPEG nor PNG.
        BadRequest: a parameter that cannot be read, or is not offered.
    """
    media_type = first_that_fits([one for one in wanted if not one.multipart], OFFERED)
    if media_type is None:
        raise NotAcceptable(f"pictures come as {' or '.join(OFFERED)}")
    if query.keys() & {"annotation", "iccprofile"}:
        raise BadRequest("annotation and iccprofile are not offered")
    return PictureForm(
        media_type=media_type,
        quality=_quality(query.get("quality", "")),
        window=_window(query.get("window", "")),
        within=_viewport(query.get("viewport", "")),
    )


def _quality(text: str) -> int:
    if not text:
        return _QUALITY
    if not re.fullmatch("[0-9]{1,3}", text) or not 1 <= int(text) <= 100:
        raise BadRequest("quality must be from 1 to 100")
    return int(text)


def _window(text: str) -> Window | None:
    if not text:
        return None
    found = _WINDOW.fullmatch(text.lower())
    shape = _SHAPES.get((found[3] or "linear") if found else "")
    if found is None or shape is None:
        raise BadRequest("window must be centre,width[,linear|linear-exact|sigmoid]")
    center, width = float(found[1]), float(found[2])
    if width < 1 if shape is WindowShape.LINEAR else width <= 0:
        raise BadRequest("the width of the window is too small")
    return Window(center=center, width=width, shape=shape)


def _viewport(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    found = _VIEWPORT.fullmatch(text)
    if found is None or found[3]:
        raise BadRequest("viewport must be width,height; parts of an image are not offered")
    width, height = int(found[1]), int(found[2])
    if not (1 <= width <= _LARGEST_SIDE and 1 <= height <= _LARGEST_SIDE):
        raise BadRequest(f"viewport must be from 1 to {_LARGEST_SIDE} pixels each way")
    return width, height


def draw(stored: StoredFile, index: int, form: PictureForm) -> bytes:
    """The picture of frame `index` (from 0).

    Grey images go through the header's own window, MONOCHROME1 inverted; single bits and colours
    are shown as they are.

    Raises:
        NotHeld: no pixels, or no such frame.
        NotAcceptable, UnsupportedImage: they cannot be shown.
    """
    if not 0 <= index < frame_count(stored):
        raise NotHeld("there is no such frame")
    picture = Image.fromarray(_pixels(stored, index, form.window))
    if form.within is not None:
        picture = _fitted(picture, form.within)
    out = io.BytesIO()
    if form.media_type == PNG:
        picture.save(out, format="PNG", compress_level=1)
    else:
        picture.save(out, format="JPEG", quality=form.quality)
    return out.getvalue()


def _pixels(stored: StoredFile, index: int, window: Window | None) -> npt.NDArray[np.uint8]:
    pixels = stored.pixels
    photometric = pixels.photometric if pixels else _photometric(stored)
    if photometric in _GREY and (pixels is None or pixels.bits_allocated in (8, 16, 32)):
        try:
            ds, image = read_display_header(stored.path)
            shown = brightness(ds, image, index, window=window)
            return _bytes(shown.values)
        except UnsupportedImage as exc:
            raise NotAcceptable(str(exc)) from exc
    array = decode(stored, index, as_rgb=True)
    if photometric == "PALETTE COLOR":
        array = apply_color_lut(array, dcmread(stored.path, stop_before_pixels=True))
    if array.ndim == 3:
        return _eight_bits(array[..., :3])
    lowest, highest = float(array.min()), float(array.max())
    if pixels is not None and pixels.bits_allocated == 1:
        lowest, highest = 0.0, 1.0
    scale = 1.0 / (highest - lowest) if highest > lowest else 0.0
    return _bytes((array.astype(np.float32) - lowest) * scale)


def _photometric(stored: StoredFile) -> str:
    ds = dcmread(stored.path, stop_before_pixels=True)
    return str(ds.get("PhotometricInterpretation", ""))


def _bytes(brightness: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(np.rint(np.clip(brightness, 0, 1) * 255).astype(np.uint8))


def _eight_bits(array: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    if array.itemsize == 1:
        return np.ascontiguousarray(array.view(np.uint8))
    return np.ascontiguousarray((array.astype(np.uint32) >> 8).astype(np.uint8))


def _fitted(picture: Image.Image, within: tuple[int, int]) -> Image.Image:
    scale = min(within[0] / picture.width, within[1] / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.BILINEAR)
