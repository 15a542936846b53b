"""Files that are either whole or not there."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicomnode.domain.disk import disk_fault, is_disk_fault
from dicomnode.domain.errors import EncodeError
from dicomnode.encode.explicit import CHARACTER_SET, Unusual, explicit_bytes, meta_bytes

_PREAMBLE = bytes(128) + b"DICM"


def file_bytes(ds: Dataset) -> bytes:
    """`ds` as a PS3.10 file.

    Raises:
        EncodeError: a value cannot be written.
    """
    try:
        if _is_ours(ds):
            with suppress(Unusual):
                return _PREAMBLE + meta_bytes(ds.file_meta) + explicit_bytes(ds)
        buffer = BytesIO()
        ds.save_as(buffer, enforce_file_format=True)
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as exc:
        raise EncodeError(f"the object cannot be written: {type(exc).__name__}") from exc
    return buffer.getvalue()


def _is_ours(ds: Dataset) -> bool:
    """True if it is encoded as `explicit` writes; all else pydicom has to write."""
    syntax = ds.file_meta.TransferSyntaxUID
    return bool(
        syntax == ExplicitVRLittleEndian and ds.get("SpecificCharacterSet") == CHARACTER_SET
    )


@contextmanager
def staged(content: bytes, final: Path) -> Iterator[Path]:
    """Write and flush `content` beside `final` under another name; it becomes `final` at the end.

    If the block raises, nothing is left behind.

    Raises:
        DiskFault: the disk is full or failed.
        EncodeError: it cannot be written there at all.
    """
    temporary = final.with_name(f".{final.name}.part")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
        temporary.replace(final)
        _flush_folder(final.parent)
    except OSError as exc:
        if is_disk_fault(exc):
            raise disk_fault(exc, f"{final.name} cannot be written or read back") from exc
        raise EncodeError(f"{final.name} cannot be written: {exc.strerror}") from exc
    finally:
        temporary.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(content: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(content).hexdigest()
