"""A radiograph from a picture file (PNG, JPEG), for data sets that are no DICOM any more."""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from dicomnode.domain.errors import UnsupportedImage
from dicomnode.domain.identifiers import InstanceUid, SeriesUid, StudyUid, derived_uid
from dicomnode.domain.volumes import Grid, SourceFrame, Volume

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def read_picture(path: Path) -> Volume:
    """One grey picture as a `Volume` of one slice, 0 to 1, in pixels; bright stays bright.

    Sixteen-bit pictures run from their darkest to their brightest value, others from 0 to 255.

    Raises:
        UnsupportedImage: this is no picture.
    """
    try:
        with Image.open(path) as image:
            wide = image.mode.startswith(("I", "F"))
            values = np.asarray(image if wide else image.convert("L"), dtype=np.float32)
    except (OSError, UnidentifiedImageError) as exc:
        raise UnsupportedImage(f"{path.name} is no picture that can be read") from exc
    low, high = (float(values.min()), float(values.max())) if wide else (0.0, 255.0)
    array = np.ascontiguousarray(((values - low) / max(high - low, 1e-6))[np.newaxis])
    array.flags.writeable = False
    affine = np.zeros((4, 4))
    affine[0, 2] = affine[1, 1] = affine[2, 0] = affine[3, 3] = 1.0
    uid = derived_uid("picture", path.name)
    return Volume(
        study_uid=StudyUid(uid),
        series_uid=SeriesUid(uid),
        modality="DX",
        array=array,
        grid=Grid(
            affine_lps_mm=affine,
            shape=(1, *values.shape),
            frame_of_reference_uid=None,
            calibrated=False,
        ),
        frames=(
            SourceFrame(
                path=path,
                sop_instance_uid=InstanceUid(uid),
                sop_class_uid=_SECONDARY_CAPTURE,
                frame_number=None,
            ),
        ),
        warnings=("no pixel spacing: lengths are in pixels",),
    )
