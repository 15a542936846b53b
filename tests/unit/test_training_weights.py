"""One file of weights of several parts."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from dicomnode.training.weights import exchange_part, join_weights, part_of_weights


def test_parts_are_joined_in_half_precision_and_one_is_exchanged(tmp_path: Path) -> None:
    for name, value in (("a", 1.0), ("b", 2.0), ("c", 3.0)):
        tensors = {"w": torch.full((2, 2), value), "n": torch.tensor(7)}
        save_file(tensors, tmp_path / name)
    join_weights({"coarse.": tmp_path / "a", "fine.": tmp_path / "b"}, tmp_path / "whole")
    whole = load_file(tmp_path / "whole")
    assert set(whole) == {"coarse.w", "coarse.n", "fine.w", "fine.n"}
    assert whole["fine.w"].dtype == torch.float16
    assert whole["fine.n"] == 7
    exchange_part(tmp_path / "whole", "fine.", tmp_path / "c", tmp_path / "other")
    assert (part_of_weights(tmp_path / "other", "fine.")["w"] == 3).all()
    assert (part_of_weights(tmp_path / "other", "coarse.")["w"] == 1).all()
