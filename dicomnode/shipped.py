"""Where files that travel with the package lie: in a wheel, or in the source tree."""

from importlib.resources import files
from pathlib import Path


def shipped(name: str) -> Path:
    """The folder `name` (`sql`, `algorithms`) that came with this package.

    A wheel carries it as `dicomnode/_shipped/<name>`; in a source tree it stands beside us.
    """
    package = Path(str(files("dicomnode")))
    packed = package / "_shipped" / name
    return packed if packed.is_dir() else package.parent / name
