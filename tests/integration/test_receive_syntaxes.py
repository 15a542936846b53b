"""Every transfer syntax arrives byte for byte, from real files and by real senders."""

import os
import struct
import subprocess
import zlib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.filereader import read_file_meta_info
from pydicom.uid import CTImageStorage

from dicomnode.receive.contexts import TRANSFER_SYNTAXES
from dicomnode.testing.sender import RawSender, associated, encoded
from dicomnode.testing.studies import StudyIdentity, ct_series
from tests.integration.receiver_scenes import Node, running

STORESCU = Path("/usr/bin/storescu")
CT = str(CTImageStorage)
DATA = Path(os.environ.get("DICOMNODE_DATA", Path(__file__).parents[3] / "shared" / "data"))
SAMPLES = sorted((DATA / "dicom_syntaxes").glob("*.dcm"))
NO_SAMPLES = "no sample files: put them in the folder dicom_syntaxes below DICOMNODE_DATA"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with running(tmp_path / "data") as one:
        yield one


def syntax_of(sample: Path | None) -> str:
    return sample.stem.rpartition("_")[2] if sample else "none"


def data_set_of(path: Path) -> bytes:
    """Everything after the File Meta Information."""
    length = int(read_file_meta_info(path).FileMetaInformationGroupLength)
    return path.read_bytes()[132 + 12 + length :]


@pytest.mark.parametrize("sample", SAMPLES or [None], ids=syntax_of)
def test_a_real_file_of_each_syntax_is_kept_byte_for_byte(node: Node, sample: Path | None) -> None:
    if sample is None:
        pytest.skip(NO_SAMPLES)
    meta = read_file_meta_info(sample)
    sop_class, syntax = str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)
    data, uid = data_set_of(sample), str(meta.MediaStorageSOPInstanceUID)
    with associated(node.port, sop_class, syntax) as sender:
        assert sender.store(uid, data, sop_class=sop_class) == 0
    kept = node.index.instances[uid]
    assert kept.transfer_syntax_uid == syntax
    assert data_set_of(kept.path) == data
    assert kept.sha256 == sha256(data).hexdigest()
    assert kept.size_bytes == len(data)


@pytest.mark.parametrize("start", range(0, len(TRANSFER_SYNTAXES), 8))
def test_bytes_of_every_syntax_pass_unread(node: Node, start: int) -> None:
    syntaxes = TRANSFER_SYNTAXES[start : start + 8]
    with RawSender(node.port) as sender:
        sender.associate([(CT, [syntax]) for syntax in syntaxes])
        assert set(sender.accepted.values()) == {0}
        for number, context_id in enumerate(sender.accepted):
            data = os.urandom(1001 + number)
            status = sender.store(f"1.2.{number}", data, sop_class=CT, context_id=context_id)
            assert status == 0
            kept = node.index.instances[f"1.2.{number}"]
            assert kept.transfer_syntax_uid == syntaxes[number]
            assert data_set_of(kept.path) == data
        assert sender.release()


def test_big_endian_and_deflated_are_read_back_as_they_were_meant(node: Node) -> None:
    ds = ct_series(StudyIdentity(seed="syntaxes"))[0]
    big = ct_series(StudyIdentity(seed="syntaxes"))[0]
    big.PixelData = struct.pack(
        f">{len(ds.PixelData) // 2}H", *struct.unpack(f"<{len(ds.PixelData) // 2}H", ds.PixelData)
    )
    squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    forms = {
        "1.2.840.10008.1.2.2": encoded(big, little_endian=False),
        "1.2.840.10008.1.2.1.99": squeeze.compress(encoded(ds)) + squeeze.flush(),
        "1.2.840.10008.1.2": encoded(ds, implicit_vr=True),
    }
    for number, (syntax, data) in enumerate(forms.items()):
        with associated(node.port, CT, syntax) as sender:
            assert sender.store(f"1.2.{number}", data, sop_class=CT) == 0
        read = dcmread(node.index.instances[f"1.2.{number}"].path)
        assert read.file_meta.TransferSyntaxUID == syntax
        assert (read.pixel_array == ds.pixel_array).all()


def test_where_one_context_offers_several_the_choice_is_uncompressed(node: Node) -> None:
    with RawSender(node.port) as sender:
        answer = sender.associate(
            [(CT, ["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])]
        )
        assert b"1.2.840.10008.1.2.1" in answer
        assert b"1.2.840.10008.1.2.4.90" not in answer


@pytest.mark.parametrize(
    ("option", "sample"),
    [
        ("-xs", "1.2.840.10008.1.2.4.70"),
        ("-xy", "1.2.840.10008.1.2.4.50"),
        ("-xv", "1.2.840.10008.1.2.4.90"),
        ("-xt", "1.2.840.10008.1.2.4.80"),
        ("-xr", "1.2.840.10008.1.2.5"),
        ("-xd", "1.2.840.10008.1.2.1.99"),
        ("-xb", "1.2.840.10008.1.2.2"),
    ],
)
def test_dcmtk_sends_compressed_files_as_they_are(node: Node, option: str, sample: str) -> None:
    if not STORESCU.exists():
        pytest.skip(f"{STORESCU} (DCMTK) is not installed")
    files = [path for path in SAMPLES if syntax_of(path) == sample]
    if not files:
        pytest.skip(NO_SAMPLES)
    sent = subprocess.run(
        [STORESCU, option, "127.0.0.1", str(node.port), *files], check=False, capture_output=True
    )
    assert sent.returncode == 0, sent.stderr
    (kept,) = node.index.instances.values()
    assert kept.transfer_syntax_uid == sample
