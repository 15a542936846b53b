"""A MONAI bundle on one device: configuration parsed, weights loaded, one prediction at a time.

Imports torch and MONAI; only ever imported when a bundle is run.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from monai.bundle.config_parser import ConfigParser
from monai.data.meta_tensor import MetaTensor
from monai.data.utils import to_affine_nd
from monai.inferers.inferer import SimpleInferer
from torch import Tensor, nn

from dicomnode.algorithm import RunContext
from dicomnode.domain.errors import BundleInvalid, ContractBroken
from dicomnode.domain.volumes import Volume
from dicomnode.networks.windows import bfloat16_pays
from dicomnode.pipeline.bundle_code import importable
from dicomnode.pipeline.bundle_files import listed_packages, read_checked
from dicomnode.pipeline.classes import Reading
from dicomnode.pipeline.faults import translated
from dicomnode.pipeline.manifest import Manifest
from dicomnode.pipeline.tensors import Affine, same_place, to_metatensor

_WEIGHTS = ("models/model.safetensors", "models/model.pt", "models/model.ts")
_SKIPPED_BEFORE = ("LoadImaged", "LoadImageDict", "EnsureChannelFirstd", "EnsureChannelFirstDict")
_SKIPPED_AFTER = ("SaveImaged", "SaveImageDict")
DETECTED = frozenset({"scores", "types", "long_axes", "short_axes"})
OPTIONAL = frozenset({"boxes", "sites", "mask"})
_READING = frozenset({"logits", "heatmaps", "organs", "ratio"})
_WRITING = frozenset({"words", "certainty"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What postprocessing left in `pred`."""

    channels: np.ndarray[Any, Any]
    """(channels, columns, rows[, slices])."""
    affine: Affine | None
    """(column, row, slice) to RAS mm; None: it lies on the grid of the first input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detections:
    """What postprocessing of a bundle of lesions left in `pred`, not checked yet."""

    values: Mapping[str, npt.NDArray[np.float64]]
    """`DETECTED` and some of `OPTIONAL`, a row for each lesion."""
    mask: Prediction | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyBundle:
    """Network and transforms of one bundle, warm on one device."""

    device: torch.device
    network: nn.Module
    inferer: Any
    preprocessing: Any
    postprocessing: Any
    autocast: torch.dtype | None


@runtime_checkable
class _Sparing(Protocol):
    """An inferer that leaves out work that nobody sees: `networks.lesion_finder` has one."""

    def only_for(self, least: Mapping[int, float]) -> Any:
        """An inferer that gives the same lesions of these types from these scores on."""


def make_ready(root: Path, manifest: Manifest, device: str) -> ReadyBundle:
    """Parse the configuration and load the weights.

    Raises:
        BundleInvalid: configuration or weights cannot be used, or digests do not fit.
        OutOfMemory: the network does not fit the device.
    """
    own_code = importable(root, listed_packages(root, manifest))
    with translated(f"bundle {manifest.name} cannot be loaded", BundleInvalid), own_code:
        parser = _parser(root, device)
        network = _network(root, manifest, parser).to(torch.device(device)).eval()
        if not any(weight.dim() == 5 for weight in network.parameters()):
            # Pays for 2D convolutions on CPU and CUDA alike.
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return ReadyBundle(
            device=torch.device(device),
            network=network,
            inferer=_content(parser, "inferer") or SimpleInferer(),
            preprocessing=_content(parser, "preprocessing"),
            postprocessing=_content(parser, "postprocessing"),
            autocast=_autocast_type(parser, device),
        )


def _parser(root: Path, device: str) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(str(root / "configs" / "inference.json"))
    parser["bundle_root"] = str(root)
    parser["device"] = torch.device(device)
    _disable(parser.get("preprocessing"), _SKIPPED_BEFORE)
    _disable(parser.get("postprocessing"), _SKIPPED_AFTER)
    return parser


def _disable(compose: Any, names: tuple[str, ...]) -> None:
    """Mark transforms so that MONAI leaves them out; removing them would shift `@...::3`."""
    transforms = compose.get("transforms") if isinstance(compose, dict) else None
    for transform in transforms if isinstance(transforms, list) else ():
        if isinstance(transform, dict):
            target = str(transform.get("_target_", "")).rpartition(".")[2]
            if target in names:
                transform["_disabled_"] = True


def _content(parser: ConfigParser, key: str) -> Any:
    return parser.get_parsed_content(key) if key in parser else None


def _network(root: Path, manifest: Manifest, parser: ConfigParser) -> nn.Module:
    listed = next((path for path in _WEIGHTS if path in manifest.files), None)
    if listed is None:
        raise BundleInvalid(f"{root.name}: none of {', '.join(_WEIGHTS)} is listed")
    content = read_checked(root, manifest, listed)
    if listed.endswith(".ts"):
        script: nn.Module = torch.jit.load(BytesIO(content), map_location="cpu")
        return script
    network = parser.get_parsed_content("network_def")
    if not isinstance(network, nn.Module):
        raise BundleInvalid(f"{root.name}: network_def is no network")
    network.load_state_dict(_weights(content, listed))
    return network


def _weights(content: bytes, listed: str) -> Mapping[str, Tensor]:
    if listed.endswith(".safetensors"):
        return safetensors.torch.load(content)
    weights = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    for wrapper in ("model", "state_dict"):
        if isinstance(weights.get(wrapper), dict):
            weights = weights[wrapper]
    return dict(weights)


def _autocast_type(parser: ConfigParser, device: str) -> torch.dtype | None:
    """`amp` of the bundle or of its evaluator; by default on CUDA only.

    Not on a processor that has no instructions for bfloat16: there a radiograph took thirteen
    times as long as in float32.
    """
    evaluator = parser.get("evaluator")
    asked = parser.get("amp")
    if not isinstance(asked, bool) and isinstance(evaluator, dict) and device.startswith("cuda"):
        asked = evaluator.get("amp")
    if not isinstance(asked, bool):
        asked = device.startswith("cuda")
    if not asked or (device == "cpu" and not bfloat16_pays(torch.device(device))):
        return None
    if device.startswith("cuda") and not torch.cuda.is_bf16_supported():
        return torch.float16
    return torch.bfloat16


def predict(
    ready: ReadyBundle, manifest: Manifest, inputs: Mapping[str, Volume], context: RunContext
) -> Prediction:
    """Run preprocessing, network and postprocessing once.

    Raises:
        OutOfMemory: device or host are too small.
        ContractBroken: the network's output has no place on the image.
        AlgorithmError: the bundle raised something; the message names it.
    """
    first = next(iter(manifest.inputs))
    data, source = _prepared(ready, manifest, inputs, context)
    image = data[first]
    context.progress(0.2, "network")
    with translated(f"network of {manifest.name} failed"):
        data["pred"] = _wrapped(_forward(ready, image), image)
    context.progress(0.8, "postprocessing")
    with translated(f"postprocessing of {manifest.name} failed"):
        if ready.postprocessing is not None:
            data = ready.postprocessing(data)
        pred = data["pred"]
    return _prediction(pred, source, _Place.of(image))


def detect(
    ready: ReadyBundle,
    manifest: Manifest,
    inputs: Mapping[str, Volume],
    context: RunContext,
    *,
    least: Mapping[int, float] | None = None,
) -> Detections:
    """Run preprocessing, network and postprocessing of a bundle of lesions once.

    The network may give anything; postprocessing makes of it the dictionary of arrays that
    `docs/bundles.md` describes. With `least` only
    lesions of the types in it are needed, those of these scores and above.

    Raises:
        OutOfMemory, AlgorithmError: as `predict`.
        ContractBroken: `pred` is no such dictionary, or its mask has no place on the image.
    """
    first = next(iter(manifest.inputs))
    data, source = _prepared(ready, manifest, inputs, context)
    image = data[first]
    network = _Place.of(image)
    context.progress(0.2, "network")
    with translated(f"network of {manifest.name} failed"):
        plain = image.as_tensor() if isinstance(image, MetaTensor) else image
        inferer = ready.inferer
        if least is not None and isinstance(inferer, _Sparing):
            inferer = inferer.only_for(least)
        with torch.inference_mode(), _autocast(ready):
            output = inferer(inputs=plain[None].to(ready.device), network=ready.network)
        if isinstance(output, Tensor) and output.shape[2:] == plain.shape[1:]:
            # One value a voxel: with its place, as of a bundle of segments.
            output = _wrapped(output[0].float().cpu().clone(), image)
        data["pred"] = output
    context.progress(0.8, "postprocessing")
    with translated(f"postprocessing of {manifest.name} failed"):
        if ready.postprocessing is not None:
            data = ready.postprocessing(data)
        pred = data["pred"]
    if not isinstance(pred, Mapping) or not DETECTED <= pred.keys() <= DETECTED | OPTIONAL:
        wanted = ", ".join(sorted(DETECTED))
        raise ContractBroken(f"pred is no dictionary of {wanted} and what else lesions may have")
    mask = pred.get("mask")
    return Detections(
        values={name: _array(pred[name]) for name in pred.keys() - {"mask"}},
        mask=None if mask is None else _prediction(mask, source, network),
    )


def _array(values: Any) -> npt.NDArray[np.float64]:
    if isinstance(values, Tensor):
        values = values.detach().float().cpu().numpy()
    return np.asarray(values, dtype=np.float64)


def read(
    ready: ReadyBundle, manifest: Manifest, inputs: Mapping[str, Volume], context: RunContext
) -> Reading:
    """Run preprocessing and a network that gives a `networks.thorax.ThoraxReading` once.

    Raises:
        OutOfMemory, AlgorithmError: as `predict`.
        ContractBroken: the network gave something else.
    """
    first = next(iter(manifest.inputs))
    data, source = _prepared(ready, manifest, inputs, context)
    image = data[first]
    context.progress(0.2, "network")
    with translated(f"network of {manifest.name} failed"):
        plain = image.as_tensor() if isinstance(image, MetaTensor) else image
        with torch.inference_mode(), _autocast(ready):
            output = ready.inferer(inputs=plain[None].to(ready.device), network=ready.network)
    if not isinstance(output, dict) or not output.keys() >= _READING:
        raise ContractBroken(f"the network did not give {', '.join(sorted(_READING))}")
    given = _READING | _WRITING if output.keys() >= _WRITING else _READING
    arrays = {key: output[key][0].float().cpu().numpy() for key in given}
    field, place = arrays["heatmaps"].shape[1:], _Place.of(image)
    if place.affine is None or source.affine is None:
        raise ContractBroken("preprocessing lost where the image lies")
    to_source = np.linalg.inv(source.affine) @ place.affine
    return Reading(
        logits=arrays["logits"],
        heatmaps=arrays["heatmaps"].transpose(0, 2, 1),
        organs=arrays["organs"].transpose(0, 2, 1),
        ratio=float(arrays["ratio"]),
        to_image=_between_corners(to_source, field, place.shape),
        shape=(source.shape[1], source.shape[0]),
        words=arrays["words"].astype(np.int64) if "words" in arrays else None,
        certainty=arrays.get("certainty"),
    )


def _between_corners(
    to_source: Affine, field: tuple[int, ...], shape: tuple[int, ...]
) -> npt.NDArray[np.float64]:
    """(column, row, 1) on a map over the network's input to the image's, both from corners."""
    planar = to_source[np.ix_([0, 1, 3], [0, 1, 3])]
    scale = np.diag([shape[0] / field[0], shape[1] / field[1], 1.0])
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    return half @ planar @ np.linalg.inv(half) @ scale


def _prepared(
    ready: ReadyBundle, manifest: Manifest, inputs: Mapping[str, Volume], context: RunContext
) -> tuple[dict[str, Any], "_Place"]:
    """The dictionary after preprocessing, and the grid of the first input before it."""
    data: dict[str, Any] = {
        name: to_metatensor(inputs[name], wanted.dimensions, copy=not _only_read(ready, name))
        for name, wanted in manifest.inputs.items()
    }
    source = _Place.of(data[next(iter(manifest.inputs))])
    context.progress(0.1, "preprocessing")
    with translated(f"preprocessing of {manifest.name} failed"):
        if ready.preprocessing is not None:
            data = ready.preprocessing(data)
    return data, source


def _only_read(ready: ReadyBundle, name: str) -> bool:
    """True if an input's first step gives a new image and leaves none of its memory to others."""
    steps = getattr(ready.preprocessing, "transforms", ())
    first = next((step for step in steps if name in getattr(step, "keys", ())), None)
    return bool(getattr(first, "only_reads", False))


def _forward(ready: ReadyBundle, image: Tensor) -> Tensor:
    # A MetaTensor would drag its header through every layer.
    plain = image.as_tensor() if isinstance(image, MetaTensor) else image
    batch = plain[None].to(ready.device)
    with torch.inference_mode(), _autocast(ready):
        output = ready.inferer(inputs=batch, network=ready.network)
    if not isinstance(output, Tensor):
        raise ContractBroken(f"the network gave a {type(output).__name__}, not one tensor")
    if output.shape[0] != 1 or output.shape[2:] != batch.shape[2:]:
        raise ContractBroken(
            f"the network gave {tuple(output.shape)} for an input of {tuple(batch.shape)}"
        )
    # Out of inference mode, so that postprocessing may work in place.
    return output[0].float().cpu().clone()


def _autocast(ready: ReadyBundle) -> AbstractContextManager[object]:
    if ready.autocast is None:
        return nullcontext()
    return torch.autocast(ready.device.type, dtype=ready.autocast)


def _wrapped(output: Tensor, image: Tensor) -> Tensor:
    """The output with the image's affine and the list of what was done to it, for `Invertd`."""
    if not isinstance(image, MetaTensor):
        return output
    return MetaTensor(
        output,
        meta=deepcopy(image.meta),
        applied_operations=deepcopy(image.applied_operations),
    )


def _prediction(pred: Any, source: "_Place", network: "_Place") -> Prediction:
    """The result, which has to lie on the grid of the image or on that of the network's input.

    An affine that is neither was lost on the way, and the result could be put anywhere.
    """
    if not isinstance(pred, Tensor | np.ndarray) or pred.ndim != len(source.shape) + 1:
        raise ContractBroken(f"pred is no array of channel and {len(source.shape)} axes")
    values = pred.as_tensor() if isinstance(pred, MetaTensor) else pred
    channels = values.cpu().numpy() if isinstance(values, Tensor) else values
    place = _Place.of(pred)
    if place.is_same_as(source) or (place.affine is None and network.is_same_as(source)):
        if place.shape == source.shape:
            return Prediction(channels=channels, affine=None)
    elif place.is_same_as(network):
        return Prediction(channels=channels, affine=place.affine)
    raise ContractBroken(
        f"pred of {place.shape} lies neither on the image ({source.shape}) nor on what the network "
        f"was given ({network.shape})"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """The grid a channel-first tensor lies on."""

    shape: tuple[int, ...]
    affine: Affine | None
    """4 x 4; None: the tensor does not say."""

    @classmethod
    def of(cls, tensor: Any) -> "_Place":
        affine = None
        if isinstance(tensor, MetaTensor):
            affine = to_affine_nd(3, tensor.affine.cpu().numpy().astype(np.float64))
        return cls(shape=tuple(int(length) for length in tensor.shape[1:]), affine=affine)

    def is_same_as(self, other: "_Place") -> bool:
        if self.affine is None or other.affine is None or self.shape != other.shape:
            return False
        return same_place(self.affine, other.affine, (*self.shape, 1)[:3])
