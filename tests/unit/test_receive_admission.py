"""Who is let in, and what the others are told."""

import pytest

from dicomnode.receive.admission import (
    CALLED_AE_UNKNOWN,
    CALLING_AE_UNKNOWN,
    LIMIT_EXCEEDED,
    SHUTTING_DOWN,
    Applicant,
    Rejection,
    admit,
)
from dicomnode.settings import AllowedPeer, ReceiveSettings

LISTED = ReceiveSettings(
    host="0.0.0.0",
    allow=(
        AllowedPeer(calling_ae="CT1", address="10.1.0.0/16"),
        AllowedPeer(calling_ae="PACS", called_ae="RESEARCH", address="10.2.0.9"),
    ),
    max_associations=3,
)


def ask(
    calling: str,
    address: str,
    called: str = "DICOMNODE",
    *,
    settings: ReceiveSettings = LISTED,
    inside: int = 0,
    draining: bool = False,
) -> Rejection | None:
    return admit(
        settings,
        Applicant(calling_ae=calling, called_ae=called, address=address),
        own_ae="DICOMNODE",
        open_associations=inside,
        is_draining=draining,
    )


def test_a_listed_sender_from_its_network_is_admitted() -> None:
    assert ask("CT1", "10.1.4.5") is None


def test_a_listed_name_from_elsewhere_is_not_recognised() -> None:
    assert ask("CT1", "10.9.4.5") is CALLING_AE_UNKNOWN


def test_an_unlisted_name_is_not_recognised() -> None:
    assert ask("CT2", "10.1.4.5") is CALLING_AE_UNKNOWN


def test_names_are_compared_to_the_letter() -> None:
    assert ask("ct1", "10.1.4.5") is CALLING_AE_UNKNOWN


def test_a_listed_sender_that_calls_another_name_is_told_so() -> None:
    assert ask("CT1", "10.1.4.5", "OTHER") is CALLED_AE_UNKNOWN


def test_a_sender_may_be_listed_for_another_called_name() -> None:
    assert ask("PACS", "10.2.0.9", "RESEARCH") is None
    assert ask("PACS", "10.2.0.9", "DICOMNODE") is CALLED_AE_UNKNOWN


def test_without_a_list_everyone_on_this_machine_is_admitted_by_any_name() -> None:
    assert ask("ANY", "127.0.0.1", "THING", settings=ReceiveSettings()) is None


@pytest.mark.parametrize(("inside", "answer"), [(2, None), (3, LIMIT_EXCEEDED)])
def test_the_limit_counts_the_others(inside: int, answer: Rejection | None) -> None:
    assert ask("CT1", "10.1.4.5", inside=inside) is answer


def test_the_limit_is_transient_and_a_stranger_is_permanent() -> None:
    assert (LIMIT_EXCEEDED.result, LIMIT_EXCEEDED.source, LIMIT_EXCEEDED.reason) == (2, 3, 2)
    assert (CALLING_AE_UNKNOWN.result, CALLING_AE_UNKNOWN.source) == (1, 1)


def test_a_stranger_learns_nothing_of_the_load() -> None:
    assert ask("CT2", "10.1.4.5", inside=99, draining=True) is CALLING_AE_UNKNOWN


def test_while_shutting_down_senders_are_asked_to_come_again() -> None:
    assert ask("CT1", "10.1.4.5", draining=True) is SHUTTING_DOWN
