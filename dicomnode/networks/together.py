"""Several networks that look at the same volume, and what they say together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from monai.inferers.inferer import Inferer
from torch import Tensor, nn

__all__ = ["Together", "TogetherInferer"]


class Together(nn.Module):
    """Networks by name as one module with one file of weights; run by `TogetherInferer`."""

    def __init__(self, members: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleDict(dict(members))


class TogetherInferer(Inferer):
    """The weighted mean of the probabilities that the members of a `Together` give.

    Args:
        inferers: what runs each member and gives probabilities, by the member's name.
        shares: weight of each; a member of share 0 is not run, and so a site chooses among them.

    Raises:
        ValueError: names differ, or the shares are negative or nothing in all.
    """

    def __init__(self, inferers: Mapping[str, Inferer], shares: Mapping[str, float]) -> None:
        super().__init__()
        if set(inferers) != set(shares):
            raise ValueError("inferers and shares name the same members")
        if min(shares.values(), default=0) < 0 or sum(shares.values()) <= 0:
            raise ValueError("shares are not negative, and one at least is more than 0")
        self.inferers = {name: inferers[name] for name, share in shares.items() if share}
        total = sum(shares.values())
        self.shares = {name: share / total for name, share in shares.items()}

    def __call__(
        self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Return probabilities; `network` is a `Together`."""
        members = cast("Together", network).members
        said = [
            self.shares[name] * inferer(inputs, members[name], *args, **kwargs)
            for name, inferer in self.inferers.items()
        ]
        return torch.stack(said).sum(0)
