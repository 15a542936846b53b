"""Group commit: shared, in order, and nobody waits for ever."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicomnode.domain.errors import StoreError, StoreUnavailable
from dicomnode.domain.identifiers import InstanceUid
from dicomnode.domain.instances import Landing, ReceivedInstance
from dicomnode.receive.commit import GroupCommit


def instance(number: int) -> ReceivedInstance:
    return ReceivedInstance(
        sop_instance_uid=InstanceUid(f"1.2.{number}"),
        sop_class_uid="1.2",
        transfer_syntax_uid="1.2",
        path=Path(f"/instances/a/{number}.dcm"),
        size_bytes=1,
        sha256="0" * 64,
        association_id="a",
        received_at=datetime(2024, 1, 1, tzinfo=UTC),
    )


class HeldIndex:
    """Keeps batches; the first waits until `release` is set."""

    def __init__(self, answer: Landing | Exception = Landing.KEPT) -> None:
        self.answer = answer
        self.entered = threading.Event()
        self.release = threading.Event()
        self.batches: list[list[str]] = []

    def keep(self, batch: Sequence[ReceivedInstance]) -> Sequence[Landing]:
        self.batches.append([one.sop_instance_uid for one in batch])
        self.entered.set()
        assert self.release.wait(20)
        if isinstance(self.answer, Exception):
            raise self.answer
        return [self.answer] * len(batch)


def wait_until_queued(commit: GroupCommit, count: int) -> None:
    while len(commit._queue) < count:
        threading.Event().wait(0.001)


def test_one_alone_commits_at_once_in_its_own_thread() -> None:
    threads: list[threading.Thread] = []

    def keep(batch: Sequence[ReceivedInstance]) -> Sequence[Landing]:
        threads.append(threading.current_thread())
        return [Landing.KEPT] * len(batch)

    assert GroupCommit(keep).keep(instance(1)) is Landing.KEPT
    assert threads == [threading.current_thread()]


def test_what_comes_during_a_commit_shares_the_next_one() -> None:
    index = HeldIndex()
    commit = GroupCommit(index.keep)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(commit.keep, instance(0))
        assert index.entered.wait(20)
        others = [pool.submit(commit.keep, instance(number)) for number in range(1, 8)]
        wait_until_queued(commit, 7)
        index.release.set()
        assert [done.result(20) for done in [first, *others]] == [Landing.KEPT] * 8
    assert [len(batch) for batch in index.batches] == [1, 7]


def test_each_waiter_gets_its_own_answer() -> None:
    def keep(batch: Sequence[ReceivedInstance]) -> Sequence[Landing]:
        return [
            Landing.CONFLICT if one.sop_instance_uid.endswith("3") else Landing.KEPT
            for one in batch
        ]

    commit = GroupCommit(keep)
    with ThreadPoolExecutor(8) as pool:
        landings = list(pool.map(lambda n: commit.keep(instance(n)), range(8)))
    assert landings == [Landing.CONFLICT if n == 3 else Landing.KEPT for n in range(8)]


def test_a_failed_commit_fails_everyone_in_it_and_nobody_after() -> None:
    index = HeldIndex(StoreUnavailable("locked"))
    commit = GroupCommit(index.keep)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(commit.keep, instance(0))
        assert index.entered.wait(20)
        second = pool.submit(commit.keep, instance(1))
        wait_until_queued(commit, 1)
        index.release.set()
        for failed in (first, second):
            with pytest.raises(StoreUnavailable):
                failed.result(20)
    index.answer = Landing.KEPT
    assert commit.keep(instance(2)) is Landing.KEPT


def test_an_error_of_another_kind_goes_up_and_leaves_no_follower_waiting() -> None:
    index = HeldIndex(ZeroDivisionError())
    commit = GroupCommit(index.keep)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(commit.keep, instance(0))
        assert index.entered.wait(20)
        index.answer = Landing.KEPT
        second = pool.submit(commit.keep, instance(1))
        wait_until_queued(commit, 1)
        index.answer = ZeroDivisionError()
        index.release.set()
        with pytest.raises(ZeroDivisionError):
            first.result(20)
        with pytest.raises(ZeroDivisionError):
            second.result(20)


def test_an_answer_of_the_wrong_length_is_no_success() -> None:
    commit = GroupCommit(lambda _batch: [])
    with pytest.raises((StoreError, ValueError)):
        commit.keep(instance(0))
