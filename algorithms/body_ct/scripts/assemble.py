"""One file of weights of both networks.

python -m scripts.assemble COARSE FINE TARGET   (what their trainings wrote, and the bundle's file)
"""

from __future__ import annotations

import sys

from dicomnode.training.weights import join_weights
from scripts.refined_training import FINE
from scripts.training import COARSE

if __name__ == "__main__":
    coarse, fine, target = sys.argv[1:]
    join_weights({COARSE: coarse, FINE: fine}, target)
