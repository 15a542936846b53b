"""One file of weights of the coarse and the fine network.

python -m scripts.assemble COARSE FINE TARGET   (body_ct's weights, those of training, both)
"""

from __future__ import annotations

import sys

from safetensors.torch import load_file, save_file


def main() -> None:
    coarse, fine, target = sys.argv[1:]
    both = {"coarse": load_file(coarse), "fine": load_file(fine)}
    parts = {f"{name}.{key}": value for name, one in both.items() for key, value in one.items()}
    save_file(parts, target)


if __name__ == "__main__":
    main()
