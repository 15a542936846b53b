"""One file of weights of the coarse network and of both that refine.

python -m scripts.assemble COARSE PLANES VOLUME TARGET   (body_ct's weights, those of training, all)
"""

from __future__ import annotations

import sys

from safetensors.torch import load_file, save_file
from torch import Tensor

VOLUME = "fine.members.volume."
"""Where the weights of the 3D network stand in the file."""


def main() -> None:
    *given, target = sys.argv[1:]
    names = ("coarse.", "fine.members.planes.", VOLUME)
    parts = [_named(name, load_file(path)) for name, path in zip(names, given, strict=True)]
    save_file({key: value for part in parts for key, value in part.items()}, target)


def with_volume(shipped: str, volume: str, target: str) -> None:
    """Write the bundle's weights `shipped`, the 3D network's exchanged for those in `volume`."""
    kept = {key: v for key, v in load_file(shipped).items() if not key.startswith(VOLUME)}
    save_file({**kept, **_named(VOLUME, load_file(volume))}, target)


def _named(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        f"{name}{key}": value.half() if value.is_floating_point() else value
        for key, value in tensors.items()
    }


if __name__ == "__main__":
    main()
