"""Functions of installed packages that make a bundle of weights in a layout of their own."""

from importlib.metadata import entry_points
from pathlib import Path

from dicomnode.domain.errors import BundleInvalid
from dicomnode.pipeline.bundle_files import check_digests, read_manifest

GROUP = "dicomnode.converters"
"""Of entry points; each is called with the weights' file, the bundle's folder and its name."""


def convert_to_bundle(layout: str, weights: Path, out: Path, name: str) -> None:
    """Have the converter `layout` write the bundle `out`, which is then checked.

    Raises:
        BundleInvalid: there is no such converter, or none such weights, or it wrote no bundle.
    """
    known = {one.name: one for one in entry_points(group=GROUP)}
    if layout not in known:
        there = ", ".join(sorted(known)) or "none is installed"
        raise BundleInvalid(f"no converter {layout!r}; there is: {there}")
    known[layout].load()(weights, out, name)
    check_digests(out, read_manifest(out))
