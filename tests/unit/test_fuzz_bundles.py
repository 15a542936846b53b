"""Whatever stands in a bundle's metadata is taken, or refused by name; nothing else is read."""

import copy
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomnode.domain.errors import BundleInvalid
from dicomnode.pipeline.bundle_files import check_digests, read_manifest
from dicomnode.testing.bundles import BundleRecipe, dicom_config, write_bundle

VALID = dicom_config(BundleRecipe(), "ab" * 32)
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [
        *("", " ", "../x", "/etc/passwd", "a\0b", "1e999", "\u202e", "x" * 10_000),
        *(0, -1, 10**400, 1e308, float("inf"), float("nan"), True, None, [], {}),
    ]
)
VALUES = st.recursive(
    ODD | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
OUTSIDE = ["../secret", "models/../../secret", "/etc/passwd", "..", "models/\0", "~/x", "C:\\x"]


def paths(node: object, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a tree of JSON."""
    yield here
    inner: Iterable[tuple[Any, object]] = ()
    if isinstance(node, dict):
        inner = node.items()
    elif isinstance(node, list):
        inner = enumerate(node)
    for key, value in inner:
        yield from paths(value, (*here, key))


PLACES = [path for path in paths(VALID) if path]


def changed(place: tuple[Any, ...], value: object) -> dict[str, Any]:
    content = copy.deepcopy(VALID)
    node: Any = content
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    return content


@contextmanager
def bundle(text: str | bytes) -> Iterator[Path]:
    with TemporaryDirectory() as name:
        root = write_bundle(Path(name))
        file = root / "configs" / "dicom.json"
        file.write_bytes(text if isinstance(text, bytes) else text.encode(errors="surrogatepass"))
        yield root


def taken_or_refused(root: Path) -> bool:
    """Anything else than a refusal by name would take the node's start down."""
    try:
        check_digests(root, read_manifest(root))
    except BundleInvalid:
        return False
    return True


@settings(max_examples=50)
@given(place=st.sampled_from(PLACES), value=VALUES)
def test_one_odd_value_is_taken_or_refused(place: tuple[Any, ...], value: object) -> None:
    with bundle(json.dumps(changed(place, value))) as root:
        taken_or_refused(root)


@settings(max_examples=25)
@given(place=st.sampled_from(PLACES), name=st.text(min_size=1, max_size=12), value=VALUES)
def test_a_key_that_nobody_knows_is_taken_or_refused(
    place: tuple[Any, ...], name: str, value: object
) -> None:
    with bundle(json.dumps(changed((*place[:-1], place[-1]), {name: value}))) as root:
        taken_or_refused(root)


@settings(max_examples=25)
@given(text=st.binary(max_size=60))
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with bundle(text) as root:
        assert not taken_or_refused(root)


@pytest.mark.parametrize(
    "text",
    [b"[" * 100_000, b'{"a":' * 50_000, b'{"a":' + b"9" * 10_000 + b"}", b"\xff\xfe{}"],
    ids=["deep", "deeper", "large number", "utf-16"],
)
def test_json_that_is_meant_badly_is_refused(text: bytes) -> None:
    with bundle(text) as root:
        assert not taken_or_refused(root)


@pytest.mark.parametrize("outside", OUTSIDE)
def test_no_file_outside_the_bundle_is_read(outside: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    root = write_bundle(tmp_path / "bundles")
    content = json.loads((root / "configs" / "dicom.json").read_text())
    content["files"][outside] = "ab" * 32
    (root / "configs" / "dicom.json").write_text(json.dumps(content))
    assert not taken_or_refused(root)
