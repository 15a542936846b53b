"""Files of a series become one volume, or are refused with the reason."""

import copy
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from dicomnode.domain.errors import (
    DuplicateSlices,
    MissingSlices,
    MixedOrientation,
    UnsupportedImage,
    VolumeError,
)
from dicomnode.domain.volumes import Volume
from dicomnode.pipeline.volume import read_series, read_volume
from dicomnode.testing.multiframe import enhanced
from dicomnode.testing.studies import (
    SeriesGeometry,
    StudyIdentity,
    ct_series,
    forty_eight_orientations,
)

IDENTITY = StudyIdentity(seed="pipeline")
SMALL = SeriesGeometry(rows=7, columns=5, slices=4)


def noise(geometry: SeriesGeometry = SMALL) -> npt.NDArray[np.int16]:
    """No two voxels next to each other are alike."""
    generator = np.random.default_rng(1)
    shape = (geometry.slices, geometry.rows, geometry.columns)
    return generator.integers(-1024, 3000, shape).astype(np.int16)


def series(geometry: SeriesGeometry = SMALL) -> list[Dataset]:
    return ct_series(IDENTITY, geometry, noise(geometry))


def save(folder: Path, datasets: Sequence[Dataset]) -> list[Path]:
    """In an order that says nothing about positions."""
    paths = []
    for index, ds in enumerate(datasets):
        path = folder / f"{(index * 5 + 3) % len(datasets)}-{index}.dcm"
        ds.save_as(path, enforce_file_format=True)
        paths.append(path)
    return sorted(paths)


def read(folder: Path, datasets: Sequence[Dataset]) -> Volume:
    return read_series(save(folder, datasets))


def test_volume_holds_hounsfield_units_in_slice_order(tmp_path: Path) -> None:
    volume = read(tmp_path, series())
    np.testing.assert_array_equal(volume.array, noise())
    assert volume.array.dtype == np.float32
    assert volume.array.shape == volume.grid.shape
    assert volume.grid.spacing_mm == pytest.approx((3.0, 1.5, 1.25))
    assert volume.modality == "CT"
    assert [frame.sop_instance_uid for frame in volume.frames] == [
        ds.SOPInstanceUID for ds in series()
    ]
    assert {frame.frame_number for frame in volume.frames} == {None}


def test_volume_cannot_be_written_to(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        read(tmp_path, series()).array[0, 0, 0] = 1


@pytest.mark.parametrize(("orientation", "reverse"), list(forty_eight_orientations()))
def test_every_orientation_and_file_order_gives_the_same_patient(
    tmp_path: Path, orientation: tuple[float, ...], reverse: bool
) -> None:
    geometry = SeriesGeometry(rows=7, columns=5, slices=4, orientation=orientation)
    datasets = series(geometry)
    for number, ds in enumerate(reversed(datasets) if reverse else datasets):
        ds.InstanceNumber = number + 1
    volume = read(tmp_path, datasets)
    np.testing.assert_array_equal(volume.array, noise(geometry))
    for index in range(4):
        np.testing.assert_allclose(
            (volume.grid.affine_lps_mm @ [index, 0, 0, 1])[:3],
            geometry.position(index),
            atol=1e-5,
        )


def change_syntax(ds: Dataset, uid: str) -> None:
    if uid in (RLELossless, JPEG2000Lossless, JPEGLSLossless):
        ds.compress(uid, generate_instance_uid=False)
    elif uid == ExplicitVRBigEndian:
        ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
        ds["PixelData"].VR = "OW"
    ds.file_meta.TransferSyntaxUID = UID(uid)


@pytest.mark.parametrize(
    "uid",
    [
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEG2000Lossless,
        JPEGLSLossless,
    ],
)
def test_transfer_syntax_makes_no_difference(tmp_path: Path, uid: str) -> None:
    geometry = SeriesGeometry(rows=48, columns=40, slices=3)
    datasets = series(geometry)
    for ds in datasets:
        change_syntax(ds, uid)
    np.testing.assert_array_equal(read(tmp_path, datasets).array, noise(geometry))


def test_each_slice_has_its_own_rescale(tmp_path: Path) -> None:
    datasets = series()
    for index, ds in enumerate(datasets):
        ds.RescaleSlope, ds.RescaleIntercept = index + 1, -100 * index
    stored = noise().astype(np.int64) + 1024
    expected = [stored[i] * (i + 1) - 100 * i for i in range(4)]
    np.testing.assert_array_equal(read(tmp_path, datasets).array, expected)


def test_signed_pixels_keep_their_sign_and_unused_bits_do_not_count(tmp_path: Path) -> None:
    values = noise() // 2
    datasets = series()
    for ds, hounsfield in zip(datasets, values, strict=True):
        ds.PixelRepresentation, ds.BitsStored, ds.HighBit = 1, 12, 11
        ds.RescaleIntercept = 0
        # An overlay in bit 15, as old files have it.
        ds.PixelData = ((hounsfield.view(np.uint16) & 0x0FFF) | 0x8000).tobytes()
    np.testing.assert_array_equal(read(tmp_path, datasets).array, values)


def test_pixels_may_be_kept_in_the_upper_bits(tmp_path: Path) -> None:
    datasets = series()
    stored = noise().astype(np.int32) + 1024
    for ds, pixels in zip(datasets, stored, strict=True):
        ds.BitsStored, ds.HighBit = 12, 15
        ds.PixelData = (pixels << 4).astype(np.uint16).tobytes()
    np.testing.assert_array_equal(read(tmp_path, datasets).array, noise())


def test_eight_bit_big_endian_words_are_read_in_order(tmp_path: Path) -> None:
    ds = series(SeriesGeometry(rows=7, columns=4, slices=1))[0]
    pixels = np.arange(28, dtype=np.uint8)
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    ds.PixelData = pixels.view(np.uint16).byteswap().tobytes()
    ds["PixelData"].VR = "OW"
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    assert read(tmp_path, [ds]).array.ravel().tolist() == (pixels - 1024.0).tolist()


def test_what_lies_below_air_is_air_in_ct_only(tmp_path: Path) -> None:
    datasets = series()
    for ds in datasets:
        ds.RescaleIntercept = -3024
    lowest = read(tmp_path, datasets).array.min()
    assert lowest == -1024
    for ds in datasets:
        ds.Modality = "MR"
    (tmp_path / "mr").mkdir()
    assert read(tmp_path / "mr", datasets).array.min() < -2000


def test_modality_table_replaces_rescale(tmp_path: Path) -> None:
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [3, 10, 16])
    table.add_new("LUTData", "US", [100, 200, 300])
    table.ModalityLUTType = "HU"
    ds = series(SeriesGeometry(rows=1, columns=4, slices=1))[0]
    del ds.RescaleSlope
    del ds.RescaleIntercept
    ds.ModalityLUTSequence = [table]
    ds.PixelData = np.array([0, 10, 11, 60], dtype=np.uint16).tobytes()
    assert read(tmp_path, [ds]).array.ravel().tolist() == [100, 100, 200, 300]


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_enhanced_frames_give_the_same_volume_as_classic_slices(
    tmp_path: Path, modality: str
) -> None:
    multi = enhanced(series(), order=[2, 0, 3, 1], modality=modality)
    volume = read(tmp_path, [multi])
    np.testing.assert_array_equal(volume.array, noise())
    assert [frame.frame_number for frame in volume.frames] == [2, 4, 1, 3]
    assert {frame.sop_instance_uid for frame in volume.frames} == {multi.SOPInstanceUID}
    assert volume.grid.spacing_mm == pytest.approx((3.0, 1.5, 1.25))


def test_compressed_enhanced_frames_are_read_in_any_order(tmp_path: Path) -> None:
    multi = enhanced(series(), order=[2, 0, 3, 1])
    multi.compress(RLELossless, generate_instance_uid=False)
    np.testing.assert_array_equal(read(tmp_path, [multi]).array, noise())


def test_frame_s_own_groups_go_before_shared_ones(tmp_path: Path) -> None:
    multi = enhanced(series())
    own = Dataset()
    own.RescaleSlope, own.RescaleIntercept, own.RescaleType = 2, 0, "HU"
    multi.PerFrameFunctionalGroupsSequence[1].PixelValueTransformationSequence = [own]
    volume = read(tmp_path, [multi])
    np.testing.assert_array_equal(volume.array[1], (noise()[1].astype(int) + 1024) * 2)
    np.testing.assert_array_equal(volume.array[2], noise()[2])


def test_enhanced_image_in_several_instances_is_one_volume(tmp_path: Path) -> None:
    slices = series()
    volume = read(tmp_path, [enhanced(slices, order=[3, 0]), enhanced(slices, order=[2, 1])])
    np.testing.assert_array_equal(volume.array, noise())


def test_stacks_of_several_phases_are_refused(tmp_path: Path) -> None:
    multi = enhanced(series(), order=[0, 1, 2, 3, 0, 1, 2, 3])
    for frame, groups in enumerate(multi.PerFrameFunctionalGroupsSequence):
        groups.FrameContentSequence[0].TemporalPositionIndex = frame // 4 + 1
    with pytest.raises(DuplicateSlices, match=r"frame 1 and frame 5 .* several volumes"):
        read(tmp_path, [multi])


def drop_position(datasets: list[Dataset]) -> None:
    del datasets[2].ImagePositionPatient


def drop_slice(datasets: list[Dataset]) -> None:
    del datasets[1:3]
    datasets.extend(ct_series(IDENTITY, SeriesGeometry(rows=7, columns=5, slices=9))[4:])


def send_twice(datasets: list[Dataset]) -> None:
    datasets.append(copy.deepcopy(datasets[0]))


def turn_into_scout(datasets: list[Dataset]) -> None:
    datasets[1].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    datasets[1].ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def enlarge(datasets: list[Dataset]) -> None:
    datasets[3].Rows, datasets[3].Columns = 5, 7


def change_frame_of_reference(datasets: list[Dataset]) -> None:
    datasets[3].FrameOfReferenceUID = "1.2.3"


def change_series(datasets: list[Dataset]) -> None:
    datasets[3].SeriesInstanceUID = "1.2.3"


def drop_rescale(datasets: list[Dataset]) -> None:
    del datasets[3].RescaleSlope
    del datasets[3].RescaleIntercept


def measure_atomic_number(datasets: list[Dataset]) -> None:
    datasets[0].RescaleType = "Z_EFF"


def colour(datasets: list[Dataset]) -> None:
    datasets[0].PhotometricInterpretation = "RGB"
    datasets[0].SamplesPerPixel = 3


def cut_short(datasets: list[Dataset]) -> None:
    datasets[3].PixelData = datasets[3].PixelData[:-20]


def drop_pixels(datasets: list[Dataset]) -> None:
    del datasets[3].PixelData


def float_pixels(datasets: list[Dataset]) -> None:
    del datasets[3].PixelData
    datasets[3].FloatPixelData = np.zeros((7, 5), np.float32).tobytes()


def path_as_uid(datasets: list[Dataset]) -> None:
    for ds in datasets:
        ds["SeriesInstanceUID"]._value = "../../etc"


def another_patient(datasets: list[Dataset]) -> None:
    datasets[0].PatientID = ""
    datasets[3].PatientID = "SOMEBODY-ELSE"


def one_bit(datasets: list[Dataset]) -> None:
    datasets[0].BitsAllocated = 1


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (drop_position, UnsupportedImage, "image 3 does not say where it lies"),
        (drop_slice, MissingSlices, r"2 between image 1 .* and image 4"),
        (send_twice, DuplicateSlices, "given twice"),
        (turn_into_scout, MixedOrientation, "image 2 of this series: a localizer"),
        (enlarge, VolumeError, "image 4 has 5 x 7 pixels, image 1 7 x 5"),
        (change_frame_of_reference, VolumeError, "different FrameOfReferenceUIDs"),
        (change_series, VolumeError, "more than one series"),
        (drop_rescale, UnsupportedImage, "image 4: no RescaleSlope"),
        (measure_atomic_number, UnsupportedImage, "values are Z_EFF, not Hounsfield"),
        (colour, UnsupportedImage, "image 1 is not gray but RGB"),
        (cut_short, UnsupportedImage, "image 4: the pixel data is cut short"),
        (drop_pixels, UnsupportedImage, "without pixels"),
        (float_pixels, UnsupportedImage, "floating point"),
        (path_as_uid, UnsupportedImage, "no usable SeriesInstanceUID"),
        (another_patient, VolumeError, "image 4 states another PatientID than image 2: images of"),
        (one_bit, UnsupportedImage, "image 1: 16 bits stored"),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.filterwarnings("ignore:The value length")
def test_what_is_no_volume_is_refused_with_the_reason(
    tmp_path: Path,
    spoil: Callable[[list[Dataset]], None],
    error: type[VolumeError],
    message: str,
) -> None:
    datasets = series()
    spoil(datasets)
    with pytest.raises(error, match=message):
        read(tmp_path, datasets)


def test_other_file_and_truncated_header_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_text("Doe^John is not an image")
    with pytest.raises(UnsupportedImage, match="cannot be read") as caught:
        read_volume([path])
    assert "Doe" not in str(caught.value)
    whole = save(tmp_path, series()[:1])[0]
    whole.write_bytes(whole.read_bytes()[:700])
    with pytest.raises(UnsupportedImage):
        read_volume([whole])


def test_multi_frame_image_without_functional_groups_is_refused(tmp_path: Path) -> None:
    multi = enhanced(series())
    del multi.PerFrameFunctionalGroupsSequence
    with pytest.raises(UnsupportedImage, match="4 frames that do not say where they lie"):
        read(tmp_path, [multi])
    multi.PerFrameFunctionalGroupsSequence = [Dataset()]
    with pytest.raises(UnsupportedImage, match="4 frames describes 1"):
        read(tmp_path, [multi])


def test_series_without_images_is_refused() -> None:
    for reader in (read_series, read_volume):
        with pytest.raises(UnsupportedImage, match="no images"):
            reader([])


def test_progress_rises_to_one(tmp_path: Path) -> None:
    told: list[float] = []
    read_volume(save(tmp_path, series()), progress=lambda fraction, _: told.append(fraction))
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_memory_is_one_array_and_a_few_slices(tmp_path: Path) -> None:
    geometry = SeriesGeometry(rows=256, columns=256, slices=24)
    paths = save(tmp_path, series(geometry))
    read_volume(paths[:1])
    tracemalloc.start()
    volume = read_volume(paths)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < volume.array.nbytes + 4 * 256 * 256 * 4
