"""Which type of a bundle a type of the truth is: by its name, or as folder or caller says."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dicomnode.domain.errors import StudyError
from dicomnode.evaluate.truths import key_of
from dicomnode.evaluation.froc import TrueLesion
from dicomnode.pipeline.manifest import Lesions

FILE = "lesion_types.json"
"""Beside the tables: {"LN": "Lymph node"}, as `--lesion-type` says it; "" for those without one."""

NameOf = Callable[[str], str | None]
"""Type in the truth -> type of the bundle; empty: not told; None: not looked for."""


def read_lesion_types(folder: Path) -> dict[str, str]:
    """Type in the truth -> type of the bundle, as the folder says; empty if it says nothing.

    Raises:
        StudyError: the file is not of that form.
    """
    path = folder / FILE
    if not path.is_file():
        return {}
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return {str(truth): str(name) for truth, name in raw.items()}
    except (ValueError, AttributeError) as exc:
        raise StudyError(f'{FILE} is not of the form {{"LN": "Lymph node", ...}}') from exc


def names_of(pred: Lesions, named: Mapping[str, str]) -> NameOf:
    """How the truth's types are called in the bundle.

    Args:
        pred: what the bundle looks for; if that is one type, lesions without a type are of it.
        named: type in the truth -> type of the bundle, beyond those that are called alike.

    Raises:
        StudyError: one is named that the bundle has not.
    """
    types = {key_of(one.name): one.name for one in pred.types.values()}
    said = {key_of(truth): types.get(key_of(name)) for truth, name in named.items()}
    wrong = [named[truth] for truth in named if said[key_of(truth)] is None]
    if wrong:
        raise StudyError(f"{wrong[0]!r} is none of the bundle's types: {listed(pred)}")
    if len(types) == 1:
        said.setdefault("", next(iter(types.values())))

    def name_of(kind: str) -> str | None:
        key = key_of(kind)
        return said.get(key) or types.get(key) or (None if key else "")

    return name_of


def listed(pred: Lesions) -> str:
    """The types that a bundle looks for."""
    return ", ".join(one.name for one in pred.types.values())


def as_sought(lesions: Sequence[TrueLesion], name_of: NameOf) -> list[TrueLesion]:
    """With the bundle's types; what it does not look for is neither hit nor miss."""
    kinds = [name_of(one.kind) for one in lesions]
    return [
        replace(one, kind=kind or "", counts=one.counts and kind is not None)
        for one, kind in zip(lesions, kinds, strict=True)
    ]


def not_sought(lesions: Sequence[TrueLesion], name_of: NameOf) -> tuple[str, ...]:
    """Types in the truth that the bundle does not look for, once for each lesion of them."""
    return tuple(one.kind for one in lesions if one.counts and name_of(one.kind) is None)


def why_none(pred: Lesions, left_out: Sequence[str]) -> str:
    """What to say where types in the truth are none of the bundle's."""
    return (
        f"the truth holds no type that the bundle looks for ({listed(pred)}), but "
        f"{left_out[0]!r}: say which it is by --lesion-type"
    )
