"""PDVs to messages, however they are cut."""

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.receive.command import StoreRequest
from dicomnode.receive.errors import ProtocolBroken
from dicomnode.receive.messages import MessageHandlers, MessageStream
from dicomnode.receive.status import SUCCESS, Status
from dicomnode.testing.sender import store_command

CT = "1.2.840.10008.5.1.4.1.1.2"
COMMAND, LAST = 0x01, 0x02


@dataclass
class Sink:
    """Remembers a data set."""

    received: bytes = b""
    is_finished: bool = False
    is_discarded: bool = False

    def write(self, chunk: memoryview) -> None:
        self.received += chunk

    def finish(self) -> Status:
        self.is_finished = True
        return SUCCESS

    def discard(self) -> None:
        self.is_discarded = True


@dataclass
class Scene:
    """A stream whose handlers write down what they are told."""

    sinks: list[Sink] = field(default_factory=list)
    answers: list[tuple[int, str]] = field(default_factory=list)
    forwarded: list[tuple[int, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stream = MessageStream(
            MessageHandlers(
                begin_store=self.begin,
                answer_store=lambda context, request, _status: self.answers.append(
                    (context, request.sop_instance_uid)
                ),
                forward=lambda context, fragment: self.forwarded.append((context, fragment)),
            )
        )

    def begin(self, _context: int, _request: StoreRequest) -> Sink:
        self.sinks.append(Sink())
        return self.sinks[-1]

    def feed(self, context: int, control: int, value: bytes, cuts: tuple[int, ...] = ()) -> None:
        edges = [0, *sorted(cut for cut in cuts if 0 < cut < len(value)), len(value)]
        for start, end in pairwise(edges):
            piece = memoryview(value)[start:end]
            self.stream.feed(context, control, piece, is_end=end == len(value))


CUTS = st.lists(st.integers(1, 120), max_size=5).map(tuple)


@given(command_cuts=CUTS, data_cuts=CUTS, fragments=st.lists(st.binary(min_size=1), min_size=1))
def test_a_data_set_arrives_whole_however_it_is_cut(
    command_cuts: tuple[int, ...], data_cuts: tuple[int, ...], fragments: list[bytes]
) -> None:
    scene = Scene()
    scene.feed(3, COMMAND | LAST, store_command("1.2.3", CT), command_cuts)
    for fragment in fragments[:-1]:
        scene.feed(3, 0, fragment, data_cuts)
    scene.feed(3, LAST, fragments[-1], data_cuts)
    assert scene.sinks[0].received == b"".join(fragments)
    assert scene.answers == [(3, "1.2.3")]
    assert scene.stream.is_idle


def test_a_command_in_several_fragments_is_one_command() -> None:
    scene, command = Scene(), store_command("1.2.3", CT)
    scene.feed(1, COMMAND, command[:30])
    scene.feed(1, COMMAND | LAST, command[30:])
    scene.feed(1, LAST, b"data")
    assert scene.answers == [(1, "1.2.3")]


def test_two_requests_follow_one_another() -> None:
    scene = Scene()
    for uid in ("1.2.3", "1.2.4"):
        scene.feed(1, COMMAND | LAST, store_command(uid, CT))
        scene.feed(1, LAST, uid.encode())
    assert [sink.received for sink in scene.sinks] == [b"1.2.3", b"1.2.4"]


def test_a_request_without_a_data_set_is_answered_at_once() -> None:
    scene = Scene()
    scene.feed(1, COMMAND | LAST, store_command("1.2.3", CT, data_set=False))
    assert scene.answers == [(1, "1.2.3")]
    assert scene.stream.is_idle


def test_another_message_is_forwarded_fragment_by_fragment() -> None:
    scene = Scene()
    event_report = store_command("1.2.3", CT).replace(b"\x01\x00", b"\x00\x01", 1)
    scene.feed(5, COMMAND | LAST, event_report)
    scene.feed(5, 0, b"da")
    scene.feed(5, LAST, b"ta")
    assert scene.forwarded == [(5, b"\x03" + event_report), (5, b"\x02data")]
    assert scene.stream.is_idle


def test_the_end_of_the_association_discards_what_is_unfinished() -> None:
    scene = Scene()
    scene.feed(1, COMMAND | LAST, store_command("1.2.3", CT))
    scene.feed(1, 0, b"half")
    scene.stream.discard()
    assert scene.sinks[0].is_discarded
    assert not scene.sinks[0].is_finished


@pytest.mark.parametrize(
    "fragments",
    [
        [(1, LAST, b"no command")],
        [(1, COMMAND | LAST, store_command("1.2", CT)), (1, COMMAND, b"again")],
        [(1, COMMAND | LAST, store_command("1.2", CT)), (3, LAST, b"elsewhere")],
        [(1, COMMAND | LAST, b"no command set")],
        [(1, COMMAND, bytes(70_000))],
    ],
    ids=["data-first", "command-in-data", "other-context", "nonsense", "endless-command"],
)
def test_fragments_out_of_order_break_the_association(
    fragments: list[tuple[int, int, bytes]],
) -> None:
    scene = Scene()
    *harmless, last = fragments
    for fragment in harmless:
        scene.feed(*fragment)
    with pytest.raises(ProtocolBroken):
        scene.feed(*last)
    assert scene.answers == []


def test_other_messages_cannot_fill_the_memory() -> None:
    scene = Scene()
    scene.feed(1, COMMAND | LAST, store_command("1.2", CT).replace(b"\x01\x00", b"\x00\x01", 1))
    for _ in range(16):
        scene.feed(1, 0, bytes(1 << 20))
    with pytest.raises(ProtocolBroken, match="too long"):
        scene.feed(1, 0, b"1")
