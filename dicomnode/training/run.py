"""One further training from end to end: divided, trained, packed, judged."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dicomnode.domain.errors import StudyError
from dicomnode.evaluate.run import Tick
from dicomnode.pipeline.bundle import BundleAlgorithm, load_bundle
from dicomnode.pipeline.bundle_files import read_json
from dicomnode.pipeline.discovery import BrokenAlgorithm
from dicomnode.pipeline.heap import KEEPING_FREED_MEMORY
from dicomnode.settings import Settings
from dicomnode.steps.installed import algorithms_of
from dicomnode.training.judging import Asked, Divide, Division, Judged
from dicomnode.training.key_slices import divide_key_slices
from dicomnode.training.marked import divide_marked
from dicomnode.training.outlined import divide_outlined
from dicomnode.training.packing import pack

CONFIG = "configs/retrain.json"
"""What a bundle brings that can be trained further: a MONAI configuration with the keys `site`
(folder to learn from), `output` (folder for checkpoints) and `changed` (folder that `run` leaves
the new files of the bundle in, `models/model.safetensors` above all). Or `recipe` alone: the name
of a bundle whose training is this one's too; that one's configuration has a key `bundle` besides
(folder of the bundle that is trained). `learns_from` names a layout that is divided in a way of
its own (`_LAYOUTS`)."""
_OURS = ("site", "output", "changed", "bundle", "learns_from")
"""Keys that `train` sets, or reads."""

_DIVIDE: Mapping[str, Divide] = {"segments": divide_outlined, "lesions": divide_marked}
"""By the kind of output; the training of all others divides by itself, and nothing is judged."""
_LAYOUTS: Mapping[str, Divide] = {"deep_lesion": divide_key_slices}
"""By `learns_from`, which goes before the kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What came of it."""

    bundle: Path
    version: str
    judged: tuple[Judged, Judged] | None
    """The bundle before and after, on who was held out; None: nobody was."""


def train(settings: Settings, asked: Asked, tick: Tick, tell: Callable[[str], None]) -> Trained:
    """Train a bundle further, and write the new one, its reports and checkpoints below `out`.

    Called again with the same folders it goes on from its checkpoint. `tell` is given lines for the
    person who waits.

    Raises:
        StudyError: no such bundle, none that can be trained, unusable data, or training failed.
        BundleInvalid: what training left is no bundle.
    """
    root = _root(settings, asked.algorithm)
    recipe = _recipe_of(settings, root)
    known = keys_of(recipe)
    odd = sorted(set(asked.values) - set(known))
    if odd:
        raise StudyError(f"{CONFIG} has no key {odd[0]!r} to set; it has: {', '.join(known)}")
    shipped = load_bundle(root)
    division = _divided(asked, shipped, recipe, tick)
    for line in division.told:
        tell(line)
    changed = asked.out / "changed"
    folders = {
        "site": division.learned,
        "output": asked.out / "runs",
        "changed": changed,
        "bundle": root,
    }
    _run(recipe, {**asked.values, **folders})
    bundle = asked.out / "bundle"
    version = pack(root, changed, bundle, said=division.said)
    if division.settle is not None:
        settled = division.settle(root, bundle, changed)
        version = pack(root, changed, bundle, said=f"{division.said} {settled}")
    judged = None
    if division.judge is not None:
        judged = (
            division.judge(shipped, asked.out / "before.html"),
            division.judge(load_bundle(bundle), asked.out / "after.html"),
        )
    return Trained(bundle=bundle, version=version, judged=judged)


def _divided(asked: Asked, algorithm: BundleAlgorithm, recipe: Path, tick: Tick) -> Division:
    layout = str(read_json(recipe / CONFIG).get("learns_from", ""))
    divide = _LAYOUTS.get(layout) or _DIVIDE.get(algorithm.manifest.outputs.pred.kind)
    if divide is None:
        return Division(learned=asked.data, said="")
    return divide(asked, algorithm, tick)


def _recipe_of(settings: Settings, root: Path) -> Path:
    """Folder of the bundle whose training is run: the bundle itself, or the one it names."""
    if not (root / CONFIG).is_file():
        raise StudyError(f"{root.name} cannot be trained further: it brings no {CONFIG}")
    named = read_json(root / CONFIG).get("recipe")
    return root if named is None else _root(settings, str(named))


def keys_of(root: Path) -> Sequence[str]:
    """Plain keys of a bundle's training that may be set, those that `train` sets left out."""
    plain = (str, int, float)
    return [
        key
        for key, value in read_json(root / CONFIG).items()
        if (value is None or isinstance(value, plain)) and key not in _OURS
    ]


def _root(settings: Settings, name: str) -> Path:
    known = algorithms_of(settings).get(name)
    if known is None or isinstance(known, BrokenAlgorithm) or known.source.root is None:
        raise StudyError(f"there is no bundle {name!r}; see `dicomnode algorithms`")
    return known.source.root


def _run(root: Path, values: Mapping[str, object]) -> None:
    """In a process of its own, which may import the bundle's code; this one never does."""
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", CONFIG]
    known = read_json(root / CONFIG)
    for key, value in values.items():
        if key not in known:
            continue
        command += [f"--{key}", str(value.resolve() if isinstance(value, Path) else value)]
    # `-m` puts the folder it runs in first on the path: that is how the bundle's code is found.
    environment = {**os.environ, **KEEPING_FREED_MEMORY}
    done = subprocess.run(  # noqa: S603 (arguments are no shell's)
        command, cwd=root, check=False, env=environment
    )
    if done.returncode != 0:
        raise StudyError(
            f"training ended with exit code {done.returncode}; its last words stand above"
        )
