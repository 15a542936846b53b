"""One file of weights of a bundle whose network has several parts, each trained by itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor


def join_weights(parts: Mapping[str, Path | str], target: Path | str) -> None:
    """Write the files of `parts`, each below its name (`coarse.`), in half precision."""
    save_file(
        {
            f"{name}{key}": _half(value)
            for name, path in parts.items()
            for key, value in load_file(path).items()
        },
        target,
    )


def exchange_part(whole: Path | str, name: str, part: Path | str, target: Path | str) -> None:
    """Write the weights `whole` with what is below `name` exchanged for the file `part`."""
    kept = {key: value for key, value in load_file(whole).items() if not key.startswith(name)}
    changed = {f"{name}{key}": _half(value) for key, value in load_file(part).items()}
    save_file({**kept, **changed}, target)


def part_of_weights(whole: Path | str, name: str) -> dict[str, Tensor]:
    """What is below `name`, called as the part itself calls it."""
    tensors = load_file(whole)
    return {key.removeprefix(name): v for key, v in tensors.items() if key.startswith(name)}


def _half(value: Tensor) -> Tensor:
    return value.half() if value.is_floating_point() else value
