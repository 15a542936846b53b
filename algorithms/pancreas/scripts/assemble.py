"""One file of weights of the coarse network and of both that refine.

python -m scripts.assemble COARSE PLANES VOLUME TARGET   (body_ct's weights, those of training, all)
"""

from __future__ import annotations

import sys

from safetensors.torch import load_file, save_file


def main() -> None:
    *given, target = sys.argv[1:]
    names = ("coarse", "fine.members.planes", "fine.members.volume")
    save_file(
        {
            f"{name}.{key}": value.half() if value.is_floating_point() else value
            for name, path in zip(names, given, strict=True)
            for key, value in load_file(path).items()
        },
        target,
    )


if __name__ == "__main__":
    main()
