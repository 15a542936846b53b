"""A site's marked volumes: whose they are, what is marked in them, and whether it can be meant.

The folder is that of `dicomnode.evaluate.lesion_images` and `lesion_truths`. What an evaluation
leaves out and counts is refused here: training on marks in a wrong place would cost hours.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from dicomnode.algorithm import InputSpec
from dicomnode.domain.errors import PipelineError, StudyError, UnsupportedImage
from dicomnode.domain.volumes import Volume
from dicomnode.evaluate.lesion_images import Case, read_case, read_cases
from dicomnode.evaluate.lesion_truths import lesions_of_case, read_lesion_truths
from dicomnode.evaluate.lesion_types import (
    as_sought,
    names_of,
    not_sought,
    read_lesion_types,
    why_none,
)
from dicomnode.evaluate.pairs import read_patients
from dicomnode.evaluation.froc import TrueLesion
from dicomnode.pipeline.inputs import check_inputs
from dicomnode.pipeline.manifest import Lesions

_AIR_HU = -900.0
"""Any lesion, also one of ground glass, holds something denser."""
_SPELT_OUT = 5
"""Faults that are named."""


class SiteMarks:
    """A folder of marked volumes, read one volume at a time.

    Args:
        folder: the folder.
        pred: what the bundle looks for.
        named: type in the truth -> type of the bundle, beyond what the folder says.
        modality: of volumes that do not say it.

    Raises:
        StudyError: no volumes, no marks, or a type is named that the bundle has not.
    """

    def __init__(
        self, folder: Path, pred: Lesions, named: Mapping[str, str], modality: str = "CT"
    ) -> None:
        self.folder, self.pred, self.modality = folder, pred, modality
        self.truths = read_lesion_truths(folder)
        self.name_of = names_of(pred, {**read_lesion_types(folder), **named})
        known = read_patients(folder)
        self.cases = [
            case if case.name in known else replace(case, patient=_patient_of(case))
            for case in read_cases(folder)
        ]

    def read(self, case: Case) -> tuple[Volume, list[TrueLesion]]:
        """A volume and the lesions in it, as the truth calls them (`as_sought` for the bundle).

        Raises:
            VolumeError: it or its mask cannot be read, or a lesion lies outside of it or in air.
        """
        volume = read_case(case, self.modality)
        lesions = lesions_of_case(self.truths, case, volume)
        for one in lesions:
            if one.counts:
                _check_not_in_air(one, volume)
        return volume, lesions


def _patient_of(case: Case) -> str:
    """By the DICOM header, as a digest, so that no PatientID gets into reports; else the name."""
    first = next((path for path in sorted(case.path.rglob("*")) if path.is_file()), None)
    if first is None:
        return case.name
    try:
        ds = dcmread(first, stop_before_pixels=True, specific_tags=["PatientID"])
    except InvalidDicomError:
        return case.name
    said = str(ds.get("PatientID") or "").strip()
    return f"patient {hashlib.sha256(said.encode()).hexdigest()[:12]}" if said else case.name


def _check_not_in_air(one: TrueLesion, volume: Volume) -> None:
    ends = np.array([one.low_mm, one.high_mm])
    index = np.linalg.solve(volume.grid.affine_lps_mm, np.column_stack([ends, (1, 1)]).T)[:3]
    low = np.clip(np.floor(index.min(1)).astype(int), 0, np.array(volume.grid.shape) - 1)
    high = np.maximum(np.ceil(index.max(1)).astype(int) + 1, low + 1)
    part = tuple(slice(first, last) for first, last in zip(low, high, strict=True))
    if float(volume.array[part].max()) < _AIR_HU:
        at = ", ".join(f"{value:.1f}" for value in ends.mean(0))
        raise UnsupportedImage(f"the lesion at ({at}) lies in air: places are to be LPS, in mm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """What is known of one volume."""

    case: Case
    series_uid: str
    study_uid: str
    lesions: tuple[TrueLesion, ...]
    """As the bundle calls them."""
    not_sought: tuple[str, ...]
    """Types in the truth that the bundle does not look for, once for each lesion."""


def checked(
    marks: SiteMarks,
    needs: Mapping[str, InputSpec],
    tick: Callable[[Sequence[Case]], Iterable[Case]],
) -> tuple[Marked, ...]:
    """Every volume of the folder, read once.

    Args:
        marks: the folder.
        needs: of the bundle, which has one input.
        tick: shows how far it is.

    Raises:
        StudyError: no row is about a volume of the folder, a volume fits no input of the bundle or
            its marks cannot be meant (all such faults at once), or no lesion is of a type that the
            bundle looks for.
    """
    (name,) = needs
    volumes, faults = [], []
    for case in tick(marks.cases):
        try:
            volume, lesions = marks.read(case)
            check_inputs(needs, {name: volume})
        except PipelineError as exc:
            faults.append(f"{case.name}: {exc}")
            continue
        volumes.append(
            Marked(
                case=case,
                series_uid=str(volume.series_uid),
                study_uid=str(volume.study_uid),
                lesions=tuple(as_sought(lesions, marks.name_of)),
                not_sought=not_sought(lesions, marks.name_of),
            )
        )
    if faults:
        left = len(faults) - _SPELT_OUT
        more = [f"and {left} more"] if left > 0 else []
        raise StudyError(
            "; ".join([*faults[:_SPELT_OUT], *more])
            + ". Mend these volumes or take them out of the folder"
        )
    _check_something_is_sought(marks, volumes)
    return tuple(volumes)


def _check_something_is_sought(marks: SiteMarks, volumes: Sequence[Marked]) -> None:
    if any(one.counts and one.kind for each in volumes for one in each.lesions):
        return
    others = rows_of_others(marks, volumes)
    left_out = [kind for each in volumes for kind in each.not_sought]
    if left_out:
        raise StudyError(why_none(marks.pred, left_out))
    if any(one.counts for each in volumes for one in each.lesions):
        raise StudyError(
            'no lesion has a type: say which they are by a column "type", or all at once by '
            '--lesion-type "=TYPE"'
        )
    if others:
        raise StudyError(
            f"no row is about a volume of {marks.folder / 'images'}: the first is about "
            f"{others[0]!r}. A row names a file or folder in images, or its SeriesInstanceUID"
        )
    raise StudyError("nothing is marked in these volumes")


def rows_of_others(marks: SiteMarks, volumes: Sequence[Marked]) -> list[str]:
    """What rows name that is no volume of the folder, once for each row."""
    known = {name for one in volumes for name in (one.case.name, one.series_uid)}
    return [row.volume for row in marks.truths.rows if row.volume not in known]
