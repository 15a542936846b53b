"""The loss for labels known in part, and training that goes on after a stop."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from dicomnode.networks.partial import NEUTRAL, NOT_DRAWN, UNKNOWN, PartialLoss
from dicomnode.networks.timed import TimedTraining

WEIGHTS = (1.0, 1.0, 1.0)


def said(*classes: int) -> Tensor:
    """Logits `(1, 3, 1, n)` that are sure of these classes."""
    return 8.0 * nn.functional.one_hot(torch.tensor([[list(classes)]]), 3).movedim(-1, 1).float()


def labels(*values: int) -> Tensor:
    return torch.tensor([[list(values)]])


def test_neutral_voxels_punish_only_what_has_masks() -> None:
    loss = PartialLoss(WEIGHTS, unnamed=(0, 2))
    organ_there = loss(said(1, 1), labels(1, NEUTRAL))
    for other in (0, 2):
        assert loss(said(1, other), labels(1, NEUTRAL)) < 0.1 < organ_there


def test_what_was_not_drawn_may_be_all_but_the_organs_drawn() -> None:
    loss = PartialLoss(WEIGHTS, unnamed=(0,), undrawn=(0, 1))
    organ_there = loss(said(1, 2), labels(1, NOT_DRAWN))
    for other in (0, 1):
        assert loss(said(1, other), labels(1, NOT_DRAWN)) < 0.1 < organ_there


def test_unknown_voxels_count_for_nothing() -> None:
    loss = PartialLoss(WEIGHTS, unnamed=(0,))
    torch.testing.assert_close(
        loss(said(1, 2), labels(1, UNKNOWN)), loss(said(1, 0), labels(1, UNKNOWN))
    )


def test_a_batch_of_unknown_voxels_alone_has_a_loss_and_no_gradient() -> None:
    logits = said(1, 2).requires_grad_()
    value = PartialLoss(WEIGHTS, unnamed=(0,))(logits, labels(UNKNOWN, UNKNOWN))
    value.backward()
    assert torch.isfinite(value)
    assert logits.grad is not None
    assert not logits.grad.any()


def test_a_label_with_a_channel_is_the_same() -> None:
    loss = PartialLoss(WEIGHTS, unnamed=(0,))
    truth = labels(1, 0)
    torch.testing.assert_close(loss(said(1, 2), truth), loss(said(1, 2), truth[:, None]))


class Clock:
    """A second for each look at it, or so many."""

    def __init__(self, pace: float = 1.0) -> None:
        self.now, self.pace = 0.0, pace

    def __call__(self) -> float:
        self.now += self.pace
        return self.now


def batches() -> Iterator[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    while True:
        x = torch.randn(8, 2, 1, 1, generator=generator)
        yield {"x": x, "y": x[:, :1] * 2 - x[:, 1:]}


def squared(network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    return (network(batch["x"]) - batch["y"]).square().mean()


def trained(folder: Path, seconds: float, until: float) -> TimedTraining:
    torch.manual_seed(1)
    training = TimedTraining(
        nn.Conv2d(2, 1, 1), squared, folder, seconds=seconds, learning_rate=0.05, clock=Clock()
    )
    training.fit(batches(), until)
    return training


def test_training_ends_in_time_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    first = trained(tmp_path, 400, 150)
    assert first.spent == pytest.approx(150, abs=1)
    second = trained(tmp_path, 400, 400)
    assert second.step > first.step
    assert second.spent == pytest.approx(400, abs=1)
    assert [row["step"] for row in second.curve] == sorted({row["step"] for row in second.curve})


def killed_after(steps: int) -> Iterator[dict[str, Tensor]]:
    for _, batch in zip(range(steps), batches(), strict=False):
        yield batch
    raise KeyboardInterrupt


def slow(folder: Path) -> TimedTraining:
    return TimedTraining(nn.Conv2d(2, 1, 1), squared, folder, seconds=9e3, clock=Clock(60.0))


def test_a_slow_machine_loses_five_minutes_when_it_is_stopped_not_a_hundred_steps(
    tmp_path: Path,
) -> None:
    first = slow(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        first.fit(killed_after(7), 9e3)
    assert first.step == 7
    second = slow(tmp_path)
    assert second.step == 5
    assert second.spent == 300.0


def test_what_is_written_is_the_average_and_it_has_learned(tmp_path: Path) -> None:
    training = trained(tmp_path, 400, 400)
    training.write("model.safetensors")
    kept = load_file(tmp_path / "model.safetensors")
    torch.testing.assert_close(
        kept["weight"].flatten(), torch.tensor([2.0, -1.0]), atol=0.2, rtol=0
    )
    torch.testing.assert_close(kept["weight"], training.average["weight"])
