"""One file of weights of the coarse network and of both that refine.

python -m scripts.assemble COARSE PLANES VOLUME TARGET   (body_ct's weights, those of training, all)
"""

from __future__ import annotations

import sys

from dicomnode.training.weights import join_weights

VOLUME = "fine.members.volume."
"""Where the weights of the 3D network stand in the file."""


def main() -> None:
    *given, target = sys.argv[1:]
    names = ("coarse.", "fine.members.planes.", VOLUME)
    join_weights(dict(zip(names, given, strict=True)), target)


if __name__ == "__main__":
    main()
