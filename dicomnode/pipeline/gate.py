"""Refuses radiographs that are not upright frontal views of a chest. Imports torch."""

from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch.utils.dlpack import from_dlpack

from dicomnode.domain.errors import BundleInvalid, InputRefused
from dicomnode.domain.volumes import Volume
from dicomnode.networks.upright import KINDS, UprightGate, gate_input
from dicomnode.pipeline.bundle_files import read_checked
from dicomnode.pipeline.faults import translated
from dicomnode.pipeline.manifest import Gate, Manifest

_REASONS = {
    "turned": "it is turned by a quarter",
    "upside down": "it is upside down",
    "negative": "it is a negative: dark and bright are exchanged",
    "other": "it shows something else (a lateral view, a slice, another part of the body ...)",
}

_SQUARE = 1.1
"""Sides of a pixel that differ by more are not square: training varied proportions by more."""

_FEWEST_PIXELS = 256
"""Along the shorter side; with fewer, what is said of an image depends on its size."""


def load_gate(root: Path, manifest: Manifest, gate: Gate) -> UprightGate:
    """The network, its weights checked against their digest.

    Raises:
        BundleInvalid: they cannot be used.
    """
    with translated(f"the gate of {manifest.name} cannot be loaded", BundleInvalid):
        network = UprightGate()
        weights = safetensors.torch.load(read_checked(root, manifest, gate.weights))
        network.load_state_dict(weights)
        return network.eval()


def check_upright(network: UprightGate, gate: Gate, image: Volume) -> None:
    """Return if the image passes.

    Raises:
        InputRefused: it does not; the message says what it looks like, or that it has too few
            pixels, or such as are not square: networks see it pixel by pixel, so squeezed.
    """
    rows, columns = image.grid.shape[1:]
    if min(rows, columns) < _FEWEST_PIXELS:
        raise InputRefused(
            f"it has {columns} x {rows} pixels, fewer than {_FEWEST_PIXELS} along a side: too few "
            "to be read; send the image as the detector made it, not a preview of it"
        )
    _, rows_mm, columns_mm = image.grid.spacing_mm
    if max(rows_mm, columns_mm) > _SQUARE * min(rows_mm, columns_mm):
        raise InputRefused(
            f"its pixels are not square ({rows_mm / columns_mm:.2f} times as high as wide): it "
            "would be read out of proportion; nothing was read from it"
        )
    likely = kinds_of(network, image)
    if likely["upright"] >= gate.at_least:
        return
    looks = max((kind for kind in KINDS if kind != "upright"), key=lambda kind: likely[kind])
    raise InputRefused(
        "this does not look like an upright frontal chest radiograph "
        f"({likely['upright']:.2f}, needed {gate.at_least:g}): most likely {_REASONS[looks]}; "
        "nothing was read from it"
    )


def kinds_of(network: UprightGate, image: Volume) -> dict[str, float]:
    """How likely the image is of each kind; the sum is 1."""
    with torch.inference_mode():
        grey = from_dlpack(np.ascontiguousarray(image.array))[None]
        likely = network(gate_input(grey)).softmax(1)[0].tolist()
    return dict(zip(KINDS, likely, strict=True))
