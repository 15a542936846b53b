"""How often the gate is right, on pictures it was not trained on, by what they are."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from dicomnode.networks.upright import KINDS, UprightGate, gate_input
from scripts.gate_data import Picture, collage, drawn, section_of, spoilt, varied


def likely_upright(gate: UprightGate, pictures: Sequence[Picture]) -> np.ndarray:
    """Return the probability of each to be an upright frontal chest radiograph."""
    arrays = [torch.from_numpy(np.ascontiguousarray(p))[None, None] for p in pictures]
    inputs = torch.cat([gate_input(array) for array in arrays])
    with torch.inference_mode():
        return torch.cat([gate(part).softmax(1)[:, 0] for part in inputs.split(64)]).numpy()


def wrongs(
    gate: UprightGate,
    chests: Sequence[Picture],
    others: Mapping[str, Sequence[Picture]],
    at_least: float,
    seed: int = 11,
) -> dict[str, tuple[int, int]]:
    """Return, for each kind of picture, how many are answered wrongly, and how many there are."""
    rng = np.random.default_rng(seed)
    kinds: dict[str, list[Picture]] = {"upright": list(chests)}
    kinds["upright, varied"] = [varied(p, rng) for p in chests]
    for kind in KINDS[1:4]:
        kinds[kind] = [spoilt(p, kind, rng) for p in chests]
    kinds["section of a radiograph"] = [section_of(p, rng) for p in chests]
    kinds["two side by side"] = [collage(p, chests[n - 1]) for n, p in enumerate(chests)]
    made = [drawn(rng, rng.uniform(0.6, 1.3)) for _ in range(200)]
    kinds["drawn hands, limbs, text, noise"] = made
    kinds.update({name: list(pictures) for name, pictures in others.items()})
    table = {}
    for name, pictures in kinds.items():
        passed = likely_upright(gate, pictures) >= at_least
        wrong = passed.sum() if not name.startswith("upright") else (~passed).sum()
        table[name] = (int(wrong), len(pictures))
    return table
