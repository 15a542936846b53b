"""Chunks mined in several processes, answered in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

from dicomnode.reports.opening import MinerSetup

Chunk = TypeVar("Chunk")
Answer = TypeVar("Answer")


def in_order(
    work: Callable[[MinerSetup, Chunk], Answer],
    chunks: Iterable[Chunk],
    setup: MinerSetup,
    workers: int,
) -> Iterator[tuple[Chunk, Answer]]:
    """Every chunk with what `work` makes of it; at most a few chunks are held at once.

    `work` is a function of a module: other processes look it up by name. With one worker it runs
    here. The others are copies of a process that has loaded the language model once.
    """
    if workers <= 1:
        for chunk in chunks:
            yield chunk, work(setup, chunk)
        return
    context = get_context("forkserver")
    context.set_forkserver_preload(["dicomnode.reports.preloaded"] if setup.graph else [])
    waiting: deque[tuple[Chunk, Future[Answer]]] = deque()
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for chunk in chunks:
            waiting.append((chunk, pool.submit(work, setup, chunk)))
            if len(waiting) > 2 * workers:
                first, ready = waiting.popleft()
                yield first, ready.result()
        while waiting:
            first, ready = waiting.popleft()
            yield first, ready.result()
