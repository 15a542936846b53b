"""The holistically-nested network: shapes, gradients, the weighted sum, and that stages refine."""

import pytest
import torch
from torch import Tensor

from dicomnode.networks import HNN, NestedLoss
from dicomnode.networks.hnn import boundary_of, soft_outputs

FEATURES = (4, 6, 8)


def small(spatial_dims: int = 2, *, boundary: int = 2) -> HNN:
    torch.manual_seed(0)
    return HNN(
        spatial_dims,
        2,
        3,
        boundary_channels=boundary,
        features=FEATURES,
        convolutions=(1, 2, 1),
    )


@pytest.mark.parametrize(("dims", "size"), [(2, (32, 24)), (2, (19, 21)), (3, (16, 12, 9))])
def test_training_gives_every_side_output_and_their_sum_on_the_grid_of_the_input(
    dims: int, size: tuple[int, ...]
) -> None:
    outputs = small(dims).train()(torch.randn(2, 2, *size))

    assert len(outputs) == len(FEATURES) + 1
    assert all(logits.shape == (2, 5, *size) for logits in outputs)


def test_evaluation_gives_the_weighted_sum_which_begins_as_the_mean() -> None:
    network = small().eval()
    image = torch.randn(1, 2, 16, 16)

    mean = torch.stack(network.side_outputs(image)).mean(0)

    torch.testing.assert_close(network(image), mean)


@pytest.mark.parametrize("output", range(len(FEATURES)))
def test_supervision_of_a_side_output_reaches_its_stage_and_no_later_one(output: int) -> None:
    network = small().train()

    torch.autograd.backward(network(torch.randn(2, 2, 16, 16))[output].square().mean())

    for index, side in enumerate(network.sides):
        gradient = next(side.parameters()).grad
        assert (gradient is not None) == (index == output)
    reached = [any(p.grad is not None for p in stage.parameters()) for stage in network.stages]
    assert reached == [index <= output for index in range(len(FEATURES))]


def test_the_loss_sends_gradients_to_every_side_output_and_to_the_weights_of_the_sum() -> None:
    network = small().train()
    labels = torch.zeros(2, 1, 16, 16, dtype=torch.long)
    labels[:, :, 3:9, 4:10], labels[:, :, 10:14, 2:12] = 1, 2

    torch.autograd.backward(NestedLoss(3)(network(torch.randn(2, 2, 16, 16)), labels))

    for parameter in (*network.parameters(),):
        assert parameter.grad is not None
    assert all(row.abs().min() > 0 for row in (network.fuse.grad,) if row is not None)
    for side in network.sides:
        gradient = next(side.parameters()).grad
        assert gradient is not None
        # every channel: classes and boundaries
        assert (gradient.flatten(1).abs().sum(1) > 0).all()


def test_a_boundary_lies_one_voxel_to_both_sides_of_the_border() -> None:
    labels = torch.zeros(1, 1, 9, 9, dtype=torch.long)
    labels[0, 0, 3:6, 3:6] = 1

    (edge,) = boundary_of(labels, 2)[0]

    ring = torch.zeros(9, 9)
    ring[2:7, 2:7] = 1
    ring[4, 4] = 0
    torch.testing.assert_close(edge, ring)


def test_each_class_has_a_boundary_of_its_own_and_the_edge_of_the_image_is_none() -> None:
    labels = torch.zeros(1, 1, 6, 6, 6, dtype=torch.long)
    labels[..., :3], labels[..., 3:] = 1, 2

    edges = boundary_of(labels, 3)

    assert edges.shape == (1, 2, 6, 6, 6)
    assert edges.sum((0, 2, 3)).tolist() == [[0, 0, 36, 36, 0, 0]] * 2


def test_classes_share_one_probability_and_boundaries_have_their_own() -> None:
    p = soft_outputs(torch.randn(2, 5, 4, 4), 3)

    torch.testing.assert_close(p[:, :3].sum(1), torch.ones(2, 4, 4))
    assert (p[:, 3:].sum(1) - 1).abs().max() > 0.01


def test_the_loss_falls_to_nothing_where_everything_is_right() -> None:
    labels = torch.zeros(1, 1, 12, 12, dtype=torch.long)
    labels[..., 4:8, 4:8] = 1
    interior = torch.cat([(labels == c).float() for c in (0, 1)], dim=1)
    right = torch.cat((interior, boundary_of(labels, 2)), dim=1) * 40 - 20

    assert NestedLoss(2)([right, right], labels).item() < 1e-3
    assert NestedLoss(2)([right, -right], labels).item() > 5
    assert NestedLoss(2, boundary_weight=0.0)(-right, labels) < NestedLoss(2)(-right, labels)


def rings(seed: int, count: int) -> tuple[Tensor, Tensor]:
    """Noisy rings to be filled: what lies inside looks like what lies outside."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    image, labels = torch.zeros(count, 1, 32, 32), torch.zeros(count, 1, 32, 32, dtype=torch.long)
    for one in range(count):
        row, column = (torch.rand(2, generator=generator) * 16 + 8).tolist()
        squared = (rows - row) ** 2 + (columns - column) ** 2
        image[one, 0][(squared < 36) & (squared > 16)] = 1
        labels[one, 0][squared < 36] = 1
    return image + 0.3 * torch.randn(image.shape, generator=generator), labels


def test_later_side_outputs_and_the_sum_refine_the_first_one() -> None:
    torch.manual_seed(1)
    network = HNN(
        2, 1, 2, boundary_channels=1, features=(8, 12, 16), convolutions=(1, 1, 1)
    ).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    loss = NestedLoss(2)
    for step in range(50):
        image, labels = rings(step, 8)
        optimizer.zero_grad()
        torch.autograd.backward(loss(network(image), labels))
        optimizer.step()
    image, labels = rings(1000, 16)
    with torch.no_grad():
        outputs = network(image)

    dice = []
    for logits in outputs:
        found = logits[:, :2].argmax(1, keepdim=True)
        dice.append(float(2 * (found * labels).sum() / (found.sum() + labels.sum())))

    assert dice[2] > dice[0] + 0.05
    assert dice[-1] > dice[0] + 0.05
