"""The card of an exported data set: what is in it, how it came about, what it is not good for."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from dicomnode import __version__
from dicomnode.domain.exporting import LabelValue, Split
from dicomnode.export.dataset import DatasetOptions, ImageLine, LeftOut, Tally
from dicomnode.store.export_cases import UsedVersion


@dataclass(slots=True, kw_only=True)
class Counts:
    """What the card counts, one line after the other; patients come in order."""

    images: Counter[Split] = field(default_factory=Counter)
    patients: Counter[Split] = field(default_factory=Counter)
    labels: dict[str, Counter[tuple[Split, int]]] = field(
        default_factory=lambda: defaultdict(Counter)
    )
    normal: Counter[Split] = field(default_factory=Counter)
    views: Counter[str] = field(default_factory=Counter)
    sexes: Counter[str] = field(default_factory=Counter)
    ages: Counter[int] = field(default_factory=Counter)
    boxes: Counter[str] = field(default_factory=Counter)
    left_out: Counter[tuple[str, str]] = field(default_factory=Counter)
    last_patient: str = ""

    def add(self, line: ImageLine | LeftOut) -> None:
        """Count one image, or what was left out."""
        if isinstance(line, LeftOut):
            self.left_out[line.what, line.reason] += 1
            return
        self.images[line.split] += 1
        if line.patient != self.last_patient:
            self.patients[line.split] += 1
            self.last_patient = line.patient
        for label, value in line.labels.items():
            self.labels[label][line.split, value] += 1
        self.normal[line.split] += line.normal is True
        self.views[line.view] += 1
        self.sexes[line.sex or "not stated"] += 1
        if line.age is not None:
            self.ages[line.age] += 1
        self.boxes.update(box.finding for box in line.boxes)


def card(
    counts: Counts,
    tally: Tally,
    *,
    labels: Sequence[str],
    versions: Sequence[UsedVersion],
    options: DatasetOptions,
    made_at: datetime,
) -> str:
    """The card as Markdown."""
    return "\n".join(
        (
            *_head(counts, options, made_at),
            *_labels(counts, labels),
            *_people(counts),
            *_how(options, versions),
            *_left_out(counts, tally),
            *_LIMITS,
        )
    )


def _head(counts: Counts, options: DatasetOptions, made_at: datetime) -> Iterator[str]:
    yield "# Frontal chest radiographs with labels mined from their reports"
    yield ""
    yield f"Made by dicomnode {__version__} on {made_at:%Y-%m-%d}. Research use only."
    yield ""
    yield (
        f"{counts.images.total()} images of {counts.patients.total()} patients, "
        f"{options.size} x {options.size}, 8 bits, grey."
    )
    yield ""
    yield "| part | patients | images | normal |"
    yield "|---|---|---|---|"
    for split in Split:
        yield (
            f"| {split.value} | {counts.patients[split]} | {counts.images[split]} "
            f"| {counts.normal[split]} |"
        )
    yield ""


def _labels(counts: Counts, labels: Sequence[str]) -> Iterator[str]:
    yield "## Labels"
    yield ""
    yield "Images whose reports say: positive / uncertain / negative. The rest do not mention it."
    yield ""
    yield f"| label | {' | '.join(split.value for split in Split)} |"
    yield f"|---{'|---' * len(Split)}|"
    met = [label for label in labels if counts.labels[label]]
    for label in met:
        cells = []
        for split in Split:
            of = counts.labels[label]
            order = (LabelValue.POSITIVE, LabelValue.UNCERTAIN, LabelValue.NEGATIVE)
            cells.append(" / ".join(str(of[split, value.value]) for value in order))
        yield f"| {label} | {' | '.join(cells)} |"
    yield ""
    if never := [label for label in labels if label not in met]:
        yield f"Never mentioned: {', '.join(never)}."
        yield ""
    if counts.boxes:
        named = ", ".join(f"{name} {count}" for name, count in counts.boxes.most_common())
        yield f"Regions in `boxes.csv`, drawn by models or readers in SR objects: {named}."
        yield ""


def _people(counts: Counts) -> Iterator[str]:
    yield "## Who"
    yield ""
    yield f"- View: {_listed(counts.views)}"
    yield f"- Sex: {_listed(counts.sexes)}"
    if counts.ages:
        ages = list(counts.ages.elements())
        yield (
            f"- Age: {min(ages)} to {max(ages)} years, median {statistics.median(ages):g} "
            f"(known for {len(ages)} images; 90 stands for 90 and more)"
        )
    yield ""


def _how(options: DatasetOptions, versions: Sequence[UsedVersion]) -> Iterator[str]:
    yield "## How it came about"
    yield ""
    yield f"- Images: ViewPosition {' or '.join(options.views)}, {' or '.join(options.modalities)}."
    yield (
        "- Grey values: the header's VOI table or first window, else from darkest to brightest; "
        "MONOCHROME1 inverted."
    )
    yield (
        f"- Square: {options.fit.value}. A point (x, y) of the original lies at "
        "(x * scale_x + offset_x, y * scale_y + offset_y)."
    )
    for version in versions:
        yield (
            f"- Labels: miner {version.miner}, lexicons {version.lexicon}, policy {version.policy}."
        )
    yield (
        "- Parts: by a keyed digest of the patient (70 / 10 / 20 %), so a patient is in one part "
        "and stays there when the archive grows."
    )
    yield (
        "- Identity: names, dates and UIDs do not leave; patients, studies and images are named "
        "by keyed digests. The key stays at the site."
    )
    yield ""


def _left_out(counts: Counts, tally: Tally) -> Iterator[str]:
    yield "## Left out, and to be looked at"
    yield ""
    for (what, reason), count in counts.left_out.most_common():
        yield f"- {count} x {what}: {reason}"
    if tally.burned_in_not_stated:
        yield (
            f"- {tally.burned_in_not_stated} images do not say whether text is burned into their "
            "pixels (BurnedInAnnotation): look for names before you pass them on."
        )
    if tally.without_patient_id:
        yield (
            f"- {tally.without_patient_id} studies have no PatientID; each counts as a patient, "
            "so the same person may be in two parts."
        )
    for note, count in tally.notes.most_common():
        yield f"- {count} images: {note}"
    yield "- `left_out.csv` lists each one."
    yield ""


def _listed(counted: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counted.most_common())


_LIMITS = (
    """## What it must not be used for

- The labels are what reports say, read by software; nobody looked at the images for them. Their
  errors are those of the miner (its measured precision and recall are in its documentation) and of
  what radiologists choose to mention.
- The parts are of one archive. A figure on its test part says nothing about another site.
- Not for diagnosis, and not for training a product without the site's permission.
""",
)
