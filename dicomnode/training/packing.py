"""A bundle and what training changed of it, put together as a new bundle."""

import hashlib
import json
import shutil
from pathlib import Path

from dicomnode.pipeline.bundle_files import check_digests, read_json, read_manifest

_DICOM = "configs/dicom.json"
_METADATA = "configs/metadata.json"
_CARD = "docs/README.md"


def pack(root: Path, changed: Path, target: Path, *, said: str = "") -> str:
    """Write the bundle `target` and return its version.

    Args:
        root: the bundle that was trained further; it is not touched.
        changed: files that take the place of the bundle's own, at least its weights.
        target: what an earlier call left there is replaced.
        said: a sentence on what it learned from, which follows what `dicom.json` says of its use in
            every SR; empty if `changed` brings a `dicom.json` that says it.

    Raises:
        BundleInvalid: the two make no bundle.
    """
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(root, target, ignore=shutil.ignore_patterns("__pycache__", "runs"))
    shutil.copytree(changed, target, dirs_exist_ok=True)
    manifest = read_json(target / _DICOM)
    listed = manifest["files"]
    assert isinstance(listed, dict)
    named = {one for one in listed if (target / one).is_file()} | _below_models(target)
    files = {one: _digest(target / one) for one in sorted(named)}
    use = f"{manifest['intended_use']} {said}".strip()
    _write(target / _DICOM, {**manifest, "intended_use": use, "files": files})
    metadata = read_json(target / _METADATA)
    # New thresholds make another version too.
    made = [*files.values(), *(_digest(path) for path in (changed / _DICOM,) if path.is_file())]
    digest = hashlib.sha256("".join(made).encode()).hexdigest()
    version = f"{metadata['version']}+site.{digest[:8]}"
    _write(target / _METADATA, {**metadata, "version": version})
    _mark_card(target / _CARD, said or use)
    check_digests(target, read_manifest(target))
    return version


def _below_models(bundle: Path) -> set[str]:
    found = (path for path in (bundle / "models").rglob("*") if path.is_file())
    return {path.relative_to(bundle).as_posix() for path in found}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, value: dict[str, object]) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _mark_card(card: Path, said: str) -> None:
    """No figure of the card is of these weights: that has to stand above all of them."""
    before = card.read_text(encoding="utf-8") if card.is_file() else ""
    note = f"> **{said}** The figures below are of the weights before, not of these.\n\n"
    card.parent.mkdir(parents=True, exist_ok=True)
    card.write_text(note + before, encoding="utf-8")
