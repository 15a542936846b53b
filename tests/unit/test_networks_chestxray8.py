"""The ChestX-ray8 network: shapes, gradients, poolings and losses against their formulas."""

import math

import pytest
import torch
from torch import nn

from dicomnode.networks.chestxray8 import ChestXray8Head, ChestXray8Net
from dicomnode.networks.efficientnet import EfficientNetLite0
from dicomnode.networks.losses import LOSSES, MultiLabelLoss
from dicomnode.networks.pooling import POOLINGS, LogSumExpPool, PyramidPool, global_pooling


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(1)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("extras", [0, 3])
def test_every_parameter_of_the_head_learns(pooling: str, extras: int) -> None:
    head = ChestXray8Head(6, 4, transition=5, pooling=pooling, grids=(1, 2), extras=extras)
    numbers = torch.randn(2, extras) if extras else None
    logits = head(torch.randn(2, 6, 8, 8), numbers)
    assert logits.shape == (2, 4)
    MultiLabelLoss("w-cel")(logits, torch.tensor([[1.0, 0, 0, 1], [0, 1, 0, 0]])).backward()
    for name, weight in head.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name


def test_log_sum_exp_is_the_papers_formula_and_lies_between_average_and_maximum() -> None:
    activations = torch.randn(2, 3, 4, 5)
    for r in (0.1, 5.0, 12.0):
        highest = activations.amax((2, 3), keepdim=True)
        formula = highest[..., 0, 0] + (r * (activations - highest)).exp().mean((2, 3)).log() / r
        torch.testing.assert_close(LogSumExpPool(r)(activations), formula)
        assert (formula >= activations.mean((2, 3)) - 1e-5).all()
        assert (formula <= activations.amax((2, 3))).all()
    near = LogSumExpPool(1e-3)(activations)
    torch.testing.assert_close(near, activations.mean((2, 3)), atol=1e-3, rtol=0)
    huge = LogSumExpPool(10.0)(torch.full((1, 1, 2, 2), 1e4))
    assert huge.item() == pytest.approx(1e4)


def test_heatmaps_add_up_to_the_logit_where_pooling_is_linear() -> None:
    features = torch.randn(2, 6, 8, 8)
    for pooling, grids in (("average", (1,)), ("pyramid", (1, 2, 4))):
        head = ChestXray8Head(6, 3, transition=None, pooling=pooling, grids=grids)
        maps = head.heatmaps(features)
        assert maps.shape == (2, 3, 8, 8)
        torch.testing.assert_close(maps.mean((2, 3)) + head.prediction.bias, head(features))


def test_the_pyramid_knows_left_from_right() -> None:
    picture = torch.zeros(1, 1, 4, 4)
    picture[..., :2] = 1
    pooled = PyramidPool((2,))(picture)
    assert pooled.tolist() == [[1, 0, 1, 0]]


def test_wrong_poolings_and_losses_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="lse, max, average, pyramid"):
        global_pooling("median")
    with pytest.raises(ValueError, match="hinge"):
        MultiLabelLoss("focal")
    with pytest.raises(ValueError, match="above 0"):
        LogSumExpPool(0.0)
    with pytest.raises(ValueError, match="2 extra"):
        ChestXray8Head(6, 3, extras=2)(torch.randn(1, 6, 2, 2))


def test_losses_are_their_formulas_and_leave_out_what_is_not_known() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5]])
    targets = torch.tensor([[1.0, 0.0, math.nan]])
    f = torch.sigmoid(logits)[0]
    positive, negative = -f[0].log(), -(1 - f[1]).log()
    expected: dict[str, float | torch.Tensor] = {
        "hinge": 0.0,
        "euclidean": ((f[0] - 1) ** 2 + f[1] ** 2) / 2,
        "cel": (positive + negative) / 2,
        "w-cel": (2 * positive + 2 * negative) / 2,
    }
    assert set(expected) == set(LOSSES)
    for name, value in expected.items():
        assert float(MultiLabelLoss(name)(logits, targets)) == pytest.approx(float(value))


def test_w_cel_weighs_rare_ones_as_the_paper_says() -> None:
    logits = torch.zeros(4, 2)
    targets = torch.tensor([[1.0, 0], [0, 0], [0, 0], [0, 0]])
    # |P| = 1, |N| = 7: beta_P = 8, beta_N = 8 / 7; every term is ln 2.
    expected = (8 * math.log(2) + 7 * 8 / 7 * math.log(2)) / 8
    assert float(MultiLabelLoss("w-cel")(logits, targets)) == pytest.approx(expected)


def test_a_batch_of_unknown_or_equal_labels_gives_a_finite_loss() -> None:
    for name in LOSSES:
        loss = MultiLabelLoss(name, per_class=True)
        for value in (math.nan, 0.0, 1.0):
            assert torch.isfinite(loss(torch.zeros(2, 3), torch.full((2, 3), value)))


def test_the_backbone_halves_five_times_and_fusing_changes_nothing() -> None:
    network = EfficientNetLite0(trunk_only=True)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.1, 0.1)  # type: ignore[arg-type]
            nn.init.uniform_(layer.running_var, 0.5, 2)  # type: ignore[arg-type]
    network.eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        features = network(image)
        assert features.shape == (1, 112, 4, 6)
        torch.testing.assert_close(network.fuse()(image), features, atol=1e-4, rtol=1e-3)
        whole = ChestXray8Net(EfficientNetLite0().eval(), ChestXray8Head(1280, 14))
        logits, maps = whole.read(image)
    assert logits.shape == (1, 14)
    assert maps.shape == (1, 14, 2, 3)


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(ValueError, match="not the weights"):
        EfficientNetLite0().load_imagenet({"_conv_stem.weight": torch.zeros(32, 3, 3, 3)})


@pytest.mark.parametrize("size", [(32, 32), (24, 31), (5, 7), (4, 3)])
def test_a_pyramid_spreads_its_weights_to_the_places_of_their_cells(size: tuple[int, int]) -> None:
    pool = PyramidPool((2, 4, 6))
    activations, weights = torch.randn(2, 5, *size), torch.randn(3, 5 * pool.places)

    maps = pool.spread(weights, activations)

    wanted = torch.zeros(2, 3, *size)
    blocks = weights.split([5 * cells**2 for cells in pool.grids], 1)
    for cells, block in zip(pool.grids, blocks, strict=True):
        in_cells = block.reshape(3, 5, cells, cells)
        for y in range(size[0]):
            for x in range(size[1]):
                here = in_cells[:, :, y * cells // size[0], x * cells // size[1]]
                wanted[:, :, y, x] += cells**2 * (activations[:, None, :, y, x] * here).sum(2)
    assert torch.allclose(maps, wanted, rtol=1e-4, atol=1e-3)
