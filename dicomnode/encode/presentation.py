"""Findings -> a grayscale softcopy presentation state (PS3.3 A.33.1): outlines, lines, words.

For stations that draw neither SEG nor SR but apply presentation states, as most do. Every slice on
which something was marked is annotated; the images stay as they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from highdicom.content import (
    ModalityLUTTransformation,
    PresentationLUTTransformation,
    ReferencedImageSequence,
)
from highdicom.pr import (
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GrayscaleSoftcopyPresentationState,
    SoftcopyVOILUTTransformation,
    TextObject,
)
from pydicom.dataset import Dataset

from dicomnode.domain.errors import EncodeError
from dicomnode.domain.findings import ClassFinding, Finding, LesionFinding, SegmentFinding
from dicomnode.domain.results import ResultKind
from dicomnode.encode.canvas import Color
from dicomnode.encode.concepts import display_color
from dicomnode.encode.grey_scale import GreyScale, grey_scales
from dicomnode.encode.heading import finish, heading_of
from dicomnode.encode.key_images import key_slices
from dicomnode.encode.legend import line_colors
from dicomnode.encode.origin import Origin
from dicomnode.encode.outlines import outlines
from dicomnode.encode.texts import decimal_string
from dicomnode.encode.tracking import marks_of, tracking_identifiers
from dicomnode.encode.windows import window_of
from dicomnode.encode.wording import (
    RESEARCH_USE,
    finding_in_words,
    number_told,
    numbers_in_words,
    title_of,
    told_beside_lines,
)

CONTENT_LABEL = "AI_FINDINGS"
WORDS_LAYER = "WORDS"
PLACEHOLDER = (0.5, 1.0)
"""A window that `_use_own_table` takes out again."""
MOST_UNPLACED = 12
"""Lines of words at the foot of an image, so that they do not cover it."""
_LINE_HEIGHT = 0.03
"""Of the image's height: what one line of words is given."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom; pixels."""
Points = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawn:
    """One line or outline on one slice."""

    name: str
    """Tracking identifier."""
    points: Points
    words: Sequence[str]
    """Written beside it; none where they already stand on another slice."""


class _Layout:
    """Places for words on one slice, none on another's."""

    def __init__(self, rows: int, columns: int) -> None:
        self._rows, self._columns = rows, columns
        self._taken: list[Box] = []

    def box(self, drawn: _Drawn) -> Box:
        """In the middle of an outline, or below a line; moved down, then up, until it is free."""
        line = self._rows * _LINE_HEIGHT
        width = min(max(map(len, drawn.words)) * line * 0.5 + line, float(self._columns))
        height = min(len(drawn.words) * line * 1.2, float(self._rows))
        left = float(np.clip(_middle(drawn.points[:, 0]) - width / 2, 0, self._columns - width))
        is_outline = len(drawn.points) > 2
        wanted = (
            _middle(drawn.points[:, 1]) - height / 2
            if is_outline
            else float(drawn.points[:, 1].max()) + line / 3
        )
        steps = [0, *range(1, 40), *range(-1, -40, -1)]
        tops = [float(np.clip(wanted + step * line / 2, 0, self._rows - height)) for step in steps]
        boxes = [(left, top, left + width, top + height) for top in tops]
        chosen = next((one for one in boxes if self._is_free(one)), boxes[0])
        self._taken.append(chosen)
        return chosen

    def _is_free(self, box: Box) -> bool:
        return not any(
            box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]
            for other in self._taken
        )


def _middle(values: npt.NDArray[np.float64]) -> float:
    return float(values.min() + values.max()) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slice:
    """One annotated slice."""

    index: int
    image: Dataset
    frame_number: int | None
    layout: _Layout


def build_presentation(findings: Sequence[Finding], origin: Origin) -> Dataset:
    """A presentation state for the slices on which `findings` are marked, else the middle one.

    Raises:
        EncodeError: a line lies off its image, or highdicom cannot refer to this source.
    """
    drawn = {finding.name: _drawn(finding) for finding in findings}
    slices = sorted({index for of_finding in drawn.values() for index in of_finding})
    slices = slices or [origin.volume.grid.shape[0] // 2]
    scales = grey_scales(origin.volume, slices)
    places = [_slice(origin, index) for index in slices]
    words = GraphicLayer(WORDS_LAYER, order=len(findings) + 1, description="What this is")
    layers = [_layer(number, finding) for number, finding in enumerate(findings, start=1)]
    heading = heading_of(ResultKind.GSPS, origin)
    try:
        annotations = [
            _annotation(layer, origin, place, drawn[finding.name][place.index])
            for layer, finding in zip(layers, findings, strict=True)
            for place in places
            if place.index in drawn[finding.name]
        ]
        annotations += [
            _words(words, origin, place, _unplaced(findings, drawn)) for place in places
        ]
        used = {annotation.GraphicLayer for annotation in annotations}
        pr = GrayscaleSoftcopyPresentationState(
            referenced_images=_once_each(places),
            series_instance_uid=origin.uids.series(ResultKind.GSPS),
            series_number=heading.series_number,
            sop_instance_uid=origin.uids.instance(ResultKind.GSPS),
            instance_number=1,
            manufacturer=origin.identity.manufacturer[:64],
            manufacturer_model_name=origin.identity.name[:64],
            software_versions=heading.software_versions[0],
            device_serial_number=heading.device_serial_number,
            content_label=CONTENT_LABEL,
            content_description=f"{origin.identity.title[:40]}. Research use only.",
            graphic_annotations=annotations,
            graphic_layers=[one for one in (*layers, words) if one.GraphicLayer in used],
            modality_lut_transformation=_modality_lut(scales),
            voi_lut_transformations=_voi(
                scales, [place.image for place in places], findings, origin
            ),
            presentation_lut_transformation=PresentationLUTTransformation(
                presentation_lut_shape="INVERSE" if scales[0].is_inverted else "IDENTITY"
            ),
        )
    except (ValueError, TypeError, AttributeError, KeyError) as exc:
        reason = type(exc).__name__
        raise EncodeError(f"no presentation state could be made of this source: {reason}") from exc
    _state_spacing(pr, origin)
    pr.Laterality = ""
    if not origin.source.has_positions and scales[0].window is None:
        _use_own_table(pr, scales[0])
    pr.PresentationCreationDate = heading.made_at.strftime("%Y%m%d")
    pr.PresentationCreationTime = heading.made_at.strftime("%H%M%S")
    finish(pr, origin.source.patient, heading)
    return pr


def _drawn(finding: Finding) -> dict[int, list[_Drawn]]:
    """Slice -> what is drawn of the finding there; numbers only where the finding is largest."""
    told: dict[int, list[_Drawn]] = {}
    marks = marks_of(finding)
    for name, mark in zip(tracking_identifiers(finding), marks, strict=False):
        words = told_beside_lines(finding) if mark is marks[0] else []
        if mark.measurement is not None:
            words.append(number_told(mark.measurement))
        told.setdefault(mark.slice_index, []).append(
            _Drawn(name=name, points=mark.points, words=words)
        )
    if isinstance(finding, SegmentFinding | LesionFinding) and finding.mask is not None:
        key = key_slices([finding])
        for index in np.flatnonzero(finding.mask.any(axis=(1, 2))).tolist():
            lines = outlines(finding.mask[index])
            words = [finding.name]
            if index in key and not marks:
                words += numbers_in_words(finding)
            told.setdefault(index, []).extend(
                _Drawn(name=finding.name, points=line, words=[] if marks or number else words)
                for number, line in enumerate(lines)
            )
    return told


def _layer(number: int, finding: Finding) -> GraphicLayer:
    """A layer for each finding, so that a station can switch it off; in the finding's colour."""
    color = _color(finding)
    return GraphicLayer(
        f"FINDING_{number}",
        order=number,
        description=finding.name[:64],
        display_color=display_color(color) if color else None,
    )


def _color(finding: Finding) -> Color | None:
    if isinstance(finding, SegmentFinding | LesionFinding):
        return finding.color
    return next(iter(line_colors(finding)), None)


def _slice(origin: Origin, index: int) -> _Slice:
    """With the header of its image, and in it what highdicom asks of a grey one."""
    image = Dataset()
    image.update(origin.source.images[index])
    image.SamplesPerPixel = 1
    return _Slice(
        index=index,
        image=image,
        frame_number=origin.source.frame_numbers[index],
        layout=_Layout(*origin.volume.grid.shape[1:]),
    )


def _once_each(places: Sequence[_Slice]) -> list[Dataset]:
    return list({str(place.image.SOPInstanceUID): place.image for place in places}.values())


def _annotation(
    layer: GraphicLayer, origin: Origin, place: _Slice, drawn: Sequence[_Drawn]
) -> GraphicAnnotation:
    rows, columns = origin.volume.grid.shape[1:]
    graphics = [
        GraphicObject(
            graphic_type="POINT" if len(one.points) == 1 else "POLYLINE",
            graphic_data=np.clip(one.points, 0, (columns, rows)),
            units="PIXEL",
            tracking_id=one.name,
            tracking_uid=origin.tracking_uid(one.name),
        )
        for one in drawn
    ]
    texts = [
        TextObject(
            "\r\n".join(one.words)[:1000],
            units="PIXEL",
            bounding_box=place.layout.box(one),
            text_justification="LEFT",
        )
        for one in drawn
        if one.words
    ]
    return GraphicAnnotation(
        [place.image],
        layer,
        referenced_frame_number=place.frame_number,
        graphic_objects=graphics,
        text_objects=texts or None,
    )


def _unplaced(findings: Sequence[Finding], drawn: Mapping[str, Mapping[int, object]]) -> list[str]:
    """What is said of the whole image and drawn nowhere; of classes those that were found."""
    told = [
        finding_in_words(finding)
        for finding in findings
        if not drawn[finding.name]
        and (finding.positive if isinstance(finding, ClassFinding) else True)
    ]
    if not findings:
        return ["No finding"]
    if not told and not any(drawn.values()):
        return ["Nothing reaches its operating point"]
    return [*told[:MOST_UNPLACED], *(["..."] if len(told) > MOST_UNPLACED else [])]


def _words(
    layer: GraphicLayer, origin: Origin, place: _Slice, unplaced: Sequence[str]
) -> GraphicAnnotation:
    """At the foot of every annotated image: what made this, and what was drawn nowhere."""
    lines = [RESEARCH_USE, title_of(origin), *unplaced]
    if not origin.derivation.complete:
        lines.append("The study may have been incomplete when it was read.")
    text = TextObject(
        "\r\n".join(lines)[:1000],
        units="DISPLAY",
        bounding_box=(0.01, 1 - 0.04 * len(lines), 0.99, 0.99),
        text_justification="LEFT",
    )
    return GraphicAnnotation(
        [place.image],
        layer,
        referenced_frame_number=place.frame_number,
        text_objects=[text],
    )


def _same_rescale(scales: Sequence[GreyScale]) -> bool:
    return len({(one.slope, one.intercept, one.rescale_type) for one in scales}) == 1


def _modality_lut(scales: Sequence[GreyScale]) -> ModalityLUTTransformation | None:
    """The rescale that all images share; a state cannot have one for each image."""
    first = scales[0]
    if first.rescale_type is None or not _same_rescale(scales):
        return None
    return ModalityLUTTransformation(
        rescale_slope=float(decimal_string(first.slope)),
        rescale_intercept=float(decimal_string(first.intercept)),
        rescale_type=first.rescale_type[:16],
    )


def _voi(
    scales: Sequence[GreyScale],
    images: Sequence[Dataset],
    findings: Sequence[Finding],
    origin: Origin,
) -> list[SoftcopyVOILUTTransformation]:
    """A radiograph's own window; for a volume the one that suits what is marked.

    Where each image has a rescale of its own, as in PET, each has a window in stored values.
    """
    if not origin.source.has_positions:
        return [_window(*(scales[0].window or PLACEHOLDER))]
    low, high = window_of(origin.volume, findings)
    centre, width = (low + high) / 2, high - low
    if _same_rescale(scales):
        return [_window(centre, width)]
    return [
        SoftcopyVOILUTTransformation(
            window_center=_decimal((centre - scale.intercept) / scale.slope),
            window_width=_decimal(max(width / scale.slope, 1.0)),
            referenced_images=ReferencedImageSequence([image]),
        )
        for scale, image in zip(scales, images, strict=True)
    ]


def _window(centre: float, width: float) -> SoftcopyVOILUTTransformation:
    return SoftcopyVOILUTTransformation(
        window_center=_decimal(centre), window_width=_decimal(max(width, 1.0))
    )


def _decimal(value: float) -> float:
    return float(decimal_string(value))


def _use_own_table(pr: Dataset, scale: GreyScale) -> None:
    """The radiograph's own VOI LUT; with neither table nor window all values are shown."""
    del pr.SoftcopyVOILUTSequence
    if scale.voi_lut is not None:
        item = Dataset()
        item.VOILUTSequence = [scale.voi_lut]
        pr.SoftcopyVOILUTSequence = [item]


def _state_spacing(pr: Dataset, origin: Origin) -> None:
    """True proportions on the screen (PS3.3 C.10.4); without a spacing pixels count as square."""
    if origin.source.pixel_spacing:
        area = pr.DisplayedAreaSelectionSequence[0]
        area.PresentationPixelSpacing = list(origin.source.pixel_spacing)
        del area.PresentationPixelAspectRatio
