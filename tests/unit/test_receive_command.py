"""C-STORE command sets against pydicom and against bytes that are none."""

from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.filereader import read_dataset
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from dicomnode.receive.command import StoreRequest, read_command, write_store_response
from dicomnode.receive.errors import ProtocolBroken
from dicomnode.testing.sender import store_command

CT = "1.2.840.10008.5.1.4.1.1.2"


def request(uid: str = "1.2.3") -> StoreRequest:
    return StoreRequest(message_id=7, sop_class_uid=CT, sop_instance_uid=uid, has_data_set=True)


def test_a_request_that_pynetdicom_encoded_is_read() -> None:
    primitive = C_STORE()
    primitive.MessageID = 513
    primitive.AffectedSOPClassUID = CT
    primitive.AffectedSOPInstanceUID = "1.2.34"
    primitive.Priority = 2
    primitive.DataSet = BytesIO(b"1")
    primitive.MoveOriginatorApplicationEntityTitle = "PACS"
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    encoded = encode(message.command_set, True, True)
    assert encoded is not None
    command = read_command(encoded)
    assert command.store_request == StoreRequest(
        message_id=513, sop_class_uid=CT, sop_instance_uid="1.2.34", has_data_set=True
    )


@given(
    message_id=st.integers(0, 65535),
    status=st.integers(0, 65535),
    uid=st.from_regex(r"[1-9][0-9]{0,4}(\.[1-9][0-9]{0,4}){0,8}", fullmatch=True),
    comment=st.text(
        st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="\\"), max_size=80
    ),
)
def test_pydicom_reads_the_response_as_it_was_meant(
    message_id: int, status: int, uid: str, comment: str
) -> None:
    asked = StoreRequest(
        message_id=message_id, sop_class_uid=CT, sop_instance_uid=uid, has_data_set=True
    )
    response = write_store_response(asked, status, comment)
    ds = read_dataset(BytesIO(response), is_implicit_VR=True, is_little_endian=True)
    assert ds.CommandGroupLength == len(response) - 12
    assert (ds.CommandField, ds.CommandDataSetType) == (0x8001, 0x0101)
    assert (ds.MessageIDBeingRespondedTo, ds.Status) == (message_id, status)
    assert (ds.AffectedSOPClassUID, ds.AffectedSOPInstanceUID) == (CT, uid)
    assert ds.get("ErrorComment", "") == comment[:64].rstrip()
    assert [element.tag for element in ds] == sorted(element.tag for element in ds)


def test_uids_that_are_none_are_not_repeated() -> None:
    response = write_store_response(request("../x"), 0x0117, with_uids=False)
    assert b".." not in response
    assert CT.encode() not in response


def test_a_response_to_a_uid_of_odd_length_stays_even() -> None:
    assert len(write_store_response(request("1.2.3"), 0)) % 2 == 0


def test_another_command_is_left_to_others() -> None:
    echo = store_command("1.2", CT).replace(
        b"\x02\x00\x00\x00\x01\x00", b"\x02\x00\x00\x00\x30\x00", 1
    )
    assert read_command(echo).store_request is None


def test_a_uid_beyond_ascii_reads_as_text_that_no_check_lets_through() -> None:
    command = store_command("1.2.3", CT).replace(b"1.2.3\0", b"1.2.\xe9\0")
    read = read_command(command).store_request
    assert read is not None
    assert read.sop_instance_uid == "1.2.\ufffd"


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_read_or_refused_but_never_crash(data: bytes) -> None:
    with suppress(ProtocolBroken):
        read_command(data)


@given(st.integers(0, len(store_command("1.2.3", CT)) - 1))
def test_a_truncated_command_set_names_no_instance(length: int) -> None:
    with suppress(ProtocolBroken):
        read = read_command(store_command("1.2.3", CT)[:length]).store_request
        # Cut off between two elements it is one without an instance UID, which no check passes.
        assert read is not None
        assert read.sop_instance_uid == ""


@pytest.mark.parametrize("number", [0x0100, 0x0110, 0x0800])
def test_a_missing_mandatory_element_is_refused(number: int) -> None:
    whole = store_command("1.2.3", CT)
    element = number.to_bytes(2, "little") + b"\x02\x00\x00\x00"
    at = whole.index(b"\x00\x00" + element)
    with pytest.raises(ProtocolBroken, match=f"0000,{number:04X}"):
        read_command(whole[:at] + whole[at + 10 :])
