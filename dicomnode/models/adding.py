"""A bundle from elsewhere, made ready for a node: unpacked, checked, converted, tried, kept."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicomnode.domain.errors import BundleInvalid
from dicomnode.models.nnunet import bundle_from_nnunet, is_nnunet
from dicomnode.models.shelf import Shelf, Version
from dicomnode.models.templates import Template, check_channels, template_named, templates
from dicomnode.models.unpacking import Limits, unpack
from dicomnode.models.weights import MODEL, convert_weights
from dicomnode.pipeline.bundle_files import check_digests, read_json, read_manifest

_DICOM = "configs/dicom.json"
_METADATA = "configs/metadata.json"
_INFERENCE = "configs/inference.json"
_YAML = ("configs/inference.yaml", "configs/inference.yml")
_NETWORKS = (MODEL, "models/model.ts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What somebody wants to add."""

    source: Path
    """A bundle's folder or zip file, or the folder of a model that nnU-Net trained."""
    dicom_json: Path | None = None
    """Instead of the bundle's own; `files` in it is filled in here."""
    template: str = ""
    """Name of a template; empty: by the bundle's own name."""
    orientation: str = ""
    """Of a model of nnU-Net: how the files lay that it was trained on."""
    trust_code: bool = False
    """Whether Python code in the bundle's folder may be imported by its configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A bundle that is kept now."""

    version: Version
    notes: tuple[str, ...]
    """What was changed on the way, for people."""


def add_bundle(
    shelf: Shelf, asked: Asked, limits: Limits, try_loading: Callable[[Path], None]
) -> Added:
    """Keep the bundle as a version that can be activated.

    `try_loading` loads it as a run would, and raises what that raises.

    Raises:
        BundleInvalid: with the reason; nothing is kept.
        StudyError: another command changes the models right now.
    """
    with shelf.staging() as staging:
        staged = staging / "bundle"
        staged.mkdir()
        source = asked.source
        notes: list[str] = []
        if is_nnunet(source):
            source = staging / "nnunet" / asked.source.name
            notes += bundle_from_nnunet(asked.source, asked.orientation, source)
        name = unpack(source, staged, limits)
        template = _template(asked, staged, name)
        notes += convert_weights(staged, network=template.weights if template else None)
        notes += _plain_inference(staged, template)
        described, how = _described(asked, staged, template)
        notes.append(how)
        listed = _listed(staged, _own_code(asked, staged))
        _write_json(staged / _DICOM, {**described, "files": listed})
        manifest = read_manifest(staged)
        if not any(path in manifest.files for path in _NETWORKS):
            raise BundleInvalid(f"the bundle has no weights: none of {', '.join(_NETWORKS)}")
        check_digests(staged, manifest)
        try_loading(staged)
        return Added(version=shelf.keep(staged), notes=tuple(notes))


def _template(asked: Asked, staged: Path, name: str) -> Template | None:
    """The template to use: the one asked for; else by name, if the bundle has no `dicom.json`."""
    if asked.template:
        chosen = template_named(asked.template)
        if chosen is None:
            raise BundleInvalid(f"no template {asked.template!r}; known: {', '.join(templates())}")
    elif asked.dicom_json is not None or (staged / _DICOM).is_file():
        return None
    else:
        # `spleen_ct_segmentation_v0.5.9.zip`, as the Model Zoo names its archives.
        chosen = template_named(re.sub(r"_v?\d+(\.\d+)+$", "", name))
    if chosen is not None:
        check_channels(chosen, read_json(staged / _METADATA))
    return chosen


def _described(
    asked: Asked, staged: Path, template: Template | None
) -> tuple[Mapping[str, object], str]:
    """`dicom.json` without its `files`, and where it came from."""
    if asked.dicom_json is not None:
        return read_json(asked.dicom_json), f"described by {asked.dicom_json.name}"
    if template is not None:
        return template.dicom, f"described by the template {template.name}"
    if (staged / _DICOM).is_file():
        return read_json(staged / _DICOM), "described by its own dicom.json"
    raise BundleInvalid(
        "the bundle has no configs/dicom.json and no template fits its name: say what its channels "
        f"mean with --dicom-json FILE (docs/bundles.md), or name one of {', '.join(templates())} "
        "with --template"
    )


def _plain_inference(staged: Path, template: Template | None) -> list[str]:
    """`configs/inference.json`, from YAML if need be, with the template's values."""
    path = staged / _INFERENCE
    written = next((one for one in _YAML if (staged / one).is_file()), None)
    notes = []
    if path.is_file():
        config: dict[str, Any] = read_json(path)
    elif written is not None:
        config = _read_yaml(staged / written)
        notes.append(f"{written} rewritten as {_INFERENCE}")
    else:
        raise BundleInvalid(f"the bundle has neither {_INFERENCE} nor {_YAML[0]}")
    overrides = template.overrides if template else {}
    for place, value in overrides.items():
        _override(config, place, value)
        notes.append(f"{place} set by the template")
    if notes:
        _write_json(path, config)
    return notes


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml  # type: ignore[import-untyped]

    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as exc:
        raise BundleInvalid(f"configs/{path.name} cannot be read: {type(exc).__name__}") from exc
    if not isinstance(raw, dict):
        raise BundleInvalid(f"configs/{path.name} is no mapping")
    return raw


def _override(config: dict[str, Any], place: str, value: Any) -> None:
    """Set a value; `imports` are added to the ones that are there."""
    *outer, last = place.split("#")
    inner: Any = config
    for key in outer:
        inner = inner.get(key) if isinstance(inner, dict) else None
    if not isinstance(inner, dict) or (outer and last not in inner):
        raise BundleInvalid(
            f"the template sets {place}, which this version of the bundle does not have"
        )
    if last == "imports":
        value = [*inner.get("imports", ()), *value]
    inner[last] = value


def _own_code(asked: Asked, staged: Path) -> tuple[str, ...]:
    """The bundle's packages that its configuration names.

    Raises:
        BundleInvalid: there are some, and nobody said that they are to be trusted.
    """
    config = (staged / _INFERENCE).read_text(encoding="utf-8")
    packages = sorted({path.parent.name for path in staged.glob("*/*.py")})
    named = tuple(
        one for one in packages if re.search(rf"\b(import|from) {one}\b|[\"$ ]{one}\.", config)
    )
    if named and not asked.trust_code:
        raise BundleInvalid(
            f"{_INFERENCE} uses Python code of the bundle itself ({', '.join(named)}). It would "
            "run on this node with the node's rights: read it, then add the bundle with "
            "--trust-code"
        )
    return named


def _listed(staged: Path, packages: tuple[str, ...]) -> dict[str, str]:
    """Every file that has a say in what the bundle does -> its SHA-256."""
    listed = {}
    for path in sorted(p for p in staged.rglob("*") if p.is_file()):
        inner = path.relative_to(staged).as_posix()
        first = inner.partition("/")[0]
        if inner != _DICOM and (first in ("configs", "models") or first in packages):
            with path.open("rb") as file:
                listed[inner] = hashlib.file_digest(file, "sha256").hexdigest()
    return listed


def _write_json(path: Path, value: Mapping[str, object]) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
