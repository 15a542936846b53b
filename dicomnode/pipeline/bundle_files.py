"""The files of a bundle's folder: what has to be there, and that it is what was listed.

Trust. The configuration of a MONAI bundle is code: `$...` expressions are evaluated and
`_target_` may name any callable. So bundles are read only from the roots named in the
settings (and the ones shipped), which are to be protected like the installation itself. The
digests in `files` guard the weights, which come from elsewhere and are swapped or cut short most
easily: every file below `models/` must be listed and fit, and only bytes that fit are loaded, as
safetensors, by `torch.load(weights_only=True)` or as TorchScript. `files` may list any other file
of the bundle too. Python code in the bundle's folder can be imported by its configuration only if
`files` lists every module of that package (`listed_packages`).
"""

import hashlib
import json
import re
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dicomnode.algorithm import AlgorithmIdentity
from dicomnode.domain.disk import disk_fault, is_disk_fault
from dicomnode.domain.errors import BundleInvalid, DiskFault
from dicomnode.pipeline.manifest import Manifest

_CHUNK = 1 << 20
_INFERENCE = "configs/inference.json"


def read_manifest(root: Path) -> Manifest:
    """The checked `configs/dicom.json`; that the right files are there, but not their digests.

    Raises:
        BundleInvalid: naming every fault of the file, or the files that are missing or too many.
    """
    raw = read_json(root / "configs" / "dicom.json")
    try:
        manifest = Manifest.model_validate(raw)
    except ValidationError as exc:
        faults = [f"{_place(fault)}: {fault['msg']}" for fault in exc.errors()]
        raise BundleInvalid(f"{root.name}/configs/dicom.json: " + "; ".join(faults)) from exc
    _check_listing(root, manifest)
    return manifest


def _place(fault: ErrorDetails) -> str:
    """The keys down to the fault, as they stand in the file."""
    keys = [str(key) for key in fault["loc"]]
    if fault["type"].startswith("union_tag") and keys[-1:] == ["pred"]:
        keys.append("kind")
    elif keys[:2] == ["outputs", "pred"]:
        # Which kind of output it was read as: no key of the file.
        del keys[2:3]
    return ".".join(keys)


def read_identity(root: Path, manifest: Manifest) -> AlgorithmIdentity:
    """The identity of the algorithm in `root`, without reading its weights.

    Raises:
        BundleInvalid: `configs/metadata.json` or `configs/inference.json` is missing.
    """
    content = _read_bytes(root, _INFERENCE)
    return manifest.identity(
        version=read_version(root), inference_digest=hashlib.sha256(content).hexdigest()
    )


def read_version(root: Path) -> str:
    """`version` of MONAI's `configs/metadata.json`.

    Raises:
        BundleInvalid: there is none.
    """
    version = read_json(root / "configs" / "metadata.json").get("version")
    if not isinstance(version, str) or not re.fullmatch(r"[0-9A-Za-z.+_-]{1,64}", version):
        raise BundleInvalid(f"{root.name}/configs/metadata.json has no usable version")
    return version


def read_json(path: Path) -> dict[str, object]:
    """A JSON object.

    Raises:
        BundleInvalid: the file cannot be read or is none.
    """
    name = "/".join(path.parts[-3:])
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as exc:
        if isinstance(exc, OSError) and is_disk_fault(exc):
            raise disk_fault(exc, f"{name} cannot be read") from exc
        raise BundleInvalid(f"{name} cannot be read: {type(exc).__name__}") from exc
    if not isinstance(raw, dict):
        raise BundleInvalid(f"{name} is no JSON object")
    return raw


def _check_listing(root: Path, manifest: Manifest) -> None:
    home = root.resolve()
    for listed in manifest.files:
        path = root / listed
        if not path.is_file() or not path.resolve().is_relative_to(home):
            raise BundleInvalid(f"{root.name}: {listed} is listed but not in the bundle")
    models = root / "models"
    found = {
        path.relative_to(root).as_posix()
        for path in models.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }
    unlisted = sorted(found - set(manifest.files))
    if unlisted:
        raise BundleInvalid(f"{root.name}: {unlisted[0]} is not listed in configs/dicom.json")


def listed_packages(root: Path, manifest: Manifest) -> tuple[str, ...]:
    """The bundle's own Python packages that its configuration may import, often `scripts`.

    Raises:
        BundleInvalid: a package is listed in part, so that something unlisted could be imported.
    """
    listed = {path for path in manifest.files if path.endswith(".py")}
    packages = sorted({path.partition("/")[0] for path in listed if "/" in path})
    for package in packages:
        found = {path.relative_to(root).as_posix() for path in (root / package).rglob("*.py")}
        unlisted = sorted(found - listed)
        if unlisted:
            raise BundleInvalid(
                f"{root.name}: {unlisted[0]} is not listed in configs/dicom.json, "
                f"but other files of {package} are"
            )
    return tuple(packages)


def check_digests(root: Path, manifest: Manifest) -> None:
    """Read every listed file through.

    Raises:
        BundleInvalid: one has another SHA-256 than listed.
    """
    for listed, wanted in manifest.files.items():
        digest = hashlib.sha256()
        try:
            with (root / listed).open("rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
        except OSError as exc:
            raise _unread(exc, root, listed) from exc
        _compare(root, listed, digest.hexdigest(), wanted)


def read_checked(root: Path, manifest: Manifest, listed: str) -> bytes:
    """The bytes of a listed file, if they are the ones that were listed.

    Raises:
        BundleInvalid: they are not.
    """
    content = _read_bytes(root, listed)
    _compare(root, listed, hashlib.sha256(content).hexdigest(), manifest.files[listed])
    return content


def _compare(root: Path, listed: str, found: str, wanted: str) -> None:
    if found != wanted:
        raise BundleInvalid(
            f"{root.name}: {listed} has SHA-256 {found[:12]}..., "
            f"but {wanted[:12]}... is listed; nothing of it was loaded"
        )


def _read_bytes(root: Path, listed: str) -> bytes:
    try:
        return (root / listed).read_bytes()
    except OSError as exc:
        raise _unread(exc, root, listed) from exc


def _unread(exc: OSError, root: Path, listed: str) -> BundleInvalid | DiskFault:
    if is_disk_fault(exc):
        return disk_fault(exc, f"{root.name}: {listed} cannot be read")
    return BundleInvalid(f"{root.name}: {listed} cannot be read")
