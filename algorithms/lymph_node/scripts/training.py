"""Training in three stages, each resumable: candidates, views (on hard negatives), outlines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from dicomnode.networks.lesion_finder import LesionFinder
from dicomnode.phantom.planting import Kind
from scripts.candidate_training import Crops, train_candidates
from scripts.outline_training import train_outlines
from scripts.real_scenes import write_real_scenes
from scripts.scenes import REAL_MOST, TRAIN_MOST, scenes_in, write_scenes
from scripts.view_training import gather_views, mine, train_views

REAL_SHARE = 0.28
"""Of the crops, where there are real backgrounds."""


class Training:
    """The whole of training; `run` is what `configs/train.json` calls.

    Each stage has files of its own and goes on where it stopped.

    Args:
        network: to be trained.
        scenes: folder of the phantoms' scenes; made where they are missing.
        real: list of real images to plant lesions into (`scripts.real_scenes`); empty: none.
        output: folder of checkpoints and of `model.safetensors`.
        people: phantoms.
        kinds: of `planting.Kind` to look for, in the order of the network's; None: all.
        candidate_steps, view_steps, outline_steps: of each stage.
    """

    def __init__(
        self,
        *,
        network: LesionFinder,
        scenes: str,
        real: str,
        output: str,
        people: int,
        candidate_steps: int,
        view_steps: int,
        outline_steps: int,
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
        write_scenes(scenes, range(people), TRAIN_MOST, variants=2)
        self.folders, self.shares = [scenes], [1.0]
        if real:
            into = Path(scenes).parent / "real_scenes"
            write_real_scenes(into, real, 8, REAL_MOST)
            self.folders, self.shares = [scenes, str(into)], [1 - REAL_SHARE, REAL_SHARE]
        self.scenes = [scene for folder in self.folders for scene in scenes_in(folder, kinds)]
        self.candidate_steps = candidate_steps
        self.view_steps, self.outline_steps = view_steps, outline_steps

    def run(self) -> None:
        """All stages, then `model.safetensors`."""
        train_candidates(
            self.network.candidates,
            Crops(self.folders, self.shares, kinds=self.kinds),
            self.output,
            kinds=self.network.candidates.kinds,
            steps=self.candidate_steps,
        )
        mined = mine(self.network, self.scenes, self.output, most=30)
        gathered = gather_views(self.scenes, mined, self.output, a_scene=400)
        train_views(self.network, gathered, self.output, steps=self.view_steps)
        train_outlines(self.network, self.scenes, self.output, steps=self.outline_steps)
        state = {k: v.contiguous() for k, v in self.network.state_dict().items()}
        save_file(state, self.output / "model.safetensors")
