"""Which algorithms this installation has, and what is wrong with the ones that cannot be used.

Cheap: bundles are described by their JSON files; no torch, no weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from dicomnode.algorithm import ENTRY_POINT_GROUP, Algorithm, AlgorithmIdentity, InputSpec
from dicomnode.domain.device_memory import MemoryLine
from dicomnode.domain.errors import BundleInvalid, DicomNodeError
from dicomnode.pipeline.bundle import load_bundle
from dicomnode.pipeline.bundle_files import read_identity, read_manifest
from dicomnode.pipeline.calibrations import with_calibration
from dicomnode.pipeline.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgorithmSource:
    """Where an algorithm comes from: a bundle's folder or an installed entry point."""

    root: Path | None = None
    entry_point: str | None = None
    calibrations: Path | None = None
    """Folder of the bundle's calibrations (`pipeline.calibrations`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgorithmDescription:
    """What rules and workers have to know of an algorithm that has not been loaded."""

    identity: AlgorithmIdentity
    needs: Mapping[str, InputSpec]
    """Input name -> what fits it; the first is the one findings lie on."""
    time_limit_s: float
    source: AlgorithmSource
    memory: MemoryLine | None = None
    """What a run takes of a device, if that is stated."""
    flaggable: frozenset[str] | None = None
    """Classes and types of lesions that it may report; None: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenAlgorithm:
    """An algorithm that is installed but cannot be used."""

    name: str
    fault: str
    source: AlgorithmSource


def describe(root: Path, calibrations: Path | None = None) -> AlgorithmDescription:
    """The bundle in `root`, by its JSON files, under the calibration in force.

    `calibrations` has a folder for each algorithm.

    Raises:
        BundleInvalid: naming what is wrong. Digests are only checked by `load_bundle`.
    """
    manifest = read_manifest(root)
    folder = calibrations / manifest.name if calibrations is not None else None
    identity = read_identity(root, manifest)
    in_force = with_calibration(manifest, folder, identity.model_digest)
    return AlgorithmDescription(
        identity=identity if in_force is manifest else read_identity(root, in_force),
        needs=manifest.needs(),
        time_limit_s=manifest.time_limit_s,
        source=AlgorithmSource(root=root, calibrations=folder),
        memory=manifest.memory.line() if manifest.memory else None,
        flaggable=_flaggable(manifest),
    )


def _flaggable(manifest: Manifest) -> frozenset[str]:
    pred = manifest.outputs.pred
    if pred.kind == "classes":
        return frozenset(one.name for one in pred.classes.values() if one.reported)
    if pred.kind == "lesions":
        return frozenset(one.name for one in pred.types.values() if one.reported)
    return frozenset()


def discover(
    roots: Sequence[Path], *, added: Path | None = None, calibrations: Path | None = None
) -> Mapping[str, AlgorithmDescription | BrokenAlgorithm]:
    """Name -> algorithm, for every bundle below `roots` and every entry point.

    A folder is a bundle if it has `configs/dicom.json`. A broken one is listed by its folder's
    name with its fault, and so is one whose name is already taken by an earlier one. Bundles below
    `added` are meant to take the place of others: those of their names are left out silently.
    """
    found: dict[str, AlgorithmDescription | BrokenAlgorithm] = {}
    for one in _bundles_below(added, calibrations) if added is not None else ():
        _list(found, one)
    replaced = frozenset(found)
    for root in roots:
        for one in _bundles_below(root, calibrations):
            name = one.name if isinstance(one, BrokenAlgorithm) else one.identity.name
            if name not in replaced:
                _list(found, one)
    for entry_point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda e: e.name):
        _list(found, _described_entry_point(entry_point))
    return found


def _bundles_below(
    root: Path, calibrations: Path | None
) -> list[AlgorithmDescription | BrokenAlgorithm]:
    places = sorted(root.glob("*/configs/dicom.json"))
    return [_described_bundle(place.parent.parent, calibrations) for place in places]


def load_algorithm(source: AlgorithmSource) -> Algorithm:
    """The algorithm itself; to be called in the process that runs it.

    Raises:
        BundleInvalid: it cannot be loaded.
    """
    if source.root is not None:
        return load_bundle(source.root, source.calibrations)
    for entry_point in entry_points(group=ENTRY_POINT_GROUP, name=source.entry_point or ""):
        return _loaded(entry_point)
    raise BundleInvalid(f"no installed package offers the algorithm {source.entry_point!r}")


def _list(
    found: dict[str, AlgorithmDescription | BrokenAlgorithm],
    entry: AlgorithmDescription | BrokenAlgorithm,
) -> None:
    name = entry.name if isinstance(entry, BrokenAlgorithm) else entry.identity.name
    if name not in found:
        found[name] = entry
        return
    place = entry.source.root or entry.source.entry_point
    key = f"{name} ({place})"
    found[key] = BrokenAlgorithm(
        name=key, fault=f"the name {name!r} is taken by another algorithm", source=entry.source
    )


def _described_bundle(
    root: Path, calibrations: Path | None
) -> AlgorithmDescription | BrokenAlgorithm:
    try:
        return describe(root, calibrations)
    except BundleInvalid as exc:
        return BrokenAlgorithm(name=root.name, fault=str(exc), source=AlgorithmSource(root=root))


def _described_entry_point(entry_point: EntryPoint) -> AlgorithmDescription | BrokenAlgorithm:
    source = AlgorithmSource(entry_point=entry_point.name)
    try:
        algorithm = _loaded(entry_point)
        return AlgorithmDescription(
            identity=algorithm.identity,
            needs=algorithm.needs,
            time_limit_s=algorithm.time_limit_s,
            source=source,
        )
    except Exception as exc:  # noqa: BLE001 (another package's code: its fault is shown)
        fault = str(exc) if isinstance(exc, DicomNodeError) else f"{type(exc).__name__}: {exc}"
        return BrokenAlgorithm(name=entry_point.name, fault=fault, source=source)


def _loaded(entry_point: EntryPoint) -> Algorithm:
    """An entry point names an `Algorithm`, or a function without arguments that returns one."""
    offered = entry_point.load()
    algorithm: Algorithm = offered() if callable(offered) else offered
    return algorithm
