"""What a bundle raises, in our words."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dicomnode.domain.errors import AlgorithmError, DicomNodeError, OutOfMemory

_LONGEST = 200


@contextmanager
def translated(what: str, kind: type[AlgorithmError] = AlgorithmError) -> Iterator[None]:
    """Raise whatever comes out of the block as ours, `what` first.

    Nothing of a patient but pixels goes into a bundle, so its own words may be passed on.

    Raises:
        OutOfMemory: memory of the host or device ran out, wherever in the chain of causes.
        kind: anything else; errors of our own pass unchanged.
    """
    try:
        yield
    except Exception as exc:  # a bundle is other people's code
        chain = list(_causes(exc))
        ours = next((error for error in chain if isinstance(error, DicomNodeError)), None)
        if ours is not None:
            raise ours from exc
        if any(map(_is_out_of_memory, chain)):
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            raise OutOfMemory(f"{what}: out of memory") from exc
        deepest = chain[-1]
        words = " ".join(str(deepest).split())[:_LONGEST]
        raise kind(f"{what}: {type(deepest).__name__}: {words}") from exc


def _causes(exc: BaseException | None) -> Iterator[BaseException]:
    while exc is not None:
        yield exc
        exc = exc.__cause__


def _is_out_of_memory(exc: BaseException) -> bool:
    if isinstance(exc, MemoryError | torch.OutOfMemoryError):
        return True
    # torch has no type of its own for the host's memory.
    return isinstance(exc, RuntimeError) and "can't allocate memory" in str(exc)
