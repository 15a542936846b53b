"""An endless stream of samples for training, of a pool of painted anatomies that may still grow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from dicomnode.phantom.slabs import Stock, read_stock

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Supply:
    """What samples are made of."""

    pool: Path
    """Folder of stocks (`slabs.keep_stock`), looked through for new files now and then."""
    real: Sequence[Stock]
    """Stocks of real CT."""
    share: float
    """Of the samples that are made of real CT, where there is any."""
    seed: int
    """Of the first sample; those that follow count up."""


def kept_samples(
    make: Callable[[Sequence[Stock], int], T],
    supply: Supply,
    *,
    pattern: str,
    stream: int,
    keep: int,
    uses: int,
    at_least: int = 0,
    look_every: int = 40,
    newest: int = 400,
) -> Iterator[tuple[list[T], np.random.Generator]]:
    """Yield the samples at hand, and what to draw from them with, again and again.

    A sample costs more to make than to learn from: `keep` of them stay at hand, and after each new
    one they are yielded `uses` times. Equal arguments and an equal pool give equal samples.

    Args:
        make: a sample of stocks and a seed.
        supply: what it is made of.
        pattern: of the names of files in the pool.
        stream: tells streams of one seed apart.
        keep: samples at hand at most; a random one makes room.
        uses: see above.
        at_least: with no more samples at hand they are yielded once.
        look_every: samples between looks at the pool.
        newest: files that one look takes in at most.
    """
    stocks: list[Stock] = []
    known: set[Path] = set()
    kept: list[T] = []
    seed = supply.seed
    while True:
        if (seed - supply.seed) % look_every == 0:
            for path in sorted(set(supply.pool.glob(pattern)) - known)[-newest:]:
                stocks.append(read_stock(path))
                known.add(path)
        rng = np.random.default_rng([stream, seed])
        source = supply.real if supply.real and rng.random() < supply.share else stocks
        kept.append(make(source, seed))
        if len(kept) > keep:
            kept.pop(int(rng.integers(len(kept))))
        for _ in range(uses if len(kept) > at_least else 1):
            yield kept, rng
        seed += 1
