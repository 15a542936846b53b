"""What the objects of one run say, as a digest: what says something else needs UIDs of its own."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass

import numpy as np

from dicomnode import __version__
from dicomnode.algorithm import AlgorithmIdentity
from dicomnode.domain.findings import Finding
from dicomnode.domain.volumes import Volume
from dicomnode.encode.derivation import Derivation
from dicomnode.settings import OutputSettings


def content_digest(
    findings: Sequence[Finding],
    volume: Volume,
    *,
    identity: AlgorithmIdentity,
    derivation: Derivation,
    settings: OutputSettings,
) -> str:
    """SHA-256, hex, of all that goes into the objects besides what the images' files say.

    Equal in every run that found the same, with the same software under the same settings, whatever
    the time. The forms that are asked for do not count: one more leaves the others as they are.
    """
    digest = hashlib.sha256()
    said = (
        tuple(findings),
        volume.warnings,
        volume.grid,
        identity,
        derivation.software_versions,
        __version__,
        derivation.predecessors,
        derivation.complete,
        settings.model_dump_json(),
    )
    for part in _parts(said):
        digest.update(f"{len(part)}:".encode())
        digest.update(part)
    return digest.hexdigest()


def _parts(value: object) -> Iterator[bytes]:
    """Its bytes, piece by piece, and of what kind they are; different values never agree."""
    if isinstance(value, np.ndarray):
        yield f"{value.dtype.str} {value.shape}".encode()
        # Masks of a whole CT: an eighth of the bytes to digest.
        yield (np.packbits(value) if value.dtype == np.bool_ else value).tobytes()
    elif isinstance(value, tuple):
        yield f"tuple {len(value)}".encode()
        for one in value:
            yield from _parts(one)
    elif is_dataclass(value):
        yield type(value).__name__.encode()
        for field in fields(value):
            yield from _parts(getattr(value, field.name))
    else:
        yield repr(value).encode()
