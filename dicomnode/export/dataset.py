"""A data set of frontal radiographs in the manner of ChestX-ray8, out of what the node holds.

Wang et al., CVPR 2017: frontal images, 1024 x 1024, 8 bits, by the default window; labels mined
from the reports; parts by patient. Here nobody's name or date leaves, every label keeps its
version, and what was left out is listed with the reason.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import groupby
from pathlib import Path

from pydicom.dataset import Dataset

from dicomnode.domain.errors import EncodeError, UnsupportedImage
from dicomnode.domain.exporting import Fit, Split, StoredImage, StudyCase, age_in_years, person
from dicomnode.encode.stated_marks import StatedRegion, read_regions
from dicomnode.export.pictures import Placement, square_png, write_whole
from dicomnode.export.pseudonyms import Pseudonyms
from dicomnode.pipeline.brightness import brightness, read_display_header
from dicomnode.pipeline.detector import read_pixel_size
from dicomnode.pipeline.elements import text
from dicomnode.pipeline.radiograph import orientation_of
from dicomnode.pipeline.turning import Turn, turn_of

FRONTAL = ("PA", "AP")
_CHEST = ("", "CHEST", "THORAX")
_TURNED = "stored turned or mirrored, exported upright (PatientOrientation)"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetOptions:
    """What is exported and how."""

    size: int = 1024
    """Pixels along each side."""
    fit: Fit = Fit.PAD
    views: tuple[str, ...] = FRONTAL
    """ViewPosition (0018,5101) that is taken."""
    modalities: tuple[str, ...] = ("CR", "DX")
    with_unlabelled: bool = False
    """True: studies without a report that was read are taken too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLine:
    """One exported image."""

    image: str
    """Name of the file below `images`."""
    patient: str
    study: str
    """Pseudonyms."""
    follow_up: int
    """0 for the patient's first study, 1 for the next ..."""
    split: Split
    age: int | None
    """Years; 90 stands for 90 and more."""
    sex: str
    view: str
    columns: int
    rows: int
    """Of the original."""
    spacing_mm: float | None
    """Between columns of the original; None: not calibrated."""
    placement: Placement
    sha256: str
    labels: dict[str, int]
    normal: bool | None
    boxes: tuple["Box", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """One region on an exported image, in its own pixels."""

    finding: str
    code: str
    scheme: str
    extent: tuple[float, ...]
    """x, y, width, height."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """An image or a study that was not exported."""

    what: str
    """image or study."""
    name: str
    """Its pseudonym."""
    reason: str


@dataclass(slots=True, kw_only=True)
class Tally:
    """What was met on the way, for the card."""

    studies: int = 0
    burned_in_not_stated: int = 0
    without_patient_id: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    """Warning of an exported image -> how often."""


def export_images(
    cases: Iterable[StudyCase],
    out: Path,
    *,
    options: DatasetOptions,
    pseudonyms: Pseudonyms,
    tally: Tally,
    progress: Callable[[], None] = lambda: None,
) -> Iterator[ImageLine | LeftOut]:
    """Write the pictures of `cases` below `out`/images and tell of each, in order of patients.

    `cases` come ordered by patient. A picture that is there already is not drawn again, so an
    export that was stopped goes on where it was. No image stops it: what cannot be exported is
    left out with its reason.
    """
    (out / "images").mkdir(parents=True, exist_ok=True)
    writer = _Writer(out=out, options=options, pseudonyms=pseudonyms, tally=tally)
    for patient, studies in groupby(cases, key=_whose):
        for follow_up, case in enumerate(sorted(studies, key=lambda one: one.study_date)):
            yield from writer.study(case, patient, follow_up)
            progress()


def _whose(case: StudyCase) -> str:
    return person(case.patient_id, case.study_uid)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Writer:
    """Takes one study after the other."""

    out: Path
    options: DatasetOptions
    pseudonyms: Pseudonyms
    tally: Tally

    def study(self, case: StudyCase, patient: str, follow_up: int) -> Iterator[ImageLine | LeftOut]:
        """Every image of a study, exported or left out."""
        self.tally.studies += 1
        study = self.pseudonyms.of("study", case.study_uid)
        if case.normal is None and not self.options.with_unlabelled:
            yield LeftOut(what="study", name=study, reason="no report that could be read")
            return
        if not case.patient_id:
            self.tally.without_patient_id += 1
        regions = list(self._regions(case, study))
        for region in regions:
            if isinstance(region, LeftOut):
                yield region
        drawn = [region for region in regions if isinstance(region, StatedRegion)]
        for image in case.images:
            name = self.pseudonyms.of("image", image.sop_instance_uid)
            try:
                yield self._image(
                    case,
                    image,
                    name=name,
                    patient=patient,
                    follow_up=follow_up,
                    regions=drawn,
                )
            except UnsupportedImage as exc:
                yield LeftOut(what="image", name=name, reason=str(exc))

    def _regions(self, case: StudyCase, study: str) -> Iterator[StatedRegion | LeftOut]:
        for path in case.reports_of_results:
            try:
                yield from read_regions(path)
            except EncodeError as exc:
                yield LeftOut(what="regions", name=study, reason=str(exc))

    def _image(
        self,
        case: StudyCase,
        image: StoredImage,
        *,
        name: str,
        patient: str,
        follow_up: int,
        regions: Sequence[StatedRegion],
    ) -> ImageLine:
        ds, file = read_display_header(image.path)
        self._check(ds)
        size = read_pixel_size(ds)
        turn = turn_of(orientation_of(ds))
        stored = (file.layout.rows, file.layout.columns)
        exchanged = turn is not None and turn.exchange
        rows, columns = stored[::-1] if exchanged else stored
        spacing = size.spacing[::-1] if exchanged else size.spacing
        placement = Placement.of(
            rows=rows,
            columns=columns,
            spacing=spacing,
            size=self.options.size,
            fit=self.options.fit,
        )
        target = self.out / "images" / f"{name}.png"
        if target.exists():
            content = target.read_bytes()
        else:
            shown = brightness(ds, file)
            self.tally.notes.update((*shown.warnings, *([_TURNED] if turn else [])))
            pixels = turn.turned(shown.values) if turn else shown.values
            content = square_png(pixels, placement)
            write_whole(target, content)
        return ImageLine(
            image=target.name,
            patient=self.pseudonyms.of("patient", patient),
            study=self.pseudonyms.of("study", case.study_uid),
            follow_up=follow_up,
            split=self.pseudonyms.split_of(patient),
            age=age_in_years(case.birth_date, case.study_date),
            sex=case.sex if case.sex in ("F", "M", "O") else "",
            view=text(ds, "ViewPosition"),
            columns=columns,
            rows=rows,
            spacing_mm=spacing[1] if size.calibrated else None,
            placement=placement,
            sha256=sha256(content).hexdigest(),
            labels={label: value.value for label, value in case.labels.items()},
            normal=case.normal,
            boxes=tuple(
                _box(_seen(region, turn, stored), placement)
                for region in regions
                if region.sop_instance_uid == image.sop_instance_uid
            ),
        )

    def _check(self, ds: Dataset) -> None:
        """Let a frontal chest radiograph that is meant to be looked at pass.

        Raises:
            UnsupportedImage: it is none, or names may be burned into its pixels.
        """
        view = text(ds, "ViewPosition")
        if view not in self.options.views:
            raise UnsupportedImage(f"ViewPosition is {view[:16] or 'not stated'}")
        if text(ds, "BodyPartExamined").upper() not in _CHEST:
            raise UnsupportedImage("BodyPartExamined is not the chest")
        if text(ds, "PresentationIntentType") == "FOR PROCESSING":
            raise UnsupportedImage("the image is meant for processing, not for presentation")
        burned_in = text(ds, "BurnedInAnnotation")
        if burned_in == "YES":
            raise UnsupportedImage("BurnedInAnnotation is YES: names may stand in the pixels")
        if not burned_in:
            self.tally.burned_in_not_stated += 1


def _seen(region: StatedRegion, turn: Turn | None, shape: tuple[int, int]) -> StatedRegion:
    """A region of the stored image, of `shape`, on the image as it is looked at."""
    if turn is None:
        return region
    box = (region.left, region.top, region.right, region.bottom)
    left, top, right, bottom = turn.box_seen(box, shape)
    return replace(region, left=left, top=top, right=right, bottom=bottom)


def _box(region: StatedRegion, placement: Placement) -> Box:
    return Box(
        finding=region.finding,
        code=region.code,
        scheme=region.scheme,
        extent=placement.box(region.left, region.top, region.right, region.bottom),
    )
