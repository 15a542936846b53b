"""Retrieving from the node by DICOMweb: files, headers, frames, pictures."""

import io
from collections.abc import Iterator
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from dicomnode.domain.identifiers import derived_uid
from dicomnode.testing.multiframe import enhanced
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series, radiograph
from tests.integration.dicomweb_scenes import Archive, Service, app_over, serving

SYNTAXES = Path(__file__).parents[3] / "shared" / "data" / "dicom_syntaxes"
IDENTITY = StudyIdentity(seed="retrieve")
GEOMETRY = SeriesGeometry(rows=9, columns=7, slices=5)
OCTETS = "multipart/related; type=application/octet-stream"
AS_STORED = f"{OCTETS}; transfer-syntax=*"


def renamed(ds: Dataset, name: str) -> Dataset:
    """Another instance, in a series of its own."""
    ds.SOPInstanceUID = derived_uid("retrieve", name)
    ds.SeriesInstanceUID = derived_uid("retrieve", name, "series")
    ds.SeriesDescription = name
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    return ds


def color() -> Dataset:
    """Two frames of random RGB."""
    ds = renamed(radiograph(IDENTITY), "color")
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    ds.NumberOfFrames, ds.SamplesPerPixel, ds.PlanarConfiguration = 2, 3, 0
    ds.PhotometricInterpretation, ds.Rows, ds.Columns = "RGB", 6, 5
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    ds.PixelData = np.random.default_rng(1).bytes(2 * 6 * 5 * 3)
    return ds


def palette() -> Dataset:
    """Four rows of palette indices: red, green, blue, white."""
    ds = renamed(radiograph(IDENTITY), "palette")
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    ds.PhotometricInterpretation, ds.Rows, ds.Columns = "PALETTE COLOR", 4, 4
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    ds.PixelData = np.repeat(np.arange(4, dtype=np.uint8), 4).tobytes()
    tables = {"Red": [1, 0, 0, 1], "Green": [0, 1, 0, 1], "Blue": [0, 0, 1, 1]}
    for name, values in tables.items():
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [4, 0, 16])
        table = np.array(values, dtype="<u2") * 65535
        setattr(ds, f"{name}PaletteColorLookupTableData", table.tobytes())
    return ds


def single_bits() -> Dataset:
    """Three frames of 35 single bits each, so that frames begin inside bytes."""
    ds = renamed(enhanced(ct_series(IDENTITY, GEOMETRY)), "bits")
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = SegmentationStorage
    ds.Modality, ds.NumberOfFrames, ds.Rows, ds.Columns = "SEG", 3, 7, 5
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 1, 1, 0
    bits = np.random.default_rng(2).integers(0, 2, 3 * 35)
    packed = np.packbits(bits.astype(np.uint8), bitorder="little").tobytes()
    ds.PixelData = packed + bytes(len(packed) % 2)
    return ds


def compressed(name: str, *, table: bool) -> Dataset:
    """Five frames in RLE, with or without a basic offset table."""
    ds = renamed(enhanced(ct_series(IDENTITY, GEOMETRY)), name)
    ds.compress(RLELossless, generate_instance_uid=False)
    if not table:
        ds.PixelData = bytes.fromhex("feff00e000000000") + ds.PixelData[8 + 4 * 5 :]
    return ds


def with_overlay() -> Dataset:
    """An image whose header holds 2,000 bytes of overlay, and a table inside a sequence."""
    ds = renamed(radiograph(IDENTITY), "overlay")
    ds.add_new(0x60003000, "OW", bytes(range(250)) * 8)
    item = Dataset()
    item.add_new(0x00283006, "OW", bytes(range(250)) * 6)
    ds.add_new(0x00283010, "SQ", [item])
    return ds


OBJECTS: dict[str, Dataset] = {
    "classic": renamed(ct_series(IDENTITY, GEOMETRY)[0], "classic"),
    "enhanced": renamed(enhanced(ct_series(IDENTITY, GEOMETRY)), "enhanced"),
    "color": color(),
    "palette": palette(),
    "bits": single_bits(),
    "rle": compressed("rle", table=True),
    "rle without table": compressed("rle without table", table=False),
    "overlay": with_overlay(),
    "inverse": renamed(radiograph(IDENTITY, photometric="MONOCHROME1"), "inverse"),
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    archive = Archive.below(tmp_path_factory.mktemp("node"))
    archive.receive(OBJECTS.values())
    return archive


@pytest.fixture(scope="module")
def service(archive: Archive) -> Iterator[Service]:
    with serving(app_over(archive.database)) as running:
        yield running


def path_of(ds: Dataset) -> str:
    return (
        f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}"
        f"/instances/{ds.SOPInstanceUID}"
    )


def get(service: Service, path: str, accept: str) -> httpx.Response:
    answer = service.http.get(path, headers={"Accept": accept})
    assert answer.status_code == 200, answer.text
    return answer


def parts(answer: httpx.Response) -> list[tuple[str, bytes]]:
    """(Content-Type, bytes) of each part."""
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + answer.content)
    boundary = message.get_boundary("").encode()
    pieces = answer.content.split(b"--" + boundary)[1:-1]
    found = []
    for piece in pieces:
        headers, _, body = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        found.append((headers.split(b"\r\n")[0].decode(), body.removesuffix(b"\r\n")))
    return found


def test_every_object_comes_back_byte_for_byte(service: Service, archive: Archive) -> None:
    for ds in OBJECTS.values():
        answer = get(service, path_of(ds), "application/dicom; transfer-syntax=*")
        stored = sorted(archive.database.path_root.glob("instances/**/*.dcm"))
        assert answer.content in [path.read_bytes() for path in stored]


def test_a_study_is_retrieved_whole_by_a_client(service: Service) -> None:
    found = service.client.retrieve_study(IDENTITY.study_uid)
    assert {one.SOPInstanceUID for one in found} == {one.SOPInstanceUID for one in OBJECTS.values()}


@pytest.mark.parametrize("name", ["enhanced", "color", "bits", "rle", "rle without table"])
def test_frames_are_those_of_the_image(service: Service, name: str) -> None:
    ds = OBJECTS[name]
    expected = ds.pixel_array
    wanted = list(range(1, int(ds.NumberOfFrames) + 1))[1:]
    numbers = ",".join(map(str, wanted))
    for accept in (OCTETS, "*/*"):
        found = parts(get(service, f"{path_of(ds)}/frames/{numbers}", accept))
        assert len(found) == len(wanted)
        for number, (content_type, content) in zip(wanted, found, strict=True):
            assert content_type.endswith(f"transfer-syntax={ExplicitVRLittleEndian}")
            frame = expected[number - 1]
            if name == "bits":
                assert content == np.packbits(frame.reshape(-1), bitorder="little").tobytes()
            else:
                assert content == frame.tobytes()


def test_a_client_reads_frames(service: Service) -> None:
    ds = OBJECTS["enhanced"]
    uids = (ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID)
    frames = service.client.retrieve_instance_frames(*uids, frame_numbers=[5, 1])
    assert frames == [ds.pixel_array[4].tobytes(), ds.pixel_array[0].tobytes()]


def test_compressed_frames_come_as_stored_to_those_who_take_them(service: Service) -> None:
    ds = OBJECTS["rle"]
    ((octets, stored),) = parts(get(service, f"{path_of(ds)}/frames/3", AS_STORED))
    rle = f"multipart/related; type=image/dicom-rle; transfer-syntax={RLELossless}"
    ((image, again),) = parts(get(service, f"{path_of(ds)}/frames/3", rle))
    assert octets == f"Content-Type: application/octet-stream; transfer-syntax={RLELossless}"
    assert image == f"Content-Type: image/dicom-rle; transfer-syntax={RLELossless}"
    assert stored == again != b""
    assert stored in ds.PixelData


def test_one_frame_needs_no_multipart(service: Service) -> None:
    ds = OBJECTS["enhanced"]
    answer = get(service, f"{path_of(ds)}/frames/2", "application/octet-stream")
    assert answer.content == ds.pixel_array[1].tobytes()


@pytest.mark.parametrize("frames", ["0", "6", "1,6", "a", "-1", "1,,2", "99999999999"])
def test_frames_that_are_not_there_are_not_found(service: Service, frames: str) -> None:
    answer = service.http.get(f"{path_of(OBJECTS['enhanced'])}/frames/{frames}")
    assert answer.status_code == 404


def test_a_form_that_is_not_offered_is_refused(service: Service) -> None:
    path = path_of(OBJECTS["classic"])
    jpeg = f"multipart/related; type=image/jp2; transfer-syntax={JPEG2000Lossless}"
    assert service.http.get(f"{path}/frames/1", headers={"Accept": jpeg}).status_code == 406
    other = f"application/dicom; transfer-syntax={JPEG2000Lossless}"
    assert service.http.get(path, headers={"Accept": other}).status_code == 406
    assert service.http.get(path, headers={"Accept": "text/html"}).status_code == 406


def test_metadata_hold_the_header_and_no_pixels(service: Service) -> None:
    for ds in OBJECTS.values():
        (found,) = get(service, f"{path_of(ds)}/metadata", "application/dicom+json").json()
        expected = ds.to_json_dict(bulk_data_threshold=1024, bulk_data_element_handler=lambda _: "")
        for tag in expected.keys() - {"7FE00010", "00080005", "60003000", "00283010"}:
            if expected[tag].get("Value") or expected[tag].get("InlineBinary"):
                assert found[tag] == expected[tag], tag
            else:
                assert found[tag] == {"vr": expected[tag]["vr"]}, tag
        assert found["7FE00010"]["BulkDataURI"].startswith(f"{service.url}/studies/")
        assert "InlineBinary" not in found["7FE00010"]


def test_bulk_data_are_fetched_by_their_address(service: Service) -> None:
    ds = OBJECTS["overlay"]
    (found,) = get(service, f"{path_of(ds)}/metadata", "application/json").json()
    overlay = found["60003000"]["BulkDataURI"]
    inner = found["00283010"]["Value"][0]["00283006"]["BulkDataURI"]
    assert inner.endswith("/bulkdata/00283010/0/00283006")
    ((_, content),) = parts(get(service, overlay, OCTETS))
    assert content == ds[0x60003000].value
    assert get(service, inner, "application/octet-stream").content == bytes(range(250)) * 6
    (pixels,) = service.client.retrieve_bulkdata(found["7FE00010"]["BulkDataURI"])
    assert pixels == ds.PixelData
    assert service.http.get(f"{path_of(ds)}/bulkdata/00100010").status_code == 404
    assert service.http.get(f"{path_of(ds)}/bulkdata/../../x").status_code in (400, 404)


def test_pixel_data_in_fragments_come_frame_by_frame(service: Service) -> None:
    ds = OBJECTS["rle"]
    found = parts(get(service, f"{path_of(ds)}/bulkdata/7FE00010", OCTETS))
    assert [content for _, content in found] == [frame.tobytes() for frame in ds.pixel_array]


def test_metadata_of_a_study_come_in_one_answer(service: Service) -> None:
    found = service.client.retrieve_study_metadata(IDENTITY.study_uid)
    assert len(found) == len(OBJECTS)


def test_what_is_already_known_is_not_sent_again(service: Service) -> None:
    path = path_of(OBJECTS["classic"])
    for resource in ("", "/metadata", "/frames/1", "/rendered", "/bulkdata/7FE00010"):
        first = service.http.get(path + resource)
        assert first.headers["cache-control"] == "private, no-cache"
        known = {"If-None-Match": first.headers["etag"]}
        again = service.http.get(path + resource, headers=known)
        assert (again.status_code, again.content) == (304, b"")
    other = service.http.get(f"{path}/rendered?window=0,100").headers["etag"]
    assert other != service.http.get(f"{path}/rendered").headers["etag"]


def picture(service: Service, path: str, accept: str = "image/png") -> Any:
    answer = get(service, path, accept)
    assert answer.headers["content-type"] == accept
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def test_a_grey_image_is_shown_by_the_window_of_its_header(service: Service) -> None:
    ds = OBJECTS["classic"]
    shown = picture(service, f"{path_of(ds)}/rendered")
    hounsfield = ds.pixel_array.astype(float) - 1024
    expected = np.clip((hounsfield - 39.5) / 399 + 0.5, 0, 1) * 255
    assert np.abs(shown - expected).max() <= 0.51
    other = picture(service, f"{path_of(ds)}/rendered?window=-850,2,linear-exact")
    assert set(np.unique(other)) <= {0, 128, 255}
    assert (other == 255).sum() == (hounsfield > -850).sum()


def test_monochrome1_is_inverted(service: Service) -> None:
    shown = picture(service, f"{path_of(OBJECTS['inverse'])}/rendered")
    assert shown[0, 0] > shown[-1, -1]


def test_colors_and_palettes_are_shown_as_they_are(service: Service) -> None:
    ds = OBJECTS["color"]
    assert (picture(service, f"{path_of(ds)}/frames/2/rendered") == ds.pixel_array[1]).all()
    shown = picture(service, f"{path_of(OBJECTS['palette'])}/rendered")
    assert shown[:, 0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]


def test_single_bits_are_black_and_white(service: Service) -> None:
    ds = OBJECTS["bits"]
    shown = picture(service, f"{path_of(ds)}/frames/2/rendered")
    assert (shown == ds.pixel_array[1] * 255).all()


def test_pictures_fit_the_viewport_and_thumbnails_are_small(service: Service) -> None:
    path = path_of(OBJECTS["inverse"])
    assert picture(service, f"{path}/rendered?viewport=100,100").shape == (100, 80)
    assert max(picture(service, f"{path}/thumbnail").shape) == 128
    assert get(service, f"{path}/rendered?quality=50", "image/jpeg").content[:2] == b"\xff\xd8"
    series = path.rsplit("/", 2)[0]
    assert max(picture(service, f"{series}/thumbnail").shape) == 128
    assert picture(service, f"/studies/{IDENTITY.study_uid}/rendered").size
    for query in ("viewport=0,9", "viewport=1,2,3", "window=1", "window=1,0", "quality=0"):
        assert service.http.get(f"{path}/rendered?{query}").status_code == 400


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_other_encodings_become_explicit_little_endian(tmp_path: Path, syntax: Any) -> None:
    ds = renamed(enhanced(ct_series(IDENTITY, GEOMETRY)), f"as {syntax.name}")
    expected = ds.pixel_array
    ds.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        ds.PixelData = expected.astype(">u2").tobytes()
    archive = Archive.below(tmp_path)
    archive.receive([ds])
    with serving(app_over(archive.database)) as service:
        whole = get(service, path_of(ds), f"application/dicom; transfer-syntax={_LITTLE}")
        ((_, frame),) = parts(get(service, f"{path_of(ds)}/frames/2", OCTETS))
        again = dcmread(io.BytesIO(whole.content))
    assert again.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert (again.pixel_array == expected).all()
    assert frame == expected[1].tobytes()


_LITTLE = str(ExplicitVRLittleEndian)


def files_in_every_syntax() -> list[Path]:
    return sorted(SYNTAXES.glob("*.dcm"))


@pytest.mark.parametrize(
    "file", files_in_every_syntax() or [None], ids=lambda p: p and p.name[-22:]
)
def test_real_files_in_every_transfer_syntax(file: Path | None, tmp_path: Path) -> None:
    if file is None:
        pytest.skip(f"{SYNTAXES} is absent")
    archive = Archive.below(tmp_path)
    archive.receive([file])
    ds = dcmread(file)
    with serving(app_over(archive.database)) as service:
        stored = get(service, path_of(ds), "application/dicom; transfer-syntax=*")
        assert dcmread(io.BytesIO(stored.content)).PixelData == ds.PixelData
        metadata = get(service, f"{path_of(ds)}/metadata", "application/json").json()
        assert metadata[0]["00280010"]["Value"] == [ds.Rows]
        try:
            expected = pixel_array(ds)
        except (NotImplementedError, RuntimeError):
            # JPEG processes that no decoder knows: given as stored, or not at all.
            frames = service.http.get(f"{path_of(ds)}/frames/1", headers={"Accept": OCTETS})
            assert frames.status_code == 406
            return
        ((_, frame),) = parts(get(service, f"{path_of(ds)}/frames/1", OCTETS))
        assert frame == expected.astype(expected.dtype.newbyteorder("<")).tobytes()
        little = f"application/dicom; transfer-syntax={_LITTLE}"
        whole = dcmread(io.BytesIO(get(service, path_of(ds), little).content))
        assert whole.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert (whole.pixel_array == expected).all()
        assert picture(service, f"{path_of(ds)}/rendered").shape == (ds.Rows, ds.Columns)


def test_a_file_that_is_gone_is_told(tmp_path: Path) -> None:
    archive = Archive.below(tmp_path)
    ds = OBJECTS["classic"]
    archive.receive([ds])
    for path in tmp_path.glob("instances/**/*.dcm"):
        path.unlink()
    with serving(app_over(archive.database)) as service:
        assert service.http.get(path_of(ds)).status_code == 410
        assert service.http.get(f"{path_of(ds)}/frames/1").status_code == 410
        # Its study can still be listed and the others read.
        (found,) = service.http.get(f"{path_of(ds)}/metadata").json()
        assert found["00080018"]["Value"] == [ds.SOPInstanceUID]
