"""`dicom.json` for bundles of MONAI's Model Zoo, which come without one.

A template says what the bundle's channels mean in DICOM codes, and which values of its
`inference` configuration have to differ on a node (`overrides`, `a#b` for a value within). The
bundle's own `metadata.json` must name its channels as the template does, or it is not used: another
order of labels would put the wrong names into a PACS.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from dicomnode.domain.errors import BundleInvalid


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """What is known of a bundle that was not made for this node."""

    name: str
    source: str
    """Where its layout was read."""
    channels: Mapping[str, str]
    """Label -> what the bundle's metadata has to call it."""
    overrides: Mapping[str, Any]
    weights: str | None
    """The file of the network's weights, if it is not `models/model.*`."""
    dicom: Mapping[str, Any]
    """`dicom.json` without `files`."""


def templates() -> tuple[str, ...]:
    """The names of all that are shipped."""
    folder = files("dicomnode.models") / "templates"
    return tuple(sorted(one.name.removesuffix(".json") for one in folder.iterdir()))


def template_named(name: str) -> Template | None:
    """The one of this name, or None."""
    if name not in templates():
        return None
    raw = json.loads((files("dicomnode.models") / "templates" / f"{name}.json").read_text())
    return Template(
        name=name,
        source=raw["source"],
        channels=raw["channels"],
        overrides=raw["overrides"],
        weights=raw.get("weights"),
        dicom=raw["dicom"],
    )


def check_channels(template: Template, metadata: Mapping[str, Any]) -> None:
    """Return if the bundle calls its labels what the template says they are.

    A template of boxes names no channels, and nothing is compared.

    Raises:
        BundleInvalid: naming the first label that differs, or that the metadata says nothing.
    """
    if not template.channels:
        return
    said = metadata
    for key in ("network_data_format", "outputs", "pred", "channel_def"):
        inner = said.get(key) if isinstance(said, Mapping) else None
        if not isinstance(inner, Mapping):
            raise BundleInvalid(
                f"configs/metadata.json does not name the channels ({key} is missing), so the "
                f"template {template.name} cannot be checked against it"
            )
        said = inner
    for label, wanted in template.channels.items():
        found = str(said.get(label, "nothing"))
        if _plain(found) != _plain(wanted):
            raise BundleInvalid(
                f"channel {label} is {found!r} in configs/metadata.json, but {wanted!r} in the "
                f"template {template.name}"
            )
    more = sorted(set(said) - {"0", *template.channels})
    if more:
        raise BundleInvalid(f"channel {more[0]} is not in the template {template.name}")


def _plain(name: str) -> str:
    return name.casefold().replace("_", " ").replace("tumour", "tumor").strip()
