"""Windows over the body: the same answer as MONAI's, fewer windows, bounded sums."""

import pytest
import torch
from monai.inferers.utils import sliding_window_inference
from torch import Tensor, nn

from dicomnode.networks import PHNN, BodyWindowInferer, SlabInferer
from dicomnode.networks.windows import bfloat16_pays, body_box, body_mask, in_bfloat16


class Counting(nn.Module):
    """A small network that remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(
            nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 3, 3, padding=1)
        )
        self.windows = 0

    def forward(self, x: Tensor) -> Tensor:
        self.windows += len(x)
        said: Tensor = self.layers(x)
        return said


def patient() -> Tensor:
    """A body with a lung, a thin table below it, and noise around them; -1 is air."""
    volume = torch.full((64, 64, 48), -1.0)
    x, y, _ = torch.meshgrid(*(torch.arange(float(n)) for n in volume.shape), indexing="ij")
    volume[((x - 32) ** 2 + (y - 24) ** 2 < 14**2)] = 0.3
    volume[((x - 28) ** 2 + (y - 24) ** 2 < 6**2)] = -0.9
    volume[8:56, 58:60] = 0.5
    generator = torch.Generator().manual_seed(0)
    return volume + 0.05 * torch.randn(volume.shape, generator=generator)


@pytest.mark.parametrize("shape", [(33, 29, 40), (16, 20, 12), (40, 16, 17)])
@pytest.mark.parametrize("mode", ["gaussian", "constant"])
@torch.inference_mode()
def test_without_a_body_the_result_is_that_of_monai(shape: tuple[int, ...], mode: str) -> None:
    volume = torch.randn(2, 1, *shape)
    network = Counting().eval()
    padded = nn.functional.pad(volume, [s for n in reversed(shape) for s in (0, max(0, 16 - n))])
    expected = sliding_window_inference(
        padded,
        (16, 16, 16),
        4,
        network,
        overlap=0.5,
        mode=mode,
    )
    assert isinstance(expected, Tensor)
    expected = expected[..., : shape[0], : shape[1], : shape[2]]

    found = BodyWindowInferer((16, 16, 16), overlap=0.5, mode=mode)(volume, network)

    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-3)


def test_the_body_is_found_with_its_lung_and_without_the_table() -> None:
    mask = body_mask(patient(), -0.5)
    fine = mask.repeat_interleave(4, 0).repeat_interleave(4, 1).repeat_interleave(4, 2)

    assert fine[28, 24, 20]
    assert fine[32, 24].all()
    assert not fine[:, 56:].any()
    assert not fine[:8].any()
    assert body_box(torch.full((16, 16, 16), -1.0), -0.5) is None
    assert not body_mask(torch.full((16, 16, 16), -1.0), -0.5).any()


@torch.inference_mode()
def test_only_windows_with_body_are_run_and_the_rest_is_background() -> None:
    volume = patient()[None, None]
    everywhere, chosen = Counting().eval(), Counting().eval()
    expected = BodyWindowInferer((16, 16, 16))(volume, everywhere)

    found = BodyWindowInferer((16, 16, 16), body_above=-0.5)(volume, chosen)

    assert chosen.windows < 0.5 * everywhere.windows
    outside = found[0, :, :, 58:]
    assert (outside.argmax(0) == 0).all()
    # well inside the body every voxel is answered as by windows everywhere
    inner = (0, slice(None), slice(24, 40), slice(16, 32), slice(8, 40))
    agree = (found[inner].argmax(0) == expected[inner].argmax(0)).float().mean()
    assert agree > 0.98


@torch.inference_mode()
def test_labels_are_the_likeliest_class_of_the_logits() -> None:
    volume = patient()[None, None]
    logits = BodyWindowInferer((16, 16, 16), body_above=-0.5)(volume, Counting().eval())

    labels = BodyWindowInferer((16, 16, 16), body_above=-0.5, labels=True)(
        volume, Counting().eval()
    )

    assert labels.dtype is torch.uint8
    torch.testing.assert_close(labels[0, 0].long(), logits[0].argmax(0))


@torch.inference_mode()
def test_a_volume_without_a_body_is_background_of_as_many_classes() -> None:
    volume = torch.full((1, 1, 20, 20, 20), -1.0)

    found = BodyWindowInferer((16, 16, 16), body_above=-0.5)(volume, Counting().eval())

    assert found.shape == (1, 3, 20, 20, 20)
    assert (found.argmax(1) == 0).all()


@torch.inference_mode()
def test_bfloat16_changes_little() -> None:
    volume = patient()[None, None]
    exact = BodyWindowInferer((16, 16, 16))(volume, Counting().eval())
    rough = BodyWindowInferer((16, 16, 16), bfloat16=True)(volume, Counting().eval())

    assert rough.dtype is torch.float32
    assert (exact - rough).abs().max() < 0.05
    assert not torch.equal(exact, rough)


def test_an_overlap_of_everything_is_refused() -> None:
    with pytest.raises(ValueError, match="overlap"):
        BodyWindowInferer((16, 16, 16), overlap=1.0)


@torch.inference_mode()
def test_slabs_are_read_where_the_body_is() -> None:
    torch.manual_seed(0)
    network = PHNN(2, 3, 2, features=(4, 4), convolutions=(1, 1)).eval()
    volume = patient()[None, None]
    whole = SlabInferer((-1, 0, 1), multiple=4)(volume, network)

    found = SlabInferer((-1, 0, 1), multiple=4, body_above=-0.5)(volume, network)

    assert found.shape == whole.shape
    torch.testing.assert_close(found.sum(1), torch.ones(1, 64, 64, 48))
    assert (found[0, 0, :, 58:] == 1).all()
    inner = (0, slice(None), slice(26, 38), slice(18, 30), slice(8, 40))
    torch.testing.assert_close(found[inner], whole[inner])


@pytest.mark.parametrize(
    ("with_it", "pays"), [("amx_tile", True), ("avx512_bf16", True), ("avx2", False)]
)
def test_bfloat16_pays_where_the_processor_multiplies_in_it(
    monkeypatch: pytest.MonkeyPatch, with_it: str, pays: bool
) -> None:
    for kind in ("amx_tile", "avx512_bf16", "avx2"):
        has = kind == with_it
        monkeypatch.setattr(torch.cpu, f"_is_{kind}_supported", lambda has=has: has, raising=False)

    assert bfloat16_pays(torch.device("cpu")) is pays
    with in_bfloat16(torch.device("cpu")):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if pays else torch.float32)
