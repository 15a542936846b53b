"""The words of `configs/dicom.json`: what goes into a bundle, what its channels mean, digests."""

import hashlib
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from dicomnode.algorithm import AlgorithmIdentity, InputSpec
from dicomnode.domain.codes import CHEST_RADIOGRAPH, Code
from dicomnode.domain.device_memory import MemoryLine
from dicomnode.domain.sites import Refined


def _code(raw: object) -> Code:
    if isinstance(raw, Code):
        return raw
    if not isinstance(raw, list) or len(raw) != 3 or not all(isinstance(p, str) for p in raw):
        raise ValueError("a code is [value, scheme, meaning]")
    value, scheme, meaning = raw
    # PS3.5 6.2: SH has 16 characters, LO 64; PS3.3 8.3: longer values go elsewhere.
    if not (0 < len(value) <= 64 and 0 < len(scheme) <= 16 and 0 < len(meaning) <= 64):
        raise ValueError("value and meaning have 1 to 64 characters, the scheme 1 to 16")
    return Code(value, scheme, meaning)


def _inside(text: str) -> str:
    path = PurePosixPath(text)
    if not text or "\\" in text or path.is_absolute() or ".." in path.parts or str(path) != text:
        raise ValueError("a file is named by its plain path inside the bundle")
    return text


DicomCode = Annotated[Code, BeforeValidator(_code)]
BundlePath = Annotated[str, AfterValidator(_inside)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Text = Annotated[str, Field(min_length=1, max_length=1024)]
Label = Annotated[str, Field(min_length=1, max_length=64)]
Byte = Annotated[int, Field(ge=0, le=255)]


def _falling(points: Mapping[float, float]) -> Mapping[float, float]:
    scores = [score for _, score in sorted(points.items())]
    if scores != sorted(scores, reverse=True):
        raise ValueError("more false positives a volume cannot ask for a higher score")
    return points


Share = Annotated[float, Field(ge=0, le=1)]
OperatingPoints = Annotated[
    Mapping[Annotated[float, Field(gt=0)], Share], Field(min_length=1), AfterValidator(_falling)
]
"""False positives a volume -> the least score of what is marked, from an FROC curve."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Input(_Part):
    """Which series fits one input."""

    modality: Annotated[tuple[str, ...], Field(min_length=1)]
    dimensions: Literal[2, 3]
    max_spacing_mm: Annotated[float, Field(gt=0)] | None = None
    min_slices: Annotated[int, Field(ge=1)] = 1

    def spec(self) -> InputSpec:
        """In the words of the contract."""
        return InputSpec(
            modalities=frozenset(self.modality),
            dimensions=self.dimensions,
            max_spacing_mm=self.max_spacing_mm,
            min_slices=self.min_slices,
        )


class Segment(_Part):
    """What one label or channel means."""

    name: Label
    category: DicomCode
    type: DicomCode
    laterality: DicomCode | None = None
    color: tuple[Byte, Byte, Byte]


class Segments(_Part):
    """An output that is one mask a segment."""

    kind: Literal["segments"]
    encoding: Literal["labels", "channels"]
    segments: Annotated[Mapping[int, Segment], Field(min_length=1)]
    """Label (1, 2, ...) or channel (0, 1, ...) -> meaning."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [segment.name for segment in self.segments.values()]
        if len(set(names)) < len(names):
            raise ValueError("two segments have one name")
        if self.encoding == "labels" and min(self.segments) < 1:
            raise ValueError("label 0 is the background")
        if self.encoding == "channels" and sorted(self.segments) != list(range(len(names))):
            raise ValueError("channels are counted 0, 1, ... without a gap")
        return self


class Boxes(_Part):
    """How boxes are read from a class's heatmap: connected parts above a share of its maximum."""

    share: Annotated[float, Field(gt=0, lt=1)]
    most: Annotated[int, Field(ge=1, le=8)] = 2
    within: Literal["lungs", "heart"] = "lungs"
    """Organ that a box has to lie on; `heart`: the box is that of the heart itself."""


class ImageClass(_Part):
    """One class of whole images: what its logit means, and when it counts as present.

    The probability is sigmoid((logit + bias) / temperature).
    """

    name: Label
    code: DicomCode
    temperature: Annotated[float, Field(gt=0)] = 1.0
    bias: float = 0.0
    operating_point: Annotated[float, Field(gt=0, lt=1)]
    reported: bool
    """False: not good enough; neither the probability nor a box leaves the node."""
    boxes: Boxes | None = None


class RatioCheck(_Part):
    """A class that the cardiothoracic ratio has to agree with; if not, the report says so."""

    name: Label
    at_least: Annotated[float, Field(gt=0, lt=1)]


class _OfClasses(_Part):
    """An output that judges classes of the whole image, with heatmaps (`networks.thorax`)."""

    classes: Annotated[Mapping[int, ImageClass], Field(min_length=1)]
    """Number of the logit, from 0 -> meaning."""

    @model_validator(mode="after")
    def _check_classes(self) -> Self:
        names = [one.name for one in self.classes.values()]
        if len(set(names)) < len(names):
            raise ValueError("two classes have one name")
        if sorted(self.classes) != list(range(len(names))):
            raise ValueError("classes are counted 0, 1, ... without a gap")
        return self


class Classes(_OfClasses):
    """The classes' probabilities and boxes."""

    kind: Literal["classes"]
    ratio_check: RatioCheck | None = None

    @model_validator(mode="after")
    def _check_ratio(self) -> Self:
        names = [one.name for one in self.classes.values()]
        if self.ratio_check is not None and self.ratio_check.name not in names:
            raise ValueError(f"{self.ratio_check.name!r} is no class")
        return self


class LesionType(_Part):
    """What one type of lesion is called, and whether it leaves the node."""

    name: Label
    """Lesions are called after it: `Lymph node 1`, `Lymph node 2`, the highest score first."""
    code: DicomCode
    color: tuple[Byte, Byte, Byte] = (213, 94, 0)
    reported: bool = True
    """False: not good enough; none of this type leaves the node."""
    operating_points: OperatingPoints | None = None
    """Its own, where those of all types together do not fit."""
    refined: Refined | None = None
    """How its site is told more exactly from the tissues around (`pipeline.lesion_sites`)."""


class LesionSite(_Part):
    """Where a lesion may lie."""

    code: DicomCode
    laterality: DicomCode | None = None


class Lesions(_Part):
    """An output that is a list of lesions in a volume (`pipeline.lesions`)."""

    kind: Literal["lesions"]
    types: Annotated[Mapping[int, LesionType], Field(min_length=1)]
    """Number of a type, from 1 -> meaning."""
    sites: Annotated[Mapping[int, LesionSite], Field(default_factory=dict)]
    """Number of a site, from 1 -> meaning; 0 is an unknown site."""
    operating_points: OperatingPoints
    false_positives_per_volume: Annotated[float, Field(gt=0)]
    """Which operating point holds, unless the node's settings name another."""
    most: Annotated[int, Field(ge=1, le=100)] = 30
    """Lesions marked in one volume; those of the highest scores."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [one.name for one in self.types.values()]
        if len(set(names)) < len(names):
            raise ValueError("two types have one name")
        if min([*self.types, *self.sites]) < 1:
            raise ValueError("types and sites are counted from 1")
        for points in (
            self.operating_points,
            *(one.operating_points for one in self.types.values()),
        ):
            if points is not None and self.false_positives_per_volume not in points:
                raise ValueError("false_positives_per_volume is none of the operating points")
        return self

    def refined_of(self, finding: str) -> Refined | None:
        """How the site of a lesion of this name (`Lymph node 2`) is told more exactly."""
        called = finding.rpartition(" ")[0]
        return next((one.refined for one in self.types.values() if one.name == called), None)

    def points_of(self, number: int) -> Mapping[float, float]:
        """The operating points that hold for a type."""
        return self.types[number].operating_points or self.operating_points


class Statements(_OfClasses):
    """A few words on each class that is at its operating point (`networks.description`)."""

    kind: Literal["statements"]
    words: Mapping[int, Mapping[int, Label]]
    """Class -> number of a word -> the word. What is not named for a class, because it is not good
    enough there, is never written of it."""
    at_least: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Certainty below which a word is left out."""

    @model_validator(mode="after")
    def _check_words(self) -> Self:
        for number in self.words:
            if number not in self.classes:
                raise ValueError(f"words of class {number}, which there is not")
        return self


class Gate(_Part):
    """Refuses what is not an upright frontal chest radiograph (`networks.upright`)."""

    weights: BundlePath
    """A listed safetensors file."""
    at_least: Annotated[float, Field(gt=0, lt=1)]
    """Probability of an upright frontal chest radiograph below which an image is refused."""


class Outputs(_Part):
    """What postprocessing leaves in the dictionary."""

    pred: Annotated[Segments | Classes | Statements | Lesions, Field(discriminator="kind")]


InSegmentsName = Literal[
    "volume",
    "area",
    "mean_hu",
    "emphysema",
    "core_hu",
    "vertebral_marrow",
    "fat_volume",
    "lean_volume",
    "mean_area",
    "surface",
    "calcification",
]
"""What is measured in a segment: `pipeline.measures.IN_SEGMENTS`."""
_IN_PLANE = ("area", "cardiothoracic_ratio")
_ANY_VOLUME = ("volume", "mean_area", "surface")
"""Measures of 3D that need no Hounsfield units; all others of 3D do."""


class InSegments(_Part):
    """A measurement taken in each of some segments."""

    measure: InSegmentsName
    of: Annotated[tuple[Label, ...], Field(min_length=1)]


class CardiothoracicRatio(_Part):
    """The cardiothoracic ratio of three segments."""

    measure: Literal["cardiothoracic_ratio"]
    heart: Label
    lungs: Annotated[tuple[Label, ...], Field(min_length=2, max_length=2)]


AnyMeasure = Annotated[InSegments | CardiothoracicRatio, Field(discriminator="measure")]


class SlabReading(_Part):
    """That a volume may be read slab by slab where memory is short.

    Only for bundles whose result at a voxel does not depend on what lies further away: no
    normalisation over the volume, no largest part.
    """

    margin_mm: Annotated[float, Field(gt=0)]
    """How far each slab reaches over its ends; at least half a window."""


class StatedMemory(_Part):
    """What a run takes of a device's memory at most, where the bundle's author has measured it."""

    fixed_gb: Annotated[float, Field(ge=0, le=1000)]
    """Whatever the size: weights, libraries."""
    gb_per_million_voxels: Annotated[float, Field(ge=0, le=1000)]
    """Of all inputs together, as they come from the scanner."""

    def line(self) -> MemoryLine:
        """In bytes."""
        return MemoryLine(
            fixed_bytes=self.fixed_gb * 1e9, a_voxel_bytes=self.gb_per_million_voxels * 1e3
        )


class Manifest(_Part):
    """The whole of `configs/dicom.json`."""

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    name: Name
    manufacturer: Label
    title: Label
    intended_use: Text
    inputs: Annotated[dict[Name, Input], Field(min_length=1)]
    gate: Gate | None = None
    outputs: Outputs
    measurements: tuple[AnyMeasure, ...] = ()
    slabs: SlabReading | None = None
    memory: StatedMemory | None = None
    time_limit_s: Annotated[float, Field(gt=0, le=86400)]
    calibrated: Annotated[str, Field(max_length=0)] = ""
    """By which calibration of the site; no file may say so, only `calibrations.calibrated`."""
    files: Annotated[dict[BundlePath, Digest], Field(min_length=1)]

    @model_validator(mode="after")
    def _check_measurements(self) -> Self:
        pred = self.outputs.pred
        names = {one.name for one in pred.segments.values()} if pred.kind == "segments" else set()
        first = next(iter(self.inputs.values()))
        if first.dimensions == 3 and (self.gate or pred.kind in ("classes", "statements")):
            raise ValueError("gate and classes are for radiographs, of 2 dimensions")
        if first.dimensions == 2 and pred.kind == "lesions":
            raise ValueError("lesions are for volumes, of 3 dimensions")
        if self.gate is not None and self.gate.weights not in self.files:
            raise ValueError(f"{self.gate.weights} is not listed in files")
        for measure in self.measurements:
            wanted = (
                measure.of if isinstance(measure, InSegments) else (measure.heart, *measure.lungs)
            )
            unknown = sorted(set(wanted) - names)
            if unknown:
                raise ValueError(f"{measure.measure} of {unknown[0]!r}, which is no segment")
            if (first.dimensions == 2) != (measure.measure in _IN_PLANE):
                raise ValueError(f"{measure.measure} cannot be measured in {first.dimensions}D")
            needs_hu = measure.measure not in (*_IN_PLANE, *_ANY_VOLUME)
            if needs_hu and set(first.modality) != {"CT"}:
                raise ValueError(f"{measure.measure} can be measured in CT only")
        return self

    def identity(self, *, version: str, inference_digest: str) -> AlgorithmIdentity:
        """Who makes the findings.

        The digest covers every listed file, `configs/inference.json`, and what `dicom.json` says
        of gate, classes and lesions, because another threshold there is another algorithm.
        """
        parts = [f"{self.files[path]}  {path}" for path in sorted(self.files)]
        parts.append(inference_digest)
        if self.gate is not None:
            parts.append(self.gate.model_dump_json())
        if self.outputs.pred.kind != "segments":
            parts.append(self.outputs.pred.model_dump_json())
        digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        return AlgorithmIdentity(
            name=self.name,
            version=version,
            manufacturer=self.manufacturer,
            title=self.title,
            model_digest=digest,
            intended_use=self.intended_use,
            procedure=CHEST_RADIOGRAPH if self.gate else None,
            calibrated=self.calibrated,
        )

    def needs(self) -> dict[str, InputSpec]:
        """Input name -> what fits; the first is the one findings lie on."""
        return {name: wanted.spec() for name, wanted in self.inputs.items()}
