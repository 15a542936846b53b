"""Streams of training samples: what they are made of, how often they are used, that they repeat."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from dicomnode.phantom import make_anatomy
from dicomnode.phantom.slabs import Stock, keep_stock, read_stock
from dicomnode.phantom.streams import Supply, kept_samples

Sample = tuple[int, int]


def painted(folder: Path, name: str) -> Path:
    anatomy = make_anatomy(1, region=(60.0, 84.0), spacing_mm=(8.0, 8.0, 8.0), detail=False)
    keep_stock(anatomy, folder / name)
    return folder / name


def drawn(pool: Path, real: Sequence[Stock], share: float, turns: int) -> list[tuple[Sample, ...]]:
    samples = kept_samples(
        lambda stocks, seed: (len(stocks), seed),
        Supply(pool, real, share, seed=10),
        pattern="a_*.npz",
        stream=1,
        keep=2,
        uses=3,
        at_least=1,
        look_every=4,
    )
    return [tuple(kept) for kept, _ in islice(samples, turns)]


def test_each_sample_is_used_again_and_no_more_are_kept_than_asked(tmp_path: Path) -> None:
    painted(tmp_path, "a_1.npz")
    turns = drawn(tmp_path, [], 0.5, 1 + 3 + 3)
    assert turns[0] == ((1, 10),)
    assert turns[1:4] == [((1, 10), (1, 11))] * 3
    assert {len(kept) for kept in turns[4:]} == {2}
    assert len(set(turns[4:])) == 1
    assert drawn(tmp_path, [], 0.5, 7) == turns


def test_the_pool_may_grow_and_other_files_do_not_matter(tmp_path: Path) -> None:
    painted(tmp_path, "a_1.npz")
    painted(tmp_path, "b_1.npz")
    samples = kept_samples(
        lambda stocks, seed: len(stocks),
        Supply(tmp_path, [], 0.0, seed=0),
        pattern="a_*.npz",
        stream=1,
        keep=1,
        uses=1,
        look_every=2,
    )
    assert next(samples)[0] == [1]
    painted(tmp_path, "a_2.npz")
    seen = [count for kept, _ in islice(samples, 6) for count in kept]
    assert set(seen) == {1, 2}


def test_real_cts_make_their_share(tmp_path: Path) -> None:
    stock = read_stock(painted(tmp_path, "a_1.npz"))
    sizes = [kept[-1][0] for kept in drawn(tmp_path, [stock, stock, stock], 0.4, 300)]
    assert 0.25 < np.mean(np.array(sizes) == 3) < 0.55
    assert set(sizes) == {1, 3}
