"""Headers are read from any bytes: quickly, within bounds, and refused with a reason."""

import struct
import tracemalloc
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from dicomnode.assembly.facts import facts_by_series, facts_of, merged
from dicomnode.assembly.headers import read_header
from dicomnode.domain.errors import InstanceUnreadable
from dicomnode.testing.studies import StudyIdentity, ct_series, radiograph

IDENTITY = StudyIdentity(seed="headers")


def ct_slice() -> Dataset:
    return ct_series(IDENTITY)[0]


def written(ds: Dataset, path: Path, syntax: UID = ExplicitVRLittleEndian) -> Path:
    ds.file_meta.TransferSyntaxUID = syntax
    dcmwrite(
        path,
        ds,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
        enforce_file_format=True,
    )
    return path


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
        return head + struct.pack("<HL", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def part10(data_set: bytes, syntax: str = ExplicitVRLittleEndian) -> bytes:
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    return bytes(128) + b"DICM" + element(0x00020010, b"UI", uid) + data_set


def identified(*more: bytes) -> bytes:
    """The least data set that can be read, then `more`."""
    return b"".join(
        [
            element(0x00080018, b"UI", b"1.2.3\0"),
            element(0x0020000D, b"UI", b"1.2\0"),
            element(0x0020000E, b"UI", b"1.2.4\0"),
            *more,
        ]
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "image.dcm"


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    ],
)
def test_every_encoding_gives_the_same_header(syntax: UID, file: Path) -> None:
    ds = ct_slice()
    if syntax == ExplicitVRBigEndian:
        ds.PixelData = ds.PixelData[::-1]
    header = read_header(written(ds, file, syntax))

    assert header.study_uid == IDENTITY.study_uid
    assert header.sop_instance_uid == ds.SOPInstanceUID
    assert header.series_uid == ds.SeriesInstanceUID
    assert (header.modality, header.frames) == ("CT", 1)
    assert header.study_values["PatientAge"] == ("074Y",)
    assert header.study_values["ReferringPhysicianName"] == ()
    assert header.series_values["ImageType"] == ("ORIGINAL", "PRIMARY", "AXIAL")
    assert header.series_values["Rows"] == ("64",)
    assert header.series_values["SliceThickness"] == ("3.0",)
    assert "PixelData" not in header.series_values
    assert "StationName" not in header.series_values


def test_study_and_series_values_are_kept_apart(file: Path) -> None:
    header = read_header(written(radiograph(IDENTITY), file))

    assert not header.study_values.keys() & header.series_values.keys()
    assert {"PatientID", "StudyDescription", "AccessionNumber"} <= header.study_values.keys()
    assert {"Modality", "ViewPosition", "BodyPartExamined"} <= header.series_values.keys()


@pytest.mark.parametrize(
    ("terms", "raw", "text"),
    [
        (b"ISO_IR 100", "Müller".encode("latin-1"), "Müller"),
        (b"ISO_IR 192", "Łódź 東京".encode(), "Łódź 東京"),
        (b"GB18030", "王小东".encode("gb18030"), "王小东"),
        (b"GBK", "俓".encode("gbk"), "俓"),
        (b"\\ISO 2022 IR 87", b"\x1b$B;3ED\x1b(B", "山田"),
        (b"", b"plain", "plain"),
        (b"ISO_IR 999", b"plain", "plain"),
        (b"ISO_IR 192", b"\xff\xfe!", "��!"),
    ],
)
def test_text_is_decoded_by_its_character_set(
    terms: bytes, raw: bytes, text: str, file: Path
) -> None:
    charset = element(0x00080005, b"CS", terms + b" " * (len(terms) % 2))
    description = element(0x0008103E, b"LO", raw + b" " * (len(raw) % 2))
    uids = identified()
    file.write_bytes(part10(charset + description + uids))

    assert read_header(file).series_values["SeriesDescription"] == (text,)


def test_odd_values_are_kept_as_they_are_and_nothing_raises(file: Path) -> None:
    file.write_bytes(
        part10(
            identified(
                element(0x00180050, b"DS", b"abc "),
                element(0x00280010, b"US", b"\x01\x02\x03"),
                element(0x00280011, b"US", b""),
                element(0x00280008, b"IS", b"-1"),
                element(0x00080008, b"CS", b"A\\\\C "),
                element(0x00185100, b"CS", b"\0\0"),
            )
        )
    )

    header = read_header(file)

    assert header.series_values["SliceThickness"] == ("abc",)
    assert header.series_values["Rows"] == ("513",)
    assert header.series_values["Columns"] == ()
    assert header.series_values["ImageType"] == ("A", "", "C")
    assert header.series_values["PatientPosition"] == ()
    assert header.frames == 1


def test_long_binary_private_and_nested_values_are_left_out(file: Path) -> None:
    ds = ct_slice()
    ds.ImageComments = "x" * 1025
    ds.PatientComments = "y" * 1024
    ds.private_block(0x0009, "SOME ONE", create=True).add_new(1, "LO", "secret")
    nested = Dataset()
    nested.StationName = "NESTED"
    ds.ReferencedImageSequence = Sequence([nested])
    ds["ReferencedImageSequence"].is_undefined_length = True
    nested.is_undefined_length_sequence_item = True

    header = read_header(written(ds, file))

    assert header.study_values["PatientComments"] == ("y" * 1024,)
    absent = {"ImageComments", "ReferencedImageSequence", "StationName", "PixelData"}
    assert not absent & header.series_values.keys()
    assert "secret" not in str(header)


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_enhanced_images_tell_their_shared_geometry(
    syntax: UID, undefined: bool, file: Path
) -> None:
    measures, plane, shared, per_frame = Dataset(), Dataset(), Dataset(), Dataset()
    measures.SliceThickness, measures.PixelSpacing = "1.5", ["0.7", "0.7"]
    plane.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([plane])
    per_frame.PixelMeasuresSequence = Sequence([Dataset()])
    ds = ct_slice()
    for keyword in ("SliceThickness", "PixelSpacing", "ImageOrientationPatient"):
        delattr(ds, keyword)
    ds.NumberOfFrames = 300
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    ds.PerFrameFunctionalGroupsSequence = Sequence([per_frame] * 300)
    for item in (measures, plane, shared):
        item.is_undefined_length_sequence_item = undefined
    for sequence in (
        ds["SharedFunctionalGroupsSequence"],
        shared["PixelMeasuresSequence"],
        shared["PlaneOrientationSequence"],
    ):
        sequence.is_undefined_length = undefined

    header = read_header(written(ds, file, syntax))

    assert header.frames == 300
    assert header.series_values["SliceThickness"] == ("1.5",)
    assert header.series_values["PixelSpacing"] == ("0.7", "0.7")
    assert header.series_values["ImageOrientationPatient"][4] == "1"
    assert "Rows" in header.series_values


def test_un_of_undefined_length_is_implicit_inside(file: Path) -> None:
    inner = struct.pack("<HHL", 0x0008, 0x1010, 4) + b"ABCD"
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF) + inner
    item += struct.pack("<HHL", 0xFFFE, 0xE00D, 0) + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    unknown = struct.pack("<HH2sHL", 0x0021, 0x1001, b"UN", 0, 0xFFFFFFFF) + item
    file.write_bytes(part10(identified(unknown, element(0x00280010, b"US", b"\x02\0"))))

    header = read_header(file)

    assert header.series_values["Rows"] == ("2",)
    assert "StationName" not in header.series_values


def encapsulated(*fragments: bytes, end: bool = True) -> bytes:
    pixels = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    for fragment in fragments:
        pixels += struct.pack("<HHL", 0xFFFE, 0xE000, len(fragment)) + fragment
    return pixels + (struct.pack("<HHL", 0xFFFE, 0xE0DD, 0) if end else b"")


@pytest.mark.parametrize("pixels", [encapsulated(b"", b"1234"), encapsulated(b"12", end=False)])
def test_whole_encapsulated_pixels_are_passed_over(pixels: bytes, file: Path) -> None:
    file.write_bytes(part10(identified(pixels), JPEG2000Lossless))

    assert read_header(file).study_uid == "1.2"


@pytest.mark.parametrize(
    "content",
    [
        part10(identified(encapsulated(b"", b"1234")[:-10]), JPEG2000Lossless),
        part10(identified(element(0x7FE00010, b"OW", b"1234"))[:-1]),
        part10(identified(element(0x00081010, b"SH", b"1234"))[:-1]),
        part10(identified(struct.pack("<HH2sHL", 0x0008, 0x2111, b"UT", 0, 0xFFFFFFF0))),
        part10(identified(b"\x08\x00\x70")),
    ],
)
def test_a_file_that_ends_early_is_refused(content: bytes, file: Path) -> None:
    file.write_bytes(content)

    with pytest.raises(InstanceUnreadable, match="ends before its data set does"):
        read_header(file)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it has only 0 bytes"),
        (b"PK" * 500, "no DICM mark"),
        (bytes(128) + b"DICM", "no data set"),
        (bytes(128) + b"DICM" + identified(), "TransferSyntaxUID .* is missing"),
        (part10(element(0x00080018, b"UI", b"1.2\0")), r"StudyInstanceUID .* is missing"),
        (part10(identified().replace(b"1.2.4\0", b"../../")), "SeriesInstanceUID .* is not a UID"),
        (part10(identified().replace(b"1.2.4\0", b"      ")), "SeriesInstanceUID .* is missing"),
        (part10(b"\xff\xff" * 9, DeflatedExplicitVRLittleEndian), "deflated data set is damaged"),
    ],
)
def test_an_unreadable_file_is_refused_with_its_reason(
    content: bytes, reason: str, file: Path
) -> None:
    file.write_bytes(content)

    with pytest.raises(InstanceUnreadable, match=reason):
        read_header(file)


def test_a_reason_never_repeats_what_the_header_says(file: Path) -> None:
    ds = ct_slice()
    raw = written(ds, file).read_bytes()
    name_as_uid = raw.replace(
        IDENTITY.study_uid.encode(), b"DOE^JANE".ljust(len(IDENTITY.study_uid), b"1")
    )
    file.write_bytes(name_as_uid)

    with pytest.raises(InstanceUnreadable) as caught:
        read_header(file)

    assert "DOE" not in f"{caught.value}"


def test_a_missing_file_is_refused_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(InstanceUnreadable, match=r"^the file cannot be opened: No such file"):
        read_header(tmp_path / "DOE_JANE.dcm")


def peak_bytes(path: Path) -> int:
    tracemalloc.start()
    try:
        read_header(path)
    except InstanceUnreadable:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return peak


def test_memory_is_bounded_whatever_the_file_holds(file: Path) -> None:
    huge = 200 * 1024 * 1024
    long_item = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    long_item += struct.pack("<HHL", 0xFFFE, 0xE000, huge - 4096)
    pixels = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, huge - 4096)
    lying = struct.pack("<HH2sHL", 0x0009, 0x1010, b"OB", 0, 0xFFFFFFFE)
    bomb = zlib.compressobj(wbits=-15)
    nested = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) * 1000
    deflated = bomb.compress(identified(lying) + bytes(huge)) + bomb.flush()
    contents = [
        part10(identified(long_item)),
        part10(identified(pixels)),
        part10(identified(lying)),
        part10(identified(nested)),
        part10(deflated, DeflatedExplicitVRLittleEndian),
    ]
    read_header(written(ct_slice(), file))

    for content in contents:
        with file.open("wb") as out:
            out.write(content)
            out.truncate(huge)
        assert peak_bytes(file) < 2 * 1024 * 1024


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50
)
@given(st.data())
def test_any_damage_is_read_or_refused_and_nothing_else(file: Path, data: st.DataObject) -> None:
    raw = bytearray(written(ct_slice(), file).read_bytes()[:1800])
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(132, len(raw) - 1))
        raw[place] = data.draw(st.integers(0, 255))
    file.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])

    try:
        header = read_header(file)
    except InstanceUnreadable:
        return
    assert header.study_uid


def test_series_are_counted_and_described_by_their_first_instance(tmp_path: Path) -> None:
    first = ct_series(IDENTITY)[:3]
    second = ct_series(IDENTITY, series="2", description="Lung")[:2]
    first[1].SeriesDescription = "changed"
    headers = [
        read_header(written(ds, tmp_path / f"{index}.dcm"))
        for index, ds in enumerate([*first, *second])
    ]

    by_series = facts_by_series([*headers, headers[0]])

    assert [facts.instance_count for facts in by_series.values()] == [3, 2]
    facts = by_series[headers[0].series_uid]
    assert facts.values["SeriesDescription"] == ("Chest 3 mm",)
    assert facts.values["PatientID"] == ("PHANTOM-1",)
    assert facts == merged(merged(facts_of(headers[0]), facts_of(headers[1])), facts_of(headers[2]))


@pytest.mark.parametrize("views", [("PA", "LL"), ("LL", "PA")])
def test_every_view_of_a_series_is_known_whichever_came_first(
    views: tuple[str, str], tmp_path: Path
) -> None:
    headers = []
    for number, view in enumerate(views):
        ds = radiograph(IDENTITY, view=view)
        ds.SOPInstanceUID = f"1.2.{number}"
        headers.append(read_header(written(ds, tmp_path / f"{number}.dcm")))

    (facts,) = facts_by_series(headers).values()

    assert facts.values["ViewPosition"] == views
