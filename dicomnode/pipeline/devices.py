"""Which devices this machine computes on, without loading torch into this process."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dicomnode.domain.errors import ConfigError

_DRIVER_SIGNS = (Path("/proc/driver/nvidia/version"), Path("/dev/dxg"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeDevice:
    """One device with one child process of its own."""

    name: str
    """As in the settings: `cpu`, `cuda:1`."""
    torch_name: str
    """As the child sees it: it is shown its own CUDA device only, so that is `cuda:0`."""
    environment: Mapping[str, str]
    """Set in the child before anything is imported that reads it."""
    free_bytes: int | None = None
    """Of its memory, when the process started; None: it is not counted."""


def compute_devices(
    wanted: Sequence[str], *, environ: Mapping[str, str], cuda_free: Sequence[int]
) -> tuple[ComputeDevice, ...]:
    """The devices that settings name; `auto` is every CUDA device, else the CPU.

    `cuda_free` has the free bytes of each CUDA device.

    Processors are shared out among the children, unless `environ` sets OMP_NUM_THREADS.

    Raises:
        ConfigError: naming every device that is unknown or not there.
    """
    cuda_devices = len(cuda_free)
    names: list[str] = []
    for name in wanted:
        every = [f"cuda:{index}" for index in range(cuda_devices)] or ["cpu"]
        names.extend(every if name == "auto" else [name])
    names = list(dict.fromkeys("cuda:0" if name == "cuda" else name for name in names))
    known = {"cpu", *(f"cuda:{index}" for index in range(cuda_devices))}
    faults = [f"device {name!r} is not on this machine" for name in names if name not in known]
    if faults:
        raise ConfigError(faults)
    threads = max(1, len(os.sched_getaffinity(0)) // max(1, len(names)))
    return tuple(_device(name, environ, threads, cuda_free) for name in names)


def _device(
    name: str, environ: Mapping[str, str], threads: int, cuda_free: Sequence[int]
) -> ComputeDevice:
    environment = {
        "OMP_NUM_THREADS": environ.get("OMP_NUM_THREADS", str(threads)),
        # Waiting threads that spin take the processor from the receiver.
        "OMP_WAIT_POLICY": environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        # NumPy's and SciPy's do so whatever that says: .06 s for the smallest product.
        "OPENBLAS_NUM_THREADS": environ.get("OPENBLAS_NUM_THREADS", "1"),
    }
    if name == "cpu":
        return ComputeDevice(name=name, torch_name="cpu", environment=environment)
    index = int(name.removeprefix("cuda:"))
    visible = environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    environment["CUDA_VISIBLE_DEVICES"] = (
        visible[index] if index < len(visible) and visible[index] else str(index)
    )
    return ComputeDevice(
        name=name, torch_name="cuda:0", environment=environment, free_bytes=cuda_free[index]
    )


def driver_is_present() -> bool:
    """True if asking torch for CUDA devices can be worth the seconds it takes."""
    return any(sign.exists() for sign in _DRIVER_SIGNS)


def free_cuda_memory() -> tuple[int, ...]:
    """Free bytes of each CUDA device torch sees. Loads torch: to be called in a child."""
    import torch

    return tuple(torch.cuda.mem_get_info(index)[0] for index in range(torch.cuda.device_count()))
