"""Decoders that are installed apart."""

from importlib.util import find_spec

from pydicom.uid import JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1

_JPEG = frozenset({JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1})


def missing_decoder(transfer_syntax_uid: str) -> str:
    """What to install to decode a transfer syntax, in words; empty if all of ours is there."""
    if transfer_syntax_uid in _JPEG and find_spec("libjpeg") is None:
        return "a decoder for it is installed by: pip install 'dicomnode[jpeg]' (GPL v3)"
    return ""
