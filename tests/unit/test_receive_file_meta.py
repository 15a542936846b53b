"""The head of our files, as pydicom sees it and as we read it back."""

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread

from dicomnode.domain.errors import InstanceUnreadable, InvalidUid
from dicomnode.receive.file_meta import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    FileMeta,
    read_file_head,
    write_file_head,
)
from dicomnode.testing.sender import encoded
from dicomnode.testing.studies import StudyIdentity, radiograph

UIDS = st.from_regex(r"[0-9]{1,6}(\.[0-9]{1,6}){0,8}", fullmatch=True)


def meta(uid: str = "1.2.3") -> FileMeta:
    return FileMeta(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
        sop_instance_uid=uid,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
    )


def test_pydicom_reads_head_and_data_set_as_one_file(tmp_path: Path) -> None:
    ds = radiograph(StudyIdentity(seed="head"))
    path = tmp_path / "1.dcm"
    path.write_bytes(write_file_head(meta(ds.SOPInstanceUID), sender_ae="MOD1") + encoded(ds))
    read = dcmread(path)
    assert read == ds
    assert read.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
    assert read.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert read.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert read.file_meta.ImplementationVersionName == IMPLEMENTATION_VERSION_NAME
    assert read.file_meta.SourceApplicationEntityTitle == "MOD1"
    assert read.file_meta.FileMetaInformationVersion == b"\x00\x01"


@given(UIDS, UIDS, UIDS, st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=16))
def test_what_is_written_is_read_back_and_the_data_set_comes_next(
    sop_class: str, instance: str, syntax: str, sender: str
) -> None:
    written = FileMeta(
        sop_class_uid=sop_class, sop_instance_uid=instance, transfer_syntax_uid=syntax
    )
    file = named(write_file_head(written, sender_ae=sender) + b"DATA")
    assert read_file_head(file) == written
    assert file.read() == b"DATA"


@given(st.integers(0, len(write_file_head(meta(), sender_ae="A")) - 1))
def test_a_cut_head_is_refused(length: int) -> None:
    with pytest.raises(InstanceUnreadable):
        read_file_head(named(write_file_head(meta(), sender_ae="A")[:length]))


@given(st.binary(max_size=400))
def test_a_foreign_file_is_refused_and_never_crashes(data: bytes) -> None:
    with pytest.raises((InstanceUnreadable, InvalidUid)):
        read_file_head(named(data))


def named(data: bytes) -> io.BufferedReader:
    class Named(io.BytesIO):
        name = "1.dcm"

    return Named(data)  # type: ignore[return-value]
