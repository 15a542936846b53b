"""What may be sent to us: storage SOP classes and transfer syntaxes."""

from collections.abc import Iterable, Sequence

from pydicom._uid_dict import UID_dictionary
from pynetdicom import AllStoragePresentationContexts
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

# Of the classes called storage these are no composite objects of a patient (PS3.4 B): commitment,
# media directories, and the objects of PS3.4 GG (hanging protocols, palettes, implants, protocols).
_NO_PATIENT_OBJECTS = frozenset(
    {
        "1.2.840.10008.1.3.10",
        "1.2.840.10008.1.20.1",
        "1.2.840.10008.1.20.2",
        "1.2.840.10008.5.1.4.1.1.200.1",
        "1.2.840.10008.5.1.4.1.1.200.3",
        "1.2.840.10008.5.1.4.1.1.200.7",
        "1.2.840.10008.5.1.4.1.1.201.1",
        "1.2.840.10008.5.1.4.38.1",
        "1.2.840.10008.5.1.4.39.1",
        "1.2.840.10008.5.1.4.43.1",
        "1.2.840.10008.5.1.4.44.1",
        "1.2.840.10008.5.1.4.45.1",
    }
)

_RETIRED_JPEG = tuple(
    f"1.2.840.10008.1.2.4.{number}" for number in (52, 53, 54, 55, 56, 58, *range(59, 67))
)

TRANSFER_SYNTAXES: tuple[str, ...] = (
    "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
    "1.2.840.10008.1.2",  # Implicit VR Little Endian
    "1.2.840.10008.1.2.1.98",  # Encapsulated Uncompressed
    "1.2.840.10008.1.2.5",  # RLE Lossless
    "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 Lossless Only
    "1.2.840.10008.1.2.4.201",  # HTJ2K Lossless Only
    "1.2.840.10008.1.2.4.202",  # HTJ2K Lossless RPCL
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless SV1
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless
    "1.2.840.10008.1.2.4.92",  # JPEG 2000 Part 2 Lossless Only
    "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
    "1.2.840.10008.1.2.2",  # Explicit VR Big Endian
    "1.2.840.10008.1.2.4.81",  # JPEG-LS Near-Lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.203",  # HTJ2K
    "1.2.840.10008.1.2.4.93",  # JPEG 2000 Part 2
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline
    "1.2.840.10008.1.2.4.51",  # JPEG Extended
    *_RETIRED_JPEG,
    "1.2.840.10008.1.2.4.100",  # MPEG2 Main Profile, Main Level
    "1.2.840.10008.1.2.4.100.1",
    "1.2.840.10008.1.2.4.101",  # MPEG2 Main Profile, High Level
    "1.2.840.10008.1.2.4.101.1",
    "1.2.840.10008.1.2.4.102",  # MPEG-4 AVC/H.264
    "1.2.840.10008.1.2.4.102.1",
    "1.2.840.10008.1.2.4.103",
    "1.2.840.10008.1.2.4.103.1",
    "1.2.840.10008.1.2.4.104",
    "1.2.840.10008.1.2.4.104.1",
    "1.2.840.10008.1.2.4.105",
    "1.2.840.10008.1.2.4.105.1",
    "1.2.840.10008.1.2.4.106",
    "1.2.840.10008.1.2.4.106.1",
    "1.2.840.10008.1.2.4.107",  # HEVC/H.265
    "1.2.840.10008.1.2.4.108",
)
"""In our order of preference, which decides where one context offers several: uncompressed, then
lossless, then lossy. JPIP is left out (its pixels lie elsewhere), JPEG XL too (nothing here decodes
it: refused, a sender falls back to a syntax that works)."""


def storage_sop_classes() -> tuple[str, ...]:
    """UIDs of every storage SOP class pydicom and pynetdicom know, retired ones too, sorted."""
    from_pydicom = {
        uid
        for uid, (name, kind, *_) in UID_dictionary.items()
        if kind == "SOP Class" and "Storage" in name
    }
    from_pynetdicom = {str(context.abstract_syntax) for context in AllStoragePresentationContexts}
    return tuple(sorted((from_pydicom | from_pynetdicom) - _NO_PATIENT_OBJECTS))


def supported_contexts(
    private_sop_classes: Iterable[str], extra: Sequence[PresentationContext] = ()
) -> list[PresentationContext]:
    """Verification, storage in every syntax, and what other rooms answer to (`extra`)."""
    extra_syntaxes = {context.abstract_syntax for context in extra}
    storage = {*storage_sop_classes(), *private_sop_classes} - extra_syntaxes
    return [
        build_context(Verification),
        *(build_context(uid, list(TRANSFER_SYNTAXES)) for uid in sorted(storage)),
        *extra,
    ]
