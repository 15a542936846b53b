"""Two versions of a model on the same studies: how much they agree, and where they do not."""

import base64
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from dicomnode.algorithm import RunContext
from dicomnode.domain.errors import PipelineError, StudyError
from dicomnode.domain.findings import SegmentFinding
from dicomnode.domain.identifiers import SeriesUid
from dicomnode.domain.volumes import Volume
from dicomnode.encode.preview import draw_overlay
from dicomnode.offline import read_folder
from dicomnode.pipeline.bundle import BundleAlgorithm, load_bundle
from dicomnode.pipeline.volume import read_series

_FIRST, _SECOND = (86, 180, 233), (230, 159, 0)
_DRAWN = 3
"""Segments in the picture of a study: the ones that agree least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentAgreement:
    """One segment in one series."""

    name: str
    dice: float
    """1 where neither version found it."""
    first_ml: float
    second_ml: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesAgreement:
    """One series that both versions read, or the reason why not."""

    series: str
    """Its description; nothing that names a patient."""
    segments: tuple[SegmentAgreement, ...]
    refused: str = ""
    picture: Path | None = None


def compare_versions(
    first: Path,
    second: Path,
    files: Iterable[Path],
    out: Path,
    *,
    device: str,
    tick: Callable[[Sequence[SeriesUid]], Iterable[SeriesUid]],
) -> tuple[SeriesAgreement, ...]:
    """Run the bundles in two folders on every fitting series; write `comparison.html` and JSON.

    The pictures show the first version blue, the second orange, for the segments that agree least.

    Raises:
        StudyError: one of them does not give segments, they give different ones, or no series fits.
    """
    one, other = load_bundle(first), load_bundle(second)
    names = _names(one)
    if names != _names(other):
        raise StudyError("the two versions do not give the same segments")
    out.mkdir(parents=True, exist_ok=True)
    folder = read_folder(files)
    spec = next(iter(one.needs.values()))
    fitting = [uid for uid, facts in folder.series.items() if facts.modality in spec.modalities]
    if not fitting:
        raise StudyError(f"no series of {', '.join(sorted(spec.modalities))} in the folder")
    found = []
    for number, uid in enumerate(tick(fitting)):
        words = next(iter(folder.series[uid].values.get("SeriesDescription", ())), "")
        label = f"{number + 1}: {words}" if words else str(number + 1)
        picture = out / f"series_{number + 1}.png"
        files_of = folder.files[uid]
        found.append(_compared((one, other), files_of, names, label, picture, device=device))
    _write(out, one, other, found)
    return tuple(found)


def _names(algorithm: BundleAlgorithm) -> tuple[str, ...]:
    pred = algorithm.manifest.outputs.pred
    if pred.kind != "segments":
        raise StudyError(f"{algorithm.identity.name} gives no segments to compare")
    return tuple(segment.name for segment in pred.segments.values())


def _compared(
    versions: tuple[BundleAlgorithm, BundleAlgorithm],
    files: Sequence[Path],
    names: Sequence[str],
    label: str,
    picture: Path,
    *,
    device: str,
) -> SeriesAgreement:
    try:
        image = read_series(files)
        first, second = (_segments(algorithm, image, device) for algorithm in versions)
    except PipelineError as exc:
        reason = f"{type(exc).__name__}: {exc}"
        return SeriesAgreement(series=label, segments=(), refused=reason)
    agreements = [_agreement(name, first.get(name), second.get(name), image) for name in names]
    least = sorted(agreements, key=lambda a: a.dice)[:_DRAWN]
    drawn = [
        replace(found[a.name], name=f"{a.name}, {which}", color=color, measurements=())
        for a in least
        for which, color, found in (("first", _FIRST, first), ("second", _SECOND, second))
        if a.name in found
    ]
    if drawn:
        draw_overlay(image, drawn, picture, title=label)
    return SeriesAgreement(
        series=label, segments=tuple(agreements), picture=picture if drawn else None
    )


def _segments(
    algorithm: BundleAlgorithm, image: Volume, device: str
) -> Mapping[str, SegmentFinding]:
    with TemporaryDirectory() as scratch:
        context = RunContext(device=device, scratch=Path(scratch))
        findings = algorithm.run({next(iter(algorithm.needs)): image}, context)
    return {one.name: one for one in findings if isinstance(one, SegmentFinding)}


def _agreement(
    name: str, first: SegmentFinding | None, second: SegmentFinding | None, image: Volume
) -> SegmentAgreement:
    nothing = np.zeros(image.grid.shape, dtype=bool)
    a = nothing if first is None else first.mask
    b = nothing if second is None else second.mask
    total = int(a.sum()) + int(b.sum())
    ml = image.grid.voxel_mm3 / 1000
    return SegmentAgreement(
        name=name,
        dice=2 * int((a & b).sum()) / total if total else 1.0,
        first_ml=int(a.sum()) * ml,
        second_ml=int(b.sum()) * ml,
    )


def _write(
    out: Path, one: BundleAlgorithm, other: BundleAlgorithm, found: Sequence[SeriesAgreement]
) -> None:
    versions = [f"{a.identity.version} ({a.identity.model_digest[:8]})" for a in (one, other)]
    raw = [{**asdict(each), "picture": each.picture and each.picture.name} for each in found]
    (out / "comparison.json").write_text(
        json.dumps({"versions": versions, "series": raw}, indent=1) + "\n", encoding="utf-8"
    )
    style = (
        "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto}"
        "td,th{padding:.2rem .8rem;text-align:right}td:first-child{text-align:left}"
        "img{max-width:100%}"
    )
    told = (
        f"First (blue): {escape(versions[0])}. Second (orange): {escape(versions[1])}. "
        "Agreement of two models says nothing about which one is right."
    )
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>Two versions</title>",
        f"<style>{style}</style><h1>{escape(one.identity.name)}</h1><p>{told}",
    ]
    for each in found:
        parts.append(f"<h2>{escape(each.series)}</h2>")
        if each.refused:
            parts.append(f"<p>not read: {escape(each.refused)}")
            continue
        rows = "".join(
            f"<tr><td>{escape(a.name)}<td>{a.dice:.3f}<td>{a.first_ml:.1f}<td>{a.second_ml:.1f}"
            for a in each.segments
        )
        parts.append(f"<table><tr><th><th>Dice<th>first, ml<th>second, ml{rows}</table>")
        if each.picture is not None:
            picture = base64.b64encode(each.picture.read_bytes()).decode()
            parts.append(f'<img alt="both outlines" src="data:image/png;base64,{picture}">')
    (out / "comparison.html").write_text("\n".join(parts) + "\n", encoding="utf-8")
