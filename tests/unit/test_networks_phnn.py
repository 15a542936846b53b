"""The progressive holistically-nested network: shapes, gradients, and what progressive means."""

import pytest
import torch

from dicomnode.networks import PHNN

FEATURES = (4, 6, 8)


def small(spatial_dims: int = 2) -> PHNN:
    torch.manual_seed(0)
    return PHNN(spatial_dims, 2, 3, features=FEATURES, convolutions=(1, 2, 1))


@pytest.mark.parametrize(("dims", "size"), [(2, (32, 24)), (2, (19, 21)), (3, (16, 12, 9))])
def test_training_gives_logits_of_every_stage_on_the_grid_of_the_input(
    dims: int, size: tuple[int, ...]
) -> None:
    outputs = small(dims).train()(torch.randn(2, 2, *size))

    assert len(outputs) == len(FEATURES)
    assert all(logits.shape == (2, 3, *size) for logits in outputs)


def test_evaluation_gives_the_last_stage_alone() -> None:
    network = small().eval()
    image = torch.randn(1, 2, 16, 16)

    torch.testing.assert_close(network(image), network.progressive_outputs(image)[-1])


def test_every_output_is_the_sum_of_the_side_outputs_so_far() -> None:
    network = small().eval()
    image = torch.randn(1, 2, 24, 16)

    own = network.side_outputs(image)
    outputs = network.progressive_outputs(image)

    for stage, logits in enumerate(outputs):
        torch.testing.assert_close(logits, torch.stack(own[: stage + 1]).sum(0))
    assert not torch.equal(outputs[0], outputs[-1])


@pytest.mark.parametrize("stage", range(len(FEATURES)))
def test_supervision_of_one_output_reaches_its_stage_and_all_before_it(stage: int) -> None:
    network = small().train()

    output = network.progressive_outputs(torch.randn(2, 2, 16, 16))[stage]
    torch.autograd.backward(output.square().mean())

    for index, (block, side) in enumerate(zip(network.stages, network.sides, strict=True)):
        gradients = [p.grad for p in (*block.parameters(), *side.parameters())]
        if index <= stage:
            assert any(g is not None and g.abs().sum() > 0 for g in gradients)
            assert all(g is not None for g in gradients)
        else:
            assert all(g is None for g in gradients)


def test_a_gradient_from_the_last_output_reaches_every_side_output() -> None:
    network = small().train()

    output = network(torch.randn(2, 2, 16, 16))[-1]
    torch.autograd.backward(output.square().mean())

    for side in network.sides:
        gradient = next(side.parameters()).grad
        assert gradient is not None
        assert gradient.abs().sum() > 0


@pytest.mark.parametrize(
    ("dims", "features", "convolutions"),
    [(1, (4, 4), (1, 1)), (2, (), ()), (2, (4, 4), (1,))],
)
def test_what_cannot_be_built_is_refused(
    dims: int, features: tuple[int, ...], convolutions: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"spatial_dims|features"):
        PHNN(dims, 1, 2, features=features, convolutions=convolutions)
