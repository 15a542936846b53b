"""Weights as they come, pickled, into safetensors: tensors and nothing else.

A `.pt` file is read by `torch.load(weights_only=True)`, which builds tensors, arrays and plain
containers and refuses to call anything else. What it gives is written as safetensors and the
pickle is thrown away. TorchScript (`.ts`) cannot be converted; it is loaded by `torch.jit`, whose
reader builds no Python objects.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from dicomnode.domain.errors import BundleInvalid

MODEL = "models/model.safetensors"
_PICKLED = (".pt", ".pth", ".ckpt")
_TENSORS = ".safetensors"
_SCRIPT = ".ts"
_PLAIN = (".json", ".yaml", ".yml", ".txt", ".md", ".csv")
_WRAPPERS = ("model", "state_dict", "network_weights")
"""What training programs put a state dictionary into, beside the optimizer's."""


def convert_weights(root: Path, *, network: str | None = None) -> tuple[str, ...]:
    """Leave no pickle below `root/models`; returns what was done, for people.

    `network` names the file of the network's weights if it is not `models/model.*`; it becomes
    `models/model.safetensors`. Other pickles keep their names, with the new ending.

    Raises:
        BundleInvalid: a file holds more than tensors, or is of a kind that is not loaded here.
    """
    models = root / "models"
    done: list[str] = []
    wanted = root / (network or "models/model.pt")
    if network is not None and not wanted.is_file():
        raise BundleInvalid(f"{network} is not in the bundle")
    for path in sorted(p for p in models.rglob("*") if p.is_file()):
        inner = path.relative_to(root).as_posix()
        if path.suffix in _PICKLED:
            done.extend(_converted(root, path, is_network=path == wanted))
        elif path.suffix == _TENSORS:
            _check_tensors(path, inner)
        elif path.suffix == _SCRIPT:
            done.append(f"{inner} is TorchScript and stays as it is")
        elif path.suffix not in _PLAIN:
            raise BundleInvalid(
                f"{inner}: files of this kind are not loaded here; weights come as "
                f"{', '.join((_TENSORS, *_PICKLED, _SCRIPT))}"
            )
    return tuple(done)


def _converted(root: Path, path: Path, *, is_network: bool) -> Iterator[str]:
    inner = path.relative_to(root).as_posix()
    if _is_script(path):
        if is_network:
            path.rename(path.with_suffix(_SCRIPT))
            yield f"{inner} is TorchScript, kept as {path.with_suffix(_SCRIPT).name}"
            return
        raise BundleInvalid(f"{inner} is TorchScript, but not the network of the bundle")
    loaded = _read(path, inner)
    tensors = dict(_tensors(_unwrapped(loaded) if is_network else loaded, inner))
    target = root / MODEL if is_network else path.with_suffix(_TENSORS)
    if target.exists():
        if is_network:
            path.unlink()
            yield f"{inner} left out: {target.name} is there"
            return
        raise BundleInvalid(f"{inner} and {target.name} are both there")
    save_file(tensors, target)
    path.unlink()
    yield f"{inner} converted to {target.name} ({len(tensors)} tensors)"


def read_pickled(path: Path, name: str) -> dict[str, Tensor]:
    """Named tensors of a checkpoint: those of its network alone, if it holds more.

    Raises:
        BundleInvalid: as `convert_weights`.
    """
    return dict(_tensors(_unwrapped(_read(path, name)), name))


def _is_script(path: Path) -> bool:
    import zipfile

    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in f"/{name}" for name in archive.namelist())


def _read(path: Path, inner: str) -> object:
    # Arrays that old training programs left beside the weights; they hold numbers only. What
    # pickle calls to make one is found without naming numpy's inner modules.
    make_array: Any = np.zeros(0).__reduce__()[0]
    make_number: Any = np.float64(0).__reduce__()[0]
    allowed: list[Any] = [
        (make_array, "numpy.core.multiarray._reconstruct"),
        (make_array, "numpy._core.multiarray._reconstruct"),
        np.ndarray,
        np.dtype,
        *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "u1", "?")),
        # Single numbers, in the logs that nnU-Net keeps beside the weights.
        (make_number, "numpy.core.multiarray.scalar"),
        (make_number, "numpy._core.multiarray.scalar"),
    ]
    try:
        with torch.serialization.safe_globals(allowed):
            loaded: object = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as exc:
        # Torch's own words advise to load it all the same; only what it met is passed on.
        met = next((w for w in str(exc).split() if "." in w and w[0].isalpha()), "an object")
        raise BundleInvalid(
            f"{inner} is a pickle of more than tensors ({met.strip('.,`')}), and loading it could "
            "run anything; nothing of it was loaded. Ask its maker for a state dictionary or "
            "safetensors"
        ) from exc
    except (OSError, RuntimeError, EOFError, ValueError) as exc:
        raise BundleInvalid(f"{inner} cannot be read as weights: {type(exc).__name__}") from exc
    return loaded


def _unwrapped(loaded: object) -> object:
    for wrapper in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            return loaded[wrapper]
    return loaded


def _tensors(loaded: object, inner: str) -> Iterator[tuple[str, Tensor]]:
    """Copies: safetensors takes no two names of one memory."""
    if not isinstance(loaded, Mapping):
        raise BundleInvalid(f"{inner} holds a {type(loaded).__name__}, not named tensors")
    for name, value in loaded.items():
        if isinstance(value, Tensor):
            yield str(name), value.detach().cpu().contiguous().clone()
        elif isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
            yield str(name), torch.from_numpy(np.ascontiguousarray(value)).clone()
        elif isinstance(value, bool | int | float):
            yield str(name), torch.tensor(value)
        elif value is not None:
            raise BundleInvalid(f"{inner}: {name} is a {type(value).__name__}, no tensor")


def _check_tensors(path: Path, inner: str) -> None:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            list(file.keys())
    except (safetensors.SafetensorError, OSError) as exc:
        raise BundleInvalid(f"{inner} is no safetensors file") from exc
