"""Means of weights that were trained from one start.

python -m scripts.averaging OUT FILE...
python -m scripts.averaging OUT FILE... --with FILE     half of it the mean, half this one
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

Weights = dict[str, Tensor]


def mean(several: Sequence[Weights]) -> Weights:
    """Return the mean of weights that have the same names."""
    return {key: torch.stack([one[key].float() for one in several]).mean(0) for key in several[0]}


def main(words: list[str]) -> None:
    out, *files = words
    others = files.index("--with") if "--with" in files else len(files)
    averaged = mean([_read(file) for file in files[:others]])
    if others < len(files):
        averaged = mean([averaged, _read(files[others + 1])])
    safetensors.torch.save_file({k: v.half().contiguous() for k, v in averaged.items()}, out)


def _read(file: str) -> Weights:
    return safetensors.torch.load_file(Path(file))


if __name__ == "__main__":
    main(sys.argv[1:])
