"""A bundle's own Python code, importable while its configuration is parsed and no longer."""

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def importable(root: Path, packages: Sequence[str]) -> Iterator[None]:
    """Let `packages` of a bundle be imported in the block.

    Every bundle of the Model Zoo calls its package `scripts`. So each one's modules are taken out
    of `sys.modules` afterwards: objects made from them live on, and the next bundle finds its own.
    Code that imports a module of the package later than in the block does not find it.
    """
    if not packages:
        yield
        return
    wrote = sys.dont_write_bytecode
    _forget(packages)
    sys.path.insert(0, str(root))
    # The folder of an added bundle is never written to again.
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.dont_write_bytecode = wrote
        sys.path.remove(str(root))
        _forget(packages)


def _forget(packages: Sequence[str]) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in packages]:
        del sys.modules[name]
