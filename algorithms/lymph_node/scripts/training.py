"""Training in three stages, each resumable: candidates, views (on hard negatives), outlines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from dicomnode.networks.lesion_finder import LesionFinder
from dicomnode.phantom.planting import Kind
from scripts.candidate_training import Crops, train_candidates
from scripts.outline_training import train_outlines
from scripts.real_scenes import write_real_scenes
from scripts.scenes import REAL_MOST, TRAIN_MOST, Scene, scenes_in, write_scenes
from scripts.view_training import gather_views, mine, train_views

REAL_SHARE = 0.4
"""Of crops and of the scenes that views are taken of, where there are real backgrounds."""
REAL_VARIANTS = 24
ABDOMENS = 0.5
"""Of the phantoms show kidneys, liver and colon; the others any part of the trunk."""


class Training:
    """The whole of training; `run` is what `configs/train.json` calls.

    Each stage has files of its own and goes on where it stopped.

    Args:
        network: to be trained.
        scenes: folder of the phantoms' scenes; made where they are missing.
        real: list of real images to plant lesions into (`scripts.real_scenes`); empty: none.
        output: folder of checkpoints and of `model.safetensors`.
        people: phantoms.
        variants: scans of each, with other lesions.
        start: weights to go on from; empty: begun anew, by `seed` whatever the network held.
        kinds: of `planting.Kind` to look for, in the order of the network's; None: all.
        candidate_steps, view_steps, outline_steps: of each stage; 0: as it started.
        view_scenes: scenes of which views are taken, evenly chosen.
        views_a_scene: of each of them.
        candidate_rate: of learning, at its highest.
        candidate_warm: steps until then; many for weights that need not be found again.
        kind_shares: how often crops are drawn around each kind of `kinds`; None: `SHARES`.
        draws: seed of the crops; another one for training that goes on.
        mix: weights whose candidates are mixed into the result; empty: none.
        mix_share: their share.
    """

    def __init__(
        self,
        *,
        network: LesionFinder,
        scenes: str,
        real: str,
        output: str,
        people: int,
        variants: int,
        start: str,
        candidate_steps: int,
        view_steps: int,
        outline_steps: int,
        view_scenes: int = 80,
        views_a_scene: int = 500,
        candidate_rate: float = 2e-3,
        candidate_warm: int = 40,
        kind_shares: Sequence[float] | None = None,
        draws: int = 0,
        mix: str = "",
        mix_share: float = 0.0,
        kinds: Sequence[int] | None = None,
        seed: int = 7,
    ) -> None:
        if network.candidates.kinds != (len(Kind) if kinds is None else len(kinds)):
            raise ValueError("the network has not as many types as are looked for")
        self.kinds = kinds
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        self.network, self.output = network, Path(output)
        self.output.mkdir(parents=True, exist_ok=True)
        if start:
            begin(network, start)
        else:
            network.load_state_dict(LesionFinder(network.candidates.kinds).state_dict())
        write_scenes(scenes, range(people), TRAIN_MOST, variants, abdomens=ABDOMENS)
        self.folders, self.shares = [scenes], [1.0]
        if real:
            into = Path(scenes).parent / "real_scenes"
            write_real_scenes(into, real, REAL_VARIANTS, REAL_MOST)
            self.folders, self.shares = [scenes, str(into)], [1 - REAL_SHARE, REAL_SHARE]
        self.scenes = [scene for folder in self.folders for scene in scenes_in(folder, kinds)]
        self.candidate_steps = candidate_steps
        self.view_steps, self.outline_steps = view_steps, outline_steps
        self.candidate_rate, self.candidate_warm = candidate_rate, candidate_warm
        self.kind_shares = kind_shares
        self.draws = draws
        self.mix, self.mix_share = mix, mix_share
        self.views_a_scene = views_a_scene
        self.view_scenes = [
            scene
            for folder, share in zip(self.folders, self.shares, strict=True)
            for scene in evenly(scenes_in(folder, kinds), round(view_scenes * share))
        ]

    def run(self) -> None:
        """All stages, then `model.safetensors`."""
        crops = Crops(self.folders, self.shares, kinds=self.kinds)
        if self.kind_shares is not None:
            crops.kind_shares = np.asarray(self.kind_shares, float)
        train_candidates(
            self.network.candidates,
            crops,
            self.output,
            kinds=self.network.candidates.kinds,
            steps=self.candidate_steps,
            rate=self.candidate_rate,
            warm=self.candidate_warm,
            draws=self.draws,
        )
        if self.view_steps:
            mined = mine(self.network, self.view_scenes, self.output, most=40)
            gathered = gather_views(
                self.view_scenes, mined, self.output, a_scene=self.views_a_scene
            )
            train_views(self.network, gathered, self.output, steps=self.view_steps)
        train_outlines(self.network, self.scenes, self.output, steps=self.outline_steps)
        if self.mix:
            mix_candidates(self.network, self.mix, self.mix_share)
        state = {k: v.contiguous() for k, v in self.network.state_dict().items()}
        save_file(state, self.output / "model.safetensors")


def evenly(scenes: Sequence[Scene], count: int) -> list[Scene]:
    """About `count` of the scenes."""
    return list(scenes[:: max(1, len(scenes) // max(count, 1))])


def begin(network: LesionFinder, path: str) -> None:
    """Load weights; a channel of the candidates' stem that they do not know starts at zero."""
    weights = load_file(path)
    own = network.state_dict()
    for name, had in weights.items():
        if had.shape != own[name].shape:
            weights[name] = functional.pad(had, (0,) * 6 + (0, own[name].shape[1] - had.shape[1]))
    network.load_state_dict(weights)


def mix_candidates(network: LesionFinder, path: str, share: float) -> None:
    """Move the candidates' weights towards those of a file that training went on from.

    What training on phantoms unlearned of real images comes back (Wortsman et al., "Robust
    fine-tuning of zero-shot models", CVPR 2022).
    """
    before = LesionFinder(network.candidates.kinds)
    begin(before, path)
    theirs = before.candidates.state_dict()
    for name, value in network.candidates.state_dict().items():
        if value.is_floating_point():
            value.lerp_(theirs[name], share)
