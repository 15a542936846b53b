"""A small network that tells an upright frontal chest radiograph from everything else."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from dicomnode.networks.quantiles import quantiles_at_ends

__all__ = ["KINDS", "UprightGate", "gate_input"]

KINDS = ("upright", "turned", "upside down", "negative", "other")
"""What an image can be: an upright frontal chest radiograph; one turned by a quarter to either
side; one upside down (turned by a half, or mirrored top to bottom); a negative; anything else."""

SIDE = 96


def gate_input(image: Tensor) -> Tensor:
    """Return `(N, 1, 96, 96)`, 0 to 1, of images `(N, 1, rows, columns)` on any scale.

    The longer side is scaled to 96 pixels (aspect kept, the rest black), grey values from the
    2nd to the 98th percentile.
    """
    rows, columns = image.shape[2:]
    scale = SIDE / max(rows, columns)
    size = (max(1, round(rows * scale)), max(1, round(columns * scale)))
    small = functional.interpolate(
        image.float(), size=size, mode="bilinear", antialias=True, align_corners=False
    )
    ends = quantiles_at_ends(small.flatten(1), 0.02)
    low, high = (end[:, None, None, None] for end in ends)
    small = ((small - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
    down, right = SIDE - size[0], SIDE - size[1]
    return functional.pad(small, (right // 2, right - right // 2, down // 2, down - down // 2))


class UprightGate(nn.Module):
    """Logits `(N, 5)`, in the order of `KINDS`, of what `gate_input` gave."""

    def __init__(self, features: int = 16) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for number, width in enumerate((1, 2, 4, 4, 8)):
            layers += [
                nn.Conv2d(channels, width * features, 3, 2 if number else 1, 1, bias=False),
                nn.BatchNorm2d(width * features),
                nn.ReLU(),
            ]
            channels = width * features
        self.layers = nn.Sequential(*layers)
        self.answer = nn.Linear(channels * 9, len(KINDS))

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits."""
        features = self.layers(image)
        # A grid of 3 x 3: what lies above and what below matters here.
        logits: Tensor = self.answer(functional.adaptive_avg_pool2d(features, 3).flatten(1))
        return logits
