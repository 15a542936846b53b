"""A folder of outlined images in two by patient: one part to learn from, the other to judge by.

Both parts have the layout of `dicomnode.evaluate.pairs`; images and labels are links.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dicomnode.evaluate.names import meanings_for
from dicomnode.evaluate.pairs import Pair, read_pairs
from dicomnode.training.patients import check_not_learned, sides_of, write_patients


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part."""

    folder: Path
    images: int
    patients: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What is learned from, and what is not shown to training."""

    learned: Part
    held_out: Part | None


def divide(data: Path, out: Path, *, meanings: Mapping[int, str], share: float) -> Parts:
    """Link the pairs of `data` into `out/learned` and `out/held_out`.

    Args:
        data: the labelled folder.
        out: where both parts go; what an earlier call left there is replaced.
        meanings: of label numbers, where the folder has no `labels.json`; the bundle's segments.
        share: of patients to hold out; 0: none, and no figure can be given.

    Raises:
        StudyError: no pairs, too few patients for two parts, no label that can be judged, or a
            patient would be held out whom an earlier call with this `out` learned from.
    """
    pairs, said = read_pairs(data)
    chosen = sides_of({pair.patient for pair in pairs}, held_out=share).held_out
    check_not_learned(out, chosen)
    labels = said or meanings
    judged_as = dict(labels) | meanings_for(labels, set(meanings.values()))
    learned = [pair for pair in pairs if pair.patient not in chosen]
    judged = [pair for pair in pairs if pair.patient in chosen]
    return Parts(
        learned=_link(learned, labels, out / "learned"),
        held_out=_link(judged, judged_as, out / "held_out") if judged else None,
    )


def _link(pairs: Sequence[Pair], labels: Mapping[int, str], folder: Path) -> Part:
    shutil.rmtree(folder, ignore_errors=True)
    for pair in pairs:
        for kind, path in (("images", pair.image), ("labels", pair.truth)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            (folder / kind / path.name).symlink_to(path.resolve())
    written = {str(number): name for number, name in labels.items()}
    (folder / "labels.json").write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    write_patients(folder, ((pair.name, pair.patient) for pair in pairs))
    patients = len({pair.patient for pair in pairs})
    return Part(folder=folder, images=len(pairs), patients=patients)
