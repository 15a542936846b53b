"""What a bundle computes in, on processors of two kinds."""

from pathlib import Path

import pytest
import torch

from dicomnode.pipeline.bundle_files import read_manifest
from dicomnode.pipeline.inference import make_ready

BUNDLE = Path(__file__).resolve().parents[2] / "algorithms" / "cxr_thorax"

pytestmark = pytest.mark.filterwarnings("ignore")  # MONAI's own


@pytest.mark.parametrize("has_it", [True, False])
def test_bfloat16_is_for_processors_that_multiply_in_it(
    has_it: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`amp` asks for it; others imitate it, and a radiograph takes thirteen times as long."""
    for kind in ("amx_tile", "avx512_bf16"):
        monkeypatch.setattr(torch.cpu, f"_is_{kind}_supported", lambda: has_it, raising=False)
    ready = make_ready(BUNDLE, read_manifest(BUNDLE), "cpu")
    assert ready.autocast is (torch.bfloat16 if has_it else None)
