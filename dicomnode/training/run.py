"""One further training from end to end: divided, trained, packed, judged."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dicomnode.domain.errors import StudyError
from dicomnode.evaluate.run import Tick, report_segments
from dicomnode.evaluate.segments import SegmentSummary
from dicomnode.pipeline.bundle import BundleAlgorithm, load_bundle
from dicomnode.pipeline.bundle_files import read_json
from dicomnode.pipeline.discovery import BrokenAlgorithm
from dicomnode.pipeline.heap import KEEPING_FREED_MEMORY
from dicomnode.settings import Settings
from dicomnode.steps.installed import algorithms_of
from dicomnode.training.packing import pack
from dicomnode.training.parts import Parts, divide

CONFIG = "configs/retrain.json"
"""What a bundle brings that can be trained further: a MONAI configuration with the keys `site`
(folder to learn from), `output` (folder for checkpoints) and `changed` (folder that `run` leaves
the new files of the bundle in, `models/model.safetensors` above all)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked for on the command line."""

    algorithm: str
    data: Path
    out: Path
    hold_out: float
    values: Mapping[str, str]
    """Of keys of the bundle's configuration."""
    draws: int
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What came of it."""

    bundle: Path
    version: str
    before: SegmentSummary | None
    """On what was held out; None: nothing was, or the bundle gives no segments."""
    after: SegmentSummary | None


def train(settings: Settings, asked: Asked, tick: Tick) -> Trained:
    """Train a bundle further, and write the new one, its reports and checkpoints below `out`.

    Called again with the same folders it goes on from its checkpoint.

    Raises:
        StudyError: no such bundle, none that can be trained, unusable data, or training failed.
        BundleInvalid: what training left is no bundle.
    """
    root = _root(settings, asked.algorithm)
    known = keys_of(root)
    odd = sorted(set(asked.values) - set(known))
    if odd:
        raise StudyError(f"{CONFIG} has no key {odd[0]!r} to set; it has: {', '.join(known)}")
    shipped = load_bundle(root)
    pred = shipped.manifest.outputs.pred
    parts = None
    if pred.kind == "segments":
        first = 1 if pred.encoding == "channels" else 0
        meanings = {number + first: one.name for number, one in pred.segments.items()}
        parts = divide(asked.data, asked.out, meanings=meanings, share=asked.hold_out)
    changed = asked.out / "changed"
    learned = parts.learned.folder if parts else asked.data
    _run(root, {**asked.values, "site": learned, "output": asked.out / "runs", "changed": changed})
    bundle = asked.out / "bundle"
    version = pack(root, changed, bundle, said=_said(parts))
    if parts is None or parts.held_out is None:
        return Trained(bundle=bundle, version=version, before=None, after=None)
    held_out = parts.held_out.folder

    def judged(algorithm: BundleAlgorithm, name: str) -> SegmentSummary:
        out = asked.out / f"{name}.html"
        return report_segments(
            algorithm, held_out, out, device=asked.device, draws=asked.draws, tick=tick
        )

    return Trained(
        bundle=bundle,
        version=version,
        before=judged(shipped, "before"),
        after=judged(load_bundle(bundle), "after"),
    )


def keys_of(root: Path) -> Sequence[str]:
    """Plain keys of the bundle's training that may be set, those that `train` sets left out."""
    if not (root / CONFIG).is_file():
        raise StudyError(f"{root.name} cannot be trained further: it brings no {CONFIG}")
    plain = (str, int, float)
    ours = ("site", "output", "changed")
    return [
        key
        for key, value in read_json(root / CONFIG).items()
        if (value is None or isinstance(value, plain)) and key not in ours
    ]


def _root(settings: Settings, name: str) -> Path:
    known = algorithms_of(settings).get(name)
    if known is None or isinstance(known, BrokenAlgorithm) or known.source.root is None:
        raise StudyError(f"there is no bundle {name!r}; see `dicomnode algorithms`")
    return known.source.root


def _run(root: Path, values: Mapping[str, object]) -> None:
    """In a process of its own, which may import the bundle's code; this one never does."""
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", CONFIG]
    for key, value in values.items():
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


def _said(parts: Parts | None) -> str:
    if parts is None:
        return ""  # the bundle's own training divides them, and says so in `dicom.json`
    learned = parts.learned
    return (
        f"Trained further on {learned.images} labelled images of {learned.patients} patients of "
        "this site."
    )
