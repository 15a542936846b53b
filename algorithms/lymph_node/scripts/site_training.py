"""Candidates and views trained further on a site's marked CTs, beside generated ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from dicomnode.networks.lesion_finder import LesionFinder
from scripts.candidate_training import Crops, train_candidates
from scripts.scenes import TRAIN_MOST, Scene, scenes_in, write_scenes
from scripts.site_scenes import read_bundle, rule_of, write_site_scenes
from scripts.training import ABDOMENS, begin
from scripts.view_training import gather_views, mine, train_views

FIRST_PERSON = 600_000
"""Seed of the first generated person; none of those that evaluate."""
SCANS = 2
"""Of each person, with other lesions."""
MOST_VIEWS = 60_000
"""Of all scenes together, so that many CTs fit in memory: 200 MB."""
WARM = 100
"""Steps until the rate is at its highest: the weights need not be found again."""
MINED = 40
"""Candidates of each kind and scene that views are drawn of."""
LEAST_GENERATED = 4
"""Generated scenes that views are taken of, however few CTs there are."""


class SiteTraining:
    """The whole of it; `run` is what `configs/retrain.json` calls. Outlines stay as they are.

    Each stage keeps its state below `output` and goes on from it; where marks, weights or keys that
    shape training have changed, it begins anew.

    Args:
        network: to be trained.
        site: marked volumes, as `dicomnode evaluate` reads them.
        bundle: folder of the bundle that is trained; its weights are gone on from.
        output: folder of checkpoints and scenes.
        steps, learning_rate: of the candidates; the rate at its highest.
        view_steps, view_learning_rate: of the views.
        views_a_scene: views taken of each scene at most.
        site_share: of crops that are the site's; of views about the same.
        unmarked: a rule of `site_scenes.Unmarked`.
        people: generated persons.
        seed: of crops and views.
    """

    def __init__(
        self,
        *,
        network: LesionFinder,
        site: Path,
        bundle: Path,
        output: Path,
        steps: int,
        learning_rate: float,
        view_steps: int,
        view_learning_rate: float,
        views_a_scene: int,
        site_share: float,
        unmarked: str,
        people: int,
        threads: int = 1,
        seed: int = 1,
        device: str = "cpu",
    ) -> None:
        torch.set_num_threads(threads)
        self.start = bundle / "models" / "model.safetensors"
        begin(network, str(self.start))
        self.network = network.to(device).eval()
        self.site, self.bundle, self.output = site, read_bundle(bundle), output
        self.steps, self.learning_rate = steps, learning_rate
        self.view_steps, self.view_learning_rate = view_steps, view_learning_rate
        self.views_a_scene, self.site_share = views_a_scene, site_share
        self.rule, self.people, self.seed = rule_of(unmarked), people, seed

    def run(self, changed: Path) -> None:
        """All stages, then the bundle's new weights below `changed`."""
        weights = _digest(self.start.read_bytes())
        folders = [self.output / f"generated_{self.people}", self.output / f"site_{weights}"]
        seeds = range(FIRST_PERSON, FIRST_PERSON + self.people)
        write_scenes(folders[0], seeds, TRAIN_MOST, SCANS, abdomens=ABDOMENS)
        site = write_site_scenes(folders[1], self.site, self.bundle, self.network, self.rule)
        told = [(folders[1] / f"{scene.name}.json").read_text() for scene in site]
        shaped = [weights, *told, self.learning_rate, self.site_share, self.people, self.seed]
        self._train_candidates(folders, self._state("candidates", shaped))
        shaped += [self.steps, self.view_learning_rate, self.views_a_scene]
        self._train_views(scenes_in(folders[0]), site, self._state("views", shaped))
        state = {k: v.cpu().contiguous() for k, v in self.network.state_dict().items()}
        (changed / "models").mkdir(parents=True, exist_ok=True)
        save_file(state, changed / "models" / "model.safetensors")

    def _state(self, stage: str, shaped: Sequence[object]) -> Path:
        """Folder of a stage: another one where anything differs that shapes what comes of it."""
        folder = self.output / f"{stage}_{_digest(json.dumps(shaped).encode())}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _train_candidates(self, folders: Sequence[Path], state: Path) -> None:
        train_candidates(
            self.network.candidates,
            Crops([str(one) for one in folders], [1 - self.site_share, self.site_share]),
            state,
            kinds=self.network.candidates.kinds,
            steps=self.steps,
            rate=self.learning_rate,
            warm=WARM,
            draws=self.seed,
        )

    def _train_views(self, generated: Sequence[Scene], site: Sequence[Scene], state: Path) -> None:
        scenes = [*_beside(generated, len(site), self.site_share), *site]
        gathered = gather_views(
            scenes,
            mine(self.network, scenes, state, most=MINED),
            state,
            a_scene=min(self.views_a_scene, MOST_VIEWS // len(scenes)),
        )
        train_views(
            self.network,
            gathered,
            state,
            steps=self.view_steps,
            rate=self.view_learning_rate,
            draws=self.seed,
        )


def _beside(generated: Sequence[Scene], site: int, share: float) -> Sequence[Scene]:
    """As many generated scenes, evenly chosen, that `site` others are `share` of all."""
    wanted = len(generated) if not share else round(site * (1 - share) / share)
    wanted = min(max(wanted, LEAST_GENERATED), len(generated))
    return [generated[number * len(generated) // wanted] for number in range(wanted)]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
