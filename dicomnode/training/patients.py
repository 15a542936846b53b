"""Who is learned from, who is judged by, and who neither: by the patient's name."""

import csv
import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from dicomnode.domain.errors import StudyError
from dicomnode.evaluate.pairs import read_patients


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """Patients of a folder, each on one side."""

    learned: frozenset[str]
    dev: frozenset[str]
    """Not learned from; thresholds may be read from them."""
    held_out: frozenset[str]
    """Nothing is learned or chosen by them."""


def sides_of(patients: Collection[str], *, held_out: float, dev: float = 0.0) -> Sides:
    """Divide patients by the digests of their names.

    So a folder that grows and a second run keep them apart; somebody learned from before is never
    on another side after. However few there are, somebody is learned from, somebody held out, and
    from three patients on somebody is on the dev side, wherever a share is asked for.

    Args:
        patients: their names.
        held_out: share of those to judge by.
        dev: share of those to read thresholds from.

    Raises:
        StudyError: one patient for two sides.
    """
    if held_out and len(set(patients)) < 2:
        raise StudyError(
            "one patient cannot be both learned from and judged by: add labelled images of others "
            "to the folder (patients.csv says whose they are; images of lesions without it are of "
            "the PatientID in their header), or hold none out (--hold-out 0)"
        )
    places = {name: _place(name) for name in patients}
    ranked = sorted(places, key=places.__getitem__)
    first = _count(places.values(), held_out, held_out, len(ranked) - 1)
    rest = [places[name] for name in ranked[first:]]
    last = first + _count(rest, held_out + dev, dev, len(rest) - 1)
    return Sides(
        learned=frozenset(ranked[last:]),
        dev=frozenset(ranked[first:last]),
        held_out=frozenset(ranked[:first]),
    )


def _count(places: Iterable[float], below: float, share: float, most: int) -> int:
    """How many places lie below a border, at most `most`; one at least if there is a share."""
    if not share:
        return 0
    return min(max(1, sum(place < below for place in places)), most)


def _place(patient: str) -> float:
    """From 0 to 1, evenly, by the name."""
    return int.from_bytes(hashlib.sha256(patient.encode()).digest()[:8]) / 2**64


def check_not_learned(out: Path, others: Collection[str]) -> None:
    """Refuse to judge by patients whom an earlier call with this `out` learned from.

    Raises:
        StudyError: there is one.
    """
    if set(others) & set(read_patients(out / "learned").values()):
        raise StudyError(
            f"{out} holds a training that learned from patients who would be held out now: go on "
            "with the same shares (--hold-out, --dev), or take another --out"
        )


def write_patients(folder: Path, patient_of: Iterable[tuple[str, str]]) -> None:
    """Write `patients.csv`: image and patient."""
    with (folder / "patients.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("image", "patient"))
        rows.writerows(patient_of)
