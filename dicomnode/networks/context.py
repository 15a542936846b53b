"""Context across slices: a convolutional LSTM over what a 2D network says of each slice.

Shi et al., NIPS 2015 (arXiv:1506.04214) for the cell. Cai, Lu, Xie, Xing, Yang: Improving Deep
Pancreas Segmentation in CT and MRI Images via Recurrent Neural Contextual Learning and Direct Loss
Function, MICCAI 2017 (arXiv:1707.04912) for its use on the outputs of neighbouring slices.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ConvLSTMCell", "SliceContext", "WithContext"]


class ConvLSTMCell(nn.Module):
    """One step of a convolutional LSTM without peepholes; the forget gate begins open."""

    def __init__(self, in_channels: int, hidden: int, *, kernel_size: int = 3) -> None:
        super().__init__()
        self.hidden = hidden
        self.gates = nn.Conv2d(
            in_channels + hidden, 4 * hidden, kernel_size, padding=kernel_size // 2
        )
        with torch.no_grad():
            # order: input, forget, output, candidate
            self.gates.bias[hidden : 2 * hidden] = 1.0  # type: ignore[index]

    def begin(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the state before the first slice: zeros."""
        zeros = x.new_zeros((x.shape[0], self.hidden, *x.shape[2:]))
        return zeros, zeros

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return (hidden, cell), `(N, hidden, H, W)`, after a slice `(N, in_channels, H, W)`."""
        hidden, cell = state
        take, keep, show, new = self.gates(torch.cat((x, hidden), dim=1)).chunk(4, dim=1)
        cell = keep.sigmoid() * cell + take.sigmoid() * new.tanh()
        return show.sigmoid() * cell.tanh(), cell


class SliceContext(nn.Module):
    """Correct the logits of each slice by those of the slices before and after it.

    One cell runs from the first slice to the last, another from the last to the first; a 1x1
    convolution of both hidden states is added to the logits. It begins as zero, so that an
    untrained context changes nothing.

    Shapes: `(N, S, channels, H, W)` to the same, S the slices.
    """

    def __init__(self, channels: int, *, hidden: int = 16, kernel_size: int = 3) -> None:
        super().__init__()
        self.up = ConvLSTMCell(channels, hidden, kernel_size=kernel_size)
        self.down = ConvLSTMCell(channels, hidden, kernel_size=kernel_size)
        self.out = nn.Conv2d(2 * hidden, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, logits: Tensor) -> Tensor:
        """Return the corrected logits."""
        slices = list(logits.unbind(1))
        upward = self._hidden(self.up, slices)
        downward = self._hidden(self.down, slices[::-1])[::-1]
        correction = [
            self.out(torch.cat(pair, dim=1)) for pair in zip(upward, downward, strict=True)
        ]
        return logits + torch.stack(correction, dim=1)

    @staticmethod
    def _hidden(cell: ConvLSTMCell, slices: list[Tensor]) -> list[Tensor]:
        state = cell.begin(slices[0])
        states = []
        for x in slices:
            state = cell(x, state)
            states.append(state[0])
        return states


class WithContext(nn.Module):
    """A 2D network whose logits are corrected by context across slices.

    Shapes: consecutive slices `(N, S, in_channels, H, W)` to logits `(N, S, channels, H, W)`. In
    training mode a list: every output of the 2D network, the corrected one last.
    `SlabInferer` gives it volumes.

    Args:
        network: gives logits `(N, channels, H, W)`, or in training mode a list of them.
        channels: what it gives.
        hidden: channels of the hidden state.
    """

    def __init__(self, network: nn.Module, channels: int, *, hidden: int = 16) -> None:
        super().__init__()
        self.network = network
        self.context = SliceContext(channels, hidden=hidden)

    def forward(self, slabs: Tensor) -> Tensor | list[Tensor]:
        """Return the corrected logits, in training mode after the ones of the 2D network."""
        slices = slabs.shape[:2]
        outputs = self.network(slabs.flatten(0, 1))
        if isinstance(outputs, Tensor):
            corrected: Tensor = self.context(outputs.unflatten(0, slices))
            return corrected
        stacked = [output.unflatten(0, slices) for output in outputs]
        return [*stacked, self.context(stacked[-1])]
