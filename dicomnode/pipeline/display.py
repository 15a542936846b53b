"""Pixel values to brightness as a viewer would show it: VOI windows and tables (PS3.3 C.11.2)."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from dicomnode.pipeline.elements import items, numbers, text
from dicomnode.pipeline.frames import LookupTable
from dicomnode.pipeline.headers import read_table

Values = npt.NDArray[np.float32]


class WindowShape(Enum):
    """VOILUTFunction (PS3.3 C.11.2.1.3)."""

    LINEAR = "LINEAR"
    LINEAR_EXACT = "LINEAR_EXACT"
    SIGMOID = "SIGMOID"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A contrast window: which values are spread over the brightness."""

    center: float
    width: float
    """LINEAR: at least 1; the others: above 0."""
    shape: WindowShape

    def apply(self, values: Values) -> Values:
        """Brightness from 0 to 1."""
        center, width = self.center, self.width
        if self.shape is WindowShape.SIGMOID:
            # Beyond +-80 exp() leaves float32; the brightness is 0 or 1 long before.
            power = np.clip(-4 * (values - center) / width, -80, 80)
            return np.asarray(1 / (1 + np.exp(power)), dtype=np.float32)
        if self.shape is WindowShape.LINEAR:
            center, width = center - 0.5, width - 1
        if width == 0:
            return (values > center).astype(np.float32)
        return np.clip((values - center) / width + 0.5, 0, 1).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """From the darkest to the brightest value; for images whose header has no window."""

    lowest: float
    highest: float

    def apply(self, values: Values) -> Values:
        """Brightness from 0 to 1; an image of one value is dark."""
        if self.highest <= self.lowest:
            return np.zeros_like(values)
        spread = np.subtract(values, self.lowest, dtype=np.float32)
        spread /= self.highest - self.lowest
        return np.clip(spread, 0, 1, out=spread)


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiTable:
    """A VOI LUT."""

    table: LookupTable

    def apply(self, values: Values) -> Values:
        """Brightness from 0 to 1."""
        brightness = self.table.apply(np.rint(values)) / np.float32(2**self.table.bits - 1)
        return np.clip(brightness, 0, 1)


Voi = Window | VoiTable


def read_voi(ds: Dataset, *, signed_values: bool) -> tuple[Voi | None, tuple[str, ...]]:
    """The first VOI LUT of a header, else its first window, with warnings.

    A table goes before a window where both are given: it holds what the window only comes near to.
    """
    tables = items(ds, "VOILUTSequence")
    if tables:
        return VoiTable(table=read_table(tables[0], signed_input=signed_values)), ()
    center, width = numbers(ds, "WindowCenter", 1), numbers(ds, "WindowWidth", 1)
    if center is None or width is None:
        return None, ()
    try:
        shape = WindowShape(text(ds, "VOILUTFunction") or "LINEAR")
    except ValueError:
        return None, ("VOILUTFunction is unknown, so the window was not used",)
    if width[0] < 1 if shape is WindowShape.LINEAR else width[0] <= 0:
        return None, (f"WindowWidth {width[0]:g} is not allowed, so the window was not used",)
    return Window(center=center[0], width=width[0], shape=shape), ()
