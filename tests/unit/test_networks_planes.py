"""Three planes: each reads the slices it says, fused where they lie; context across slices."""

from itertools import permutations

import pytest
import torch
from torch import Tensor, nn

from dicomnode.networks import (
    PHNN,
    PlaneCombiner,
    SlabInferer,
    SliceContext,
    ThreePlaneInferer,
    ThreePlaneNetwork,
    WithContext,
)
from dicomnode.networks.context import ConvLSTMCell
from dicomnode.networks.inferers import PLANES

SLABS = {"offsets": (-1, 0, 2), "multiple": 4, "batch": 3}


class Mixing(nn.Module):
    """Two channels that depend on the slab's channels and differ along rows and columns."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.convolution = nn.Conv2d(3, 2, (3, 5), padding=(1, 2))

    def forward(self, slabs: Tensor) -> Tensor:
        said: Tensor = self.convolution(slabs)
        return said


def inferer(plane: str) -> SlabInferer:
    return SlabInferer(plane=plane, **SLABS)  # type: ignore[arg-type]


def test_every_plane_is_what_axial_gives_of_the_volume_with_its_axes_exchanged() -> None:
    volume = torch.randn(1, 1, 7, 9, 11)
    network = Mixing().eval()
    with torch.no_grad():
        for plane, axes in PLANES.items():
            # the volume whose (z, y, x) are this plane's slices, rows, columns
            order = axes[::-1]
            turned = volume.permute(0, 1, *(axis + 2 for axis in order))
            expected = inferer("axial")(turned, network)
            back = [2 + order.index(axis) for axis in range(3)]

            found = inferer(plane)(volume, network)

            assert found.shape == (1, 2, 7, 9, 11)
            torch.testing.assert_close(found, expected.permute(0, 1, *back))


@pytest.mark.parametrize("plane", PLANES)
def test_a_point_is_answered_where_it_lies_in_every_plane(plane: str) -> None:
    volume = torch.zeros(1, 1, 6, 8, 10)
    volume[0, 0, 1, 5, 7] = 9.0

    class Middle(nn.Module):
        def forward(self, slabs: Tensor) -> Tensor:
            return torch.cat((1 - slabs[:, 1:2], slabs[:, 1:2]), dim=1)

    found = inferer(plane)(volume, Middle())[0, 1]

    assert torch.nonzero(found > 0.9).tolist() == [[1, 5, 7]]


def test_slices_beside_a_slice_are_those_of_the_plane_it_reads() -> None:
    volume = torch.arange(5.0).view(1, 1, 5, 1, 1).expand(1, 1, 5, 4, 6).contiguous()

    class Beside(nn.Module):
        def forward(self, slabs: Tensor) -> Tensor:
            # 0 and what lies two slices further minus what lies one before
            return torch.cat((0 * slabs[:, :1], slabs[:, 2:] - slabs[:, :1]), dim=1)

    with torch.no_grad():
        sagittal = inferer("sagittal")(volume, Beside())[0, 1, :, 0, 0].logit()
        axial = inferer("axial")(volume, Beside())[0, 1, :, 0, 0].logit()

    torch.testing.assert_close(sagittal, torch.tensor([2.0, 3.0, 3.0, 2.0, 1.0]))
    torch.testing.assert_close(axial, torch.zeros(5))


def test_unknown_planes_and_a_mirrored_sagittal_slice_are_refused() -> None:
    with pytest.raises(ValueError, match="plane is one of"):
        inferer("oblique")
    with pytest.raises(ValueError, match="left and right"):
        SlabInferer(plane="sagittal", mirrored=[0, 1])


def three(combiner: nn.Module) -> ThreePlaneNetwork:
    same = Mixing()
    return ThreePlaneNetwork(same, same, same, combiner).eval()


def test_an_untrained_combiner_is_the_geometric_mean_of_the_planes() -> None:
    network = three(PlaneCombiner(3, 2))
    run = ThreePlaneInferer(2, slabs=SLABS)
    volume = torch.randn(1, 1, 7, 9, 11)
    with torch.no_grad():
        each = torch.stack([inferer(plane)(volume, Mixing()) for plane in PLANES])
        found = run(volume, network)

    mean = each.log().mean(0).softmax(1)
    torch.testing.assert_close(found, mean, atol=1e-4, rtol=1e-3)


def test_exchanging_axes_and_planes_alike_exchanges_the_axes_of_the_result() -> None:
    """A network that treats rows and columns alike gives the same answer whatever axis is which."""

    class Alike(nn.Module):
        def forward(self, slabs: Tensor) -> Tensor:
            blurred = nn.functional.avg_pool2d(slabs.mean(1, keepdim=True), 3, 1, 1)
            return torch.cat((blurred, 1 - blurred), dim=1)

    network = ThreePlaneNetwork(Alike(), Alike(), Alike(), PlaneCombiner(3, 2)).eval()
    run = ThreePlaneInferer(2, slabs={**SLABS, "offsets": (-1, 0, 1), "multiple": 1})
    volume = torch.randn(1, 1, 5, 7, 6)
    with torch.no_grad():
        expected = run(volume, network)
        for order in permutations((2, 3, 4)):
            turned = run(volume.permute(0, 1, *order), network)
            torch.testing.assert_close(turned, expected.permute(0, 1, *order))


def test_fusing_slab_by_slab_gives_what_fusing_at_once_gives() -> None:
    combiner = PlaneCombiner(3, 2, hidden=4)
    torch.manual_seed(2)
    for parameter in combiner.parameters():
        nn.init.normal_(parameter, std=0.3)
    network = three(combiner)
    volume = torch.randn(1, 1, 6, 5, 23)
    with torch.no_grad():
        once = ThreePlaneInferer(2, slabs=SLABS, slab=64)(volume, network)
        parts = ThreePlaneInferer(2, slabs=SLABS, slab=4, margin=2)(volume, network)

    torch.testing.assert_close(parts, once)


def test_a_combiner_learns_which_plane_to_trust() -> None:
    torch.manual_seed(5)
    truth = torch.randint(0, 2, (1, 12, 12, 12))
    right = torch.stack((truth == 0, truth == 1), dim=1).float() * 0.6 + 0.2
    noise = torch.rand(1, 1, 12, 12, 12)
    noise = torch.cat((noise, 1 - noise), dim=1)
    said = torch.cat((right, noise, noise.flip(1).roll(1, 2)), dim=1)
    combiner = PlaneCombiner(3, 2, hidden=4)
    optimizer = torch.optim.Adam(combiner.parameters(), lr=0.05)

    def loss() -> Tensor:
        return nn.functional.cross_entropy(combiner(said), truth)

    before = loss().item()
    for _ in range(40):
        optimizer.zero_grad()
        torch.autograd.backward(loss())
        optimizer.step()

    assert loss().item() < before / 3
    assert combiner.weights[0].mean() > combiner.weights[1:].mean()


def test_an_lstm_keeps_what_it_saw_if_its_gates_say_so() -> None:
    cell = ConvLSTMCell(1, 2)
    state = cell.begin(torch.zeros(3, 1, 5, 4))
    hidden, kept = cell(torch.randn(3, 1, 5, 4), state)

    assert hidden.shape == kept.shape == (3, 2, 5, 4)
    with torch.no_grad():
        cell.gates.weight.zero_()
        assert cell.gates.bias is not None
        # input shut, forget open: the cell stays as it was
        cell.gates.bias[:] = torch.tensor([-30.0, -30, 30, 30, 0, 0, 0, 0])
    torch.testing.assert_close(cell(torch.randn(3, 1, 5, 4), (hidden, kept))[1], kept)


def test_untrained_context_changes_nothing_and_training_reaches_both_directions() -> None:
    context = SliceContext(2, hidden=3)
    logits = torch.randn(1, 6, 2, 8, 8)

    torch.testing.assert_close(context(logits), logits)

    nn.init.normal_(context.out.weight)
    torch.autograd.backward(context(logits)[:, 3].square().mean())
    for cell in (context.up, context.down):
        assert cell.gates.weight.grad is not None
        assert cell.gates.weight.grad.abs().sum() > 0


def test_context_lets_each_slice_hear_of_every_other() -> None:
    torch.manual_seed(0)
    context = SliceContext(1, hidden=3)
    nn.init.normal_(context.out.weight)
    logits = torch.randn(1, 5, 1, 6, 6, requires_grad=True)
    for place in range(5):
        (heard,) = torch.autograd.grad(context(logits)[:, place].sum(), logits)
        assert (heard.abs().sum((0, 2, 3, 4)) > 0).all()


def test_context_bridges_a_slice_in_which_nothing_can_be_seen() -> None:
    """A column that is blank in one slice: only its neighbours tell that it runs on."""
    torch.manual_seed(4)
    network = WithContext(nn.Conv2d(1, 2, 1), 2, hidden=6)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.03)

    def example(seed: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        truth = (torch.rand(4, 1, 1, 6, 6, generator=generator) > 0.5).repeat(1, 5, 1, 1, 1)
        image = truth.float() * 2 - 1
        image[:, int(torch.randint(1, 4, (), generator=generator))] = 0
        return image, truth[:, :, 0].long()

    for step in range(120):
        image, truth = example(step)
        optimizer.zero_grad()
        logits = network.train()(image).transpose(1, 2)
        torch.autograd.backward(nn.functional.cross_entropy(logits, truth))
        optimizer.step()
    image, truth = example(999)
    with torch.no_grad():
        right = (network.eval()(image).argmax(2) == truth).float().mean()
        alone = (network.network(image.flatten(0, 1)).argmax(1) == truth.flatten(0, 1)).float()

    assert right > 0.97
    assert alone.mean() < 0.95


def test_the_inferer_gives_context_slices_in_order_and_warm_states() -> None:
    torch.manual_seed(0)
    inner = PHNN(2, 3, 2, features=(4, 4), convolutions=(1, 1)).eval()
    network = WithContext(inner, 2, hidden=2).eval()
    nn.init.normal_(network.context.out.weight)
    volume = torch.randn(1, 1, 8, 8, 9)
    with torch.no_grad():
        whole = SlabInferer((-1, 0, 1), multiple=4, batch=9, context=1)(volume, network)
        parts = SlabInferer((-1, 0, 1), multiple=4, batch=3, context=9)(volume, network)
        cold = SlabInferer((-1, 0, 1), multiple=4, batch=1, context=1)(volume, network)

    torch.testing.assert_close(parts, whole)
    assert (cold - whole).abs().max() > 1e-4


def test_training_a_network_with_context_supervises_its_outputs_and_the_corrected_one() -> None:
    inner = PHNN(2, 3, 2, features=(4, 4), convolutions=(1, 1))
    outputs = WithContext(inner, 2, hidden=2).train()(torch.randn(2, 5, 3, 8, 8))

    assert [tuple(one.shape) for one in outputs] == [(2, 5, 2, 8, 8)] * 3
