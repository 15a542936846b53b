"""A MONAI bundle as an `Algorithm`. torch and MONAI are first imported by `run`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from dicomnode.algorithm import AlgorithmIdentity, InputSpec, RunContext
from dicomnode.domain.device_memory import in_gb
from dicomnode.domain.errors import BundleInvalid, ContractBroken, OutOfMemory
from dicomnode.domain.findings import Finding
from dicomnode.domain.volumes import Volume
from dicomnode.pipeline.bundle_files import check_digests, read_identity, read_manifest
from dicomnode.pipeline.calibrations import InForce, version_in_force, with_calibration
from dicomnode.pipeline.inputs import check_inputs
from dicomnode.pipeline.manifest import Manifest, Segments
from dicomnode.pipeline.measures import measure_all
from dicomnode.pipeline.sides import Doubt, doubt_of_segments, without_sides
from dicomnode.pipeline.turning import Turn, turn_of

if TYPE_CHECKING:
    from dicomnode.networks.upright import UprightGate
    from dicomnode.pipeline.classes import Reading
    from dicomnode.pipeline.inference import Prediction, ReadyBundle
    from dicomnode.pipeline.lesions import Candidate

_KEPT_WARM = 4
_HOST = "cpu"


class BundleAlgorithm:
    """Implements `dicomnode.algorithm.Algorithm`; keeps its network warm per device."""

    def __init__(self, root: Path, manifest: Manifest, identity: AlgorithmIdentity) -> None:
        self._root = root
        self._manifest = manifest
        self._identity = identity
        self._ready: dict[str, ReadyBundle] = {}
        self._gate: UprightGate | None = None

    @property
    def identity(self) -> AlgorithmIdentity:
        """Name, version, digest."""
        return self._identity

    @property
    def root(self) -> Path:
        """The folder it was loaded from."""
        return self._root

    @property
    def needs(self) -> Mapping[str, InputSpec]:
        """Input name -> what fits it; the first is the one findings lie on."""
        return self._manifest.needs()

    @property
    def time_limit_s(self) -> float:
        """Beyond this the run is killed."""
        return self._manifest.time_limit_s

    def load(self, device: str) -> None:
        """Import torch, make the network and load its weights, if that was not done.

        Raises:
            BundleInvalid: configuration or weights cannot be used.
            OutOfMemory: the network does not fit the device.
        """
        self._made_ready(device)

    def run(self, inputs: Mapping[str, Volume], context: RunContext) -> Sequence[Finding]:
        """Segments with their measurements, classes, statements or lesions.

        All on the first input's grid.

        Raises:
            InputRefused: an input is missing, does not fit, or does not pass the bundle's gate.
            BundleInvalid: configuration or weights cannot be used.
            OutOfMemory: device or host are too small.
            ContractBroken: the output is not what `dicom.json` describes.
            AlgorithmError: the bundle raised something else.
        """
        check_inputs(self.needs, inputs)
        context.progress(0.0, "loading")
        stored = inputs[self._first]
        turn = self._turn_of(stored)
        if turn is not None:
            inputs = {**inputs, self._first: turn.upright(stored)}
            context.notes.append("it was read upright, turned as its PatientOrientation says")
        image = inputs[self._first]
        self._check_gate(image)
        context = self._within(inputs, context)
        ready = self._made_ready(context.device)
        findings = self._findings(ready, inputs, image, context)
        context.progress(1.0, "done")
        return turn.findings_back(findings, stored.grid.shape[1:]) if turn else findings

    def reading(self, inputs: Mapping[str, Volume], context: RunContext) -> "Reading":
        """What the network of a bundle of classes gave, whatever is reported: for evaluations.

        Raises:
            ContractBroken: this is no bundle of classes.
            InputRefused, BundleInvalid, OutOfMemory, AlgorithmError: as `run`.
        """
        check_inputs(self.needs, inputs)
        from dicomnode.pipeline.classes import turned_back
        from dicomnode.pipeline.inference import read

        stored = inputs[self._first]
        turn = self._turn_of(stored)
        if turn is not None:
            inputs = {**inputs, self._first: turn.upright(stored)}
        self._check_gate(inputs[self._first])
        reading = read(self._made_ready(context.device), self._manifest, inputs, context)
        return turned_back(reading, turn, stored.grid.shape[1:]) if turn else reading

    def candidates(
        self, inputs: Mapping[str, Volume], context: RunContext
    ) -> "tuple[Candidate, ...]":
        """Every detection of a bundle of lesions, whatever its score: for FROC curves.

        Raises:
            ContractBroken: this is no bundle of lesions.
            InputRefused, BundleInvalid, OutOfMemory, AlgorithmError: as `run`.
        """
        check_inputs(self.needs, inputs)
        from dicomnode.pipeline.inference import detect
        from dicomnode.pipeline.lesions import candidates_of

        pred = self._manifest.outputs.pred
        if pred.kind != "lesions":
            raise ContractBroken(f"{self._identity.name} detects no lesions")
        found = detect(self._made_ready(context.device), self._manifest, inputs, context)
        return candidates_of(found, pred, inputs[self._first].grid)

    @property
    def manifest(self) -> Manifest:
        """What `configs/dicom.json` says."""
        return self._manifest

    @property
    def _first(self) -> str:
        """The input that findings lie on."""
        return next(iter(self._manifest.inputs))

    def _turn_of(self, image: Volume) -> Turn | None:
        """A gate means that the bundle reads upright frontal radiographs: only those are turned."""
        return turn_of(image.orientation) if self._manifest.gate else None

    def _made_ready(self, device: str) -> "ReadyBundle":
        from dicomnode.pipeline.inference import make_ready

        if device not in self._ready:
            self._ready[device] = make_ready(self._root, self._manifest, device)
        return self._ready[device]

    def _check_gate(self, image: Volume) -> None:
        gate = self._manifest.gate
        if gate is None:
            return
        from dicomnode.pipeline.gate import check_upright, load_gate

        if self._gate is None:
            self._gate = load_gate(self._root, self._manifest, gate)
        check_upright(self._gate, gate, image)

    def _findings(
        self,
        ready: "ReadyBundle",
        inputs: Mapping[str, Volume],
        image: Volume,
        context: RunContext,
    ) -> Sequence[Finding]:
        from dicomnode.pipeline.classes import doubt_of_reading, findings_of
        from dicomnode.pipeline.inference import detect, read
        from dicomnode.pipeline.lesion_sites import with_sites
        from dicomnode.pipeline.lesions import least_reported, lesions_of, marked_at
        from dicomnode.pipeline.segments import segments_of
        from dicomnode.pipeline.statements import statements_of

        pred = self._manifest.outputs.pred
        if pred.kind == "classes":
            reading = read(ready, self._manifest, inputs, context)
            self._unsure(doubt_of_reading(reading, image.orientation), context)
            return findings_of(reading, pred)
        if pred.kind == "lesions":
            least = least_reported(pred, context.lesions)
            detections = detect(ready, self._manifest, inputs, context, least=least)
            context.progress(0.9, "measuring")
            context.notes.append(marked_at(detections, pred, image.grid, context.lesions))
            lesions = lesions_of(detections, pred, image.grid, context.lesions)
            return with_sites(lesions, [pred.refined_of(one.name) for one in lesions], image)
        if pred.kind == "statements":
            reading = read(ready, self._manifest, inputs, context)
            unsure = self._unsure(doubt_of_reading(reading, image.orientation), context)
            return statements_of(reading, pred, with_sides=not unsure)
        prediction = self._predicted(ready, pred, inputs, context)
        context.progress(0.9, "measuring")
        segments = segments_of(prediction, pred, image.grid)
        findings = measure_all(segments, self._manifest.measurements, image)
        unsure = self._unsure(doubt_of_segments(findings, image.orientation), context)
        return without_sides(findings) if unsure else findings

    def _unsure(self, found: Doubt | None, context: RunContext) -> bool:
        """Note a doubt of sides; True if nothing may be called right or left.

        Only a gate makes sure that this is a chest, and upright.
        """
        if self._manifest.gate is None or found is None:
            return False
        context.notes.append(found.note)
        return not found.is_told

    def _within(self, inputs: Mapping[str, Volume], context: RunContext) -> RunContext:
        """On the CPU if the device is known to be too small, and cutting would not help."""
        short = context.shortage
        if short is None:
            return context
        from dicomnode.pipeline.bounded import slabs_for_device

        is_cut = self._manifest.outputs.pred.kind == "segments"
        if is_cut and slabs_for_device(self._manifest, inputs, short) is not None:
            return context
        context.notes.append(
            f"computed on the CPU: it was predicted to need {in_gb(short.need_bytes)}, "
            f"{context.device} has {in_gb(short.budget_bytes)}"
        )
        return replace(context, device=_HOST, shortage=None)

    def _predicted(
        self,
        ready: "ReadyBundle",
        wanted: Segments,
        inputs: Mapping[str, Volume],
        context: RunContext,
    ) -> "Prediction":
        """On the device; in slabs there if it is too small; on the CPU if it still is."""
        from dicomnode.pipeline.bounded import predict_after_shortage, predict_bounded

        try:
            return predict_bounded(ready, self._manifest, wanted, inputs, context)
        except OutOfMemory:
            if context.device == _HOST:
                raise
        cut = predict_after_shortage(ready, self._manifest, inputs, context)
        if cut is not None:
            return cut
        context.notes.append(f"computed on the CPU: {context.device} was too small")
        ready = self._made_ready(_HOST)
        on_host = replace(context, device=_HOST)
        return predict_bounded(ready, self._manifest, wanted, inputs, on_host)


def load_bundle(root: Path, calibrations: Path | None = None) -> BundleAlgorithm:
    """The bundle in `root`, every listed file checked against its digest.

    The same object comes back as long as its files stay as they are, so that a process that runs
    one job after the other loads a network once. `calibrations` is the folder of its calibrations.

    Raises:
        BundleInvalid: naming what is wrong.
    """
    in_force = version_in_force(calibrations) if calibrations is not None else None
    return _load(root.resolve(), _stamp(root), calibrations, in_force)


def try_loading(device: str, root: Path) -> None:
    """Load the network of a bundle as a run would, and let go of it.

    Raises:
        BundleInvalid, OutOfMemory: as `BundleAlgorithm.run`.
    """
    from dicomnode.pipeline.inference import make_ready

    manifest = read_manifest(root)
    check_digests(root, manifest)
    make_ready(root, manifest, device)


@lru_cache(maxsize=_KEPT_WARM)
def _load(
    root: Path,
    _stamp: tuple[tuple[str, int, int], ...],
    calibrations: Path | None,
    _in_force: InForce | None,
) -> BundleAlgorithm:
    manifest = read_manifest(root)
    check_digests(root, manifest)
    identity = read_identity(root, manifest)
    in_force = with_calibration(manifest, calibrations, identity.model_digest)
    if in_force is not manifest:
        identity = read_identity(root, in_force)
    return BundleAlgorithm(root, in_force, identity)


def _stamp(root: Path) -> tuple[tuple[str, int, int], ...]:
    """Changes whenever a file of the bundle is replaced."""
    try:
        files = sorted(path for path in root.glob("*/**/*") if path.parts[-2] != "docs")
        return tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files)
    except OSError as exc:
        raise BundleInvalid(f"{root.name} cannot be read") from exc
