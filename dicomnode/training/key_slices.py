"""DeepLesion, or a site's marks laid out like it, in parts by patient; judged by key slices."""

import csv
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dicomnode.domain.errors import StudyError
from dicomnode.evaluate.key_slices import IMAGES, TABLE, KeyCase, is_deep_lesion, read_key_cases
from dicomnode.evaluate.run import Tick
from dicomnode.networks.deep_lesion import Part
from dicomnode.pipeline.bundle import BundleAlgorithm
from dicomnode.training.judging import Asked, Division
from dicomnode.training.marked import MarksHeldOut
from dicomnode.training.patients import check_not_learned, sides_of, write_patients

_FILE, _PART = "file_name", "train_val_test"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Divided:
    """Each patient's part."""

    part_of: Mapping[str, Part]
    by_table: bool
    """As the table divides them."""

    def of(self, *parts: Part) -> frozenset[str]:
        """Patients of some parts."""
        return frozenset(name for name, part in self.part_of.items() if part in parts)


def divide_key_slices(asked: Asked, algorithm: BundleAlgorithm, tick: Tick) -> Division:
    """Implements `judging.Divide`; tables of the parts, and links to the images.

    The table's own division holds where it has a part to learn from and one to judge by;
    otherwise `--hold-out` and `--dev` are shares of the patients, as for other marks.
    """
    if not is_deep_lesion(asked.data):
        raise StudyError(
            f"{algorithm.identity.name} learns from key slices: lay {TABLE} and {IMAGES} out as "
            "DeepLesion does (docs/training.md)"
        )
    cases, missing = read_key_cases(asked.data)
    divided = _divided(cases, asked)
    held_out = divided.of(Part.TEST)
    check_not_learned(asked.out, held_out)
    learned = asked.out / "learned"
    _write(asked.data, learned, divided, cases, (Part.TRAIN, Part.VALIDATION))
    judge = None
    if held_out:
        _write(asked.data, asked.out / "held_out", divided, cases, (Part.TEST,))
        judge = MarksHeldOut(folder=asked.out / "held_out", asked=asked, tick=tick)
    people, lesions = divided.of(Part.TRAIN), _lesions(cases, divided.of(Part.TRAIN))
    return Division(
        learned=learned,
        said=f"Trained further on {lesions} marked lesions of {len(people)} patients. "
        "Operating points are as shipped.",
        told=tuple(_told(cases, divided, missing)),
        judge=judge,
    )


def _divided(cases: Sequence[KeyCase], asked: Asked) -> _Divided:
    part_of: dict[str, Part] = {}
    for one in cases:
        patient, part = one.case.patient, one.key.part
        if part_of.setdefault(patient, part) is not part:
            raise StudyError(f"{TABLE} has the patient {patient} in two parts")
    if {Part.TRAIN, Part.TEST} <= set(part_of.values()):
        return _Divided(part_of=part_of, by_table=True)
    sides = sides_of(part_of.keys(), held_out=asked.hold_out, dev=asked.dev)
    names = {
        Part.TEST: sides.held_out,
        Part.VALIDATION: sides.dev,
        Part.TRAIN: sides.learned,
    }
    return _Divided(
        part_of={name: part for part, side in names.items() for name in side}, by_table=False
    )


def _write(
    data: Path, folder: Path, divided: _Divided, cases: Sequence[KeyCase], parts: Sequence[Part]
) -> None:
    """The rows of some parts, and the images as they are."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / IMAGES).symlink_to((data / IMAGES).resolve(), target_is_directory=True)
    with (
        (data / TABLE).open(encoding="utf-8-sig", newline="") as source,
        (folder / TABLE).open("w", encoding="utf-8", newline="") as target,
    ):
        rows = csv.DictReader(source)
        names = {(name or "").strip().lower(): name for name in rows.fieldnames or ()}
        written = csv.DictWriter(target, rows.fieldnames or (), extrasaction="ignore")
        written.writeheader()
        for row in rows:
            part = divided.part_of.get(row[names[_FILE]].strip().split("_")[0])
            if part is not None and part in parts:
                written.writerow({**row, names[_PART]: part.value})
    people = divided.of(*parts)
    write_patients(
        folder,
        ((one.case.name, one.case.patient) for one in cases if one.case.patient in people),
    )


def _told(cases: Sequence[KeyCase], divided: _Divided, missing: int) -> Iterable[str]:
    yield "divided " + (
        "as the table has it (--hold-out and --dev do not matter)"
        if divided.by_table
        else "by the digests of the patients' names"
    )
    names = ("learned from", "the weights chosen by", "held out")
    for name, part in zip(names, Part, strict=True):
        people = divided.of(part)
        slices = sum(one.case.patient in people for one in cases)
        yield (
            f"{name}: {slices} key slices of {len(people)} patients, "
            f"{_lesions(cases, people)} lesions"
        )
    if missing:
        yield f"left out: {missing} key slices whose picture is not in {IMAGES}"


def _lesions(cases: Sequence[KeyCase], people: frozenset[str]) -> int:
    return sum(len(one.key.marks.boxes) for one in cases if one.case.patient in people)
