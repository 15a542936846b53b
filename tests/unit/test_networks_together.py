"""Several networks on one volume: their mean, and the choice among them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from monai.inferers.inferer import Inferer
from torch import Tensor, nn

from dicomnode.networks.together import Together, TogetherInferer


class AsSaid(Inferer):
    """Runs the network plainly and counts how often."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = 0

    def __call__(
        self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        self.runs += 1
        return network(inputs)


class Always(nn.Module):
    """The same probabilities everywhere."""

    def __init__(self, *p: float) -> None:
        super().__init__()
        self.p = torch.tensor(p)

    def forward(self, x: Tensor) -> Tensor:
        return self.p.view(1, -1, 1, 1, 1).expand(len(x), -1, *x.shape[2:])


BOTH = Together({"planes": Always(0.2, 0.8), "volume": Always(0.6, 0.4)})
IMAGE = torch.zeros(1, 1, 2, 2, 2)


def test_two_networks_are_averaged_by_their_shares() -> None:
    inferer = TogetherInferer(
        {"planes": AsSaid(), "volume": AsSaid()}, {"planes": 1.0, "volume": 3.0}
    )
    torch.testing.assert_close(inferer(IMAGE, BOTH)[0, :, 0, 0, 0], torch.tensor([0.5, 0.5]))


def test_a_network_without_a_share_is_not_run() -> None:
    planes, volume = AsSaid(), AsSaid()
    inferer = TogetherInferer({"planes": planes, "volume": volume}, {"planes": 0.0, "volume": 0.5})
    torch.testing.assert_close(inferer(IMAGE, BOTH)[0, :, 0, 0, 0], torch.tensor([0.6, 0.4]))
    assert (planes.runs, volume.runs) == (0, 1)


@pytest.mark.parametrize("shares", [{"planes": 1.0}, {"planes": 0.0, "volume": 0.0}])
def test_shares_that_choose_nothing_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="share"):
        TogetherInferer({"planes": AsSaid(), "volume": AsSaid()}, shares)
