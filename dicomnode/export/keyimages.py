"""Key images: the slices that reports point to, with the sentence and its labels.

Wang et al. (JMLR 17(107), 2016) took 215,786 such slices of 61,845 studies from an archive, at
256 x 256 by the header's default window.
"""

import csv
import html
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from dicomnode.domain.errors import UnsupportedImage
from dicomnode.domain.exporting import Fit, person
from dicomnode.domain.identifiers import StudyUid
from dicomnode.domain.key_images import (
    ImageReference,
    NumberedFrame,
    NumberedSeries,
    Unresolved,
    resolve,
)
from dicomnode.export.pictures import Placement, square_png, write_whole
from dicomnode.export.pseudonyms import Pseudonyms
from dicomnode.export.run import claim
from dicomnode.pipeline.brightness import brightness, read_display_header
from dicomnode.pipeline.detector import read_pixel_size
from dicomnode.reports.atomic import AtomicText
from dicomnode.store.database import Database
from dicomnode.store.key_images import StoredFile, files_of, image_references

SIZE = 256
_SHOWN = 300
"""Pictures on the page to look at."""
_COLUMNS = (
    *("image", "report", "study", "patient", "series_number", "image_number"),
    *("label", "concept", "assertion", "sentence"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyImages:
    """What an export made."""

    references: int
    resolved: int
    pictures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawn:
    """A reference whose image was found and written."""

    reference: ImageReference
    image: str
    """Name of the file below `images`."""


def export_key_images(
    database: Database,
    out: Path,
    *,
    label: str | None,
    with_sentences: bool,
    pseudonyms: Pseudonyms,
    progress: Callable[[], None] = lambda: None,
) -> KeyImages:
    """Write pictures, `key_images.csv`, `unresolved.csv` and `index.html` to `out`.

    May be repeated: pictures that are there are not drawn again. Sentences are the report's own
    words and may hold names; `with_sentences` False leaves them out.

    Raises:
        ConfigError: the folder holds something else, or an export made with other options.
    """
    made_with: dict[str, object] = {
        "kind": "key images",
        "label": label,
        "sentences": with_sentences,
    }
    claim(out, made_with, pseudonyms)
    (out / "images").mkdir(exist_ok=True)
    references = resolved = 0
    shown: list[tuple[str, tuple[object, ...]]] = []
    with AtomicText(out / "key_images.csv") as found, AtomicText(out / "unresolved.csv") as lost:
        rows, unresolved = csv.writer(found.file), csv.writer(lost.file)
        rows.writerow(_COLUMNS)
        unresolved.writerow((*_COLUMNS[1:], "reason"))
        for line in _drawn(database, out, label, pseudonyms, progress):
            references += 1
            reference = line.reference if isinstance(line, _Drawn) else line[0]
            cells = _cells(reference, pseudonyms, with_sentences=with_sentences)
            if isinstance(line, _Drawn):
                resolved += 1
                rows.writerow((line.image, *cells))
                if len(shown) < _SHOWN:
                    shown.append((line.image, cells))
            else:
                unresolved.writerow((*cells, line[1].reason))
    write_whole(out / "index.html", _page(shown).encode())
    pictures = sum(1 for _ in (out / "images").glob("*.png"))
    return KeyImages(references=references, resolved=resolved, pictures=pictures)


def _drawn(
    database: Database,
    out: Path,
    label: str | None,
    pseudonyms: Pseudonyms,
    progress: Callable[[], None],
) -> Iterator[_Drawn | tuple[ImageReference, Unresolved]]:
    """Every reference with its picture written, or with the reason why there is none.

    A report's references are of one study, whose headers are read once for all of them.
    """
    for study_uid, references in groupby(image_references(database, label), key=_study_of):
        series = numbered(files_of(database, study_uid)) if study_uid is not None else ()
        for reference in references:
            if study_uid is None:
                yield reference, Unresolved(reason="the report has no study here")
                continue
            frame = resolve(reference, series)
            if isinstance(frame, NumberedFrame):
                yield _draw(reference, frame, out, pseudonyms)
            else:
                yield reference, frame
        progress()


def _study_of(reference: ImageReference) -> StudyUid | None:
    return reference.study_uid


def numbered(files: Sequence[StoredFile]) -> tuple[NumberedSeries, ...]:
    """The images of a study by the numbers a person calls them; what is no grey image is passed."""
    return tuple(
        NumberedSeries(
            series_uid=series_uid,
            number=number,
            frames=tuple(frame for file in members for frame in _frames(file)),
        )
        for (series_uid, number), members in groupby(
            files, key=lambda file: (file.series_uid, file.series_number)
        )
    )


def _frames(file: StoredFile) -> Iterator[NumberedFrame]:
    try:
        _, image = read_display_header(file.path)
    except UnsupportedImage:
        return
    numbers: Sequence[int | None] = (image.instance_number,)
    if image.layout.frames > 1:
        numbers = range(1, image.layout.frames + 1)
    for index, number in enumerate(numbers):
        if number is not None:
            yield NumberedFrame(
                number=number,
                sop_instance_uid=file.sop_instance_uid,
                path=file.path,
                index=index,
            )


def _draw(
    reference: ImageReference, frame: NumberedFrame, out: Path, pseudonyms: Pseudonyms
) -> _Drawn | tuple[ImageReference, Unresolved]:
    name = pseudonyms.of("image", f"{frame.sop_instance_uid}#{frame.index}") + ".png"
    target = out / "images" / name
    if not target.exists():
        try:
            ds, image = read_display_header(frame.path)
            shown = brightness(ds, image, frame.index)
        except UnsupportedImage as exc:
            return reference, Unresolved(reason=str(exc))
        placement = Placement.of(
            rows=image.layout.rows,
            columns=image.layout.columns,
            spacing=read_pixel_size(ds).spacing,
            size=SIZE,
            fit=Fit.PAD,
        )
        write_whole(target, square_png(shown.values, placement))
    return _Drawn(reference=reference, image=name)


def _cells(
    reference: ImageReference, pseudonyms: Pseudonyms, *, with_sentences: bool
) -> tuple[object, ...]:
    study = patient = ""
    if reference.study_uid:
        study = pseudonyms.of("study", reference.study_uid)
        patient = pseudonyms.of("patient", person(reference.patient_id, reference.study_uid))
    series = reference.series_number
    return (
        pseudonyms.of("report", str(reference.report_id)),
        study,
        patient,
        "" if series is None else series,
        reference.image_number,
        reference.label or "",
        reference.concept,
        reference.assertion,
        reference.sentence if with_sentences else "",
    )


def _page(shown: Sequence[tuple[str, tuple[object, ...]]]) -> str:
    """Pictures with their words, to look at in a browser without a server."""
    figures = "\n".join(
        f'<figure><img src="images/{image}" width="{SIZE}" height="{SIZE}" alt="">'
        f"<figcaption><b>{html.escape(str(cells[6]))}</b> ({html.escape(str(cells[7]))})<br>"
        f"{html.escape(str(cells[8]))}</figcaption></figure>"
        for image, cells in shown
    )
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Key images</title>
<style>
body {{ background: #0b0d11; color: #eceff4; font: 15px/1.4 sans-serif; margin: 1.5rem; }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, {SIZE}px); gap: 1rem; }}
figure {{ margin: 0; }} figcaption {{ padding: .3rem 0; }} b {{ color: #ffc43d; }}
</style>
<h1>Images that reports point to</h1>
<p>The first {len(shown)}. Research use only.</p>
<main>
{figures}
</main></html>
"""
