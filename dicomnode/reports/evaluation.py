"""Score labels against a gold standard, and a policy on reports it was not fitted to."""

import csv
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dicomnode.domain.reports import (
    Assertion,
    Circumstance,
    Hedge,
    Report,
    ReportLabels,
    ReportPart,
)

EIGHT = (
    "atelectasis",
    "cardiomegaly",
    "effusion",
    "infiltration",
    "mass",
    "nodule",
    "pneumonia",
    "pneumothorax",
)
NINE = (*EIGHT, "normal")
FOURTEEN = (
    *EIGHT,
    *("consolidation", "edema", "emphysema", "fibrosis", "pleural_thickening", "hernia"),
)

CHESTXRAY8: Mapping[str, tuple[float, float, float]] = {
    "atelectasis": (0.99, 0.85, 0.91),
    "cardiomegaly": (1.00, 0.79, 0.88),
    "effusion": (0.93, 0.82, 0.87),
    "infiltration": (0.74, 0.87, 0.80),
    "mass": (0.75, 0.40, 0.52),
    "nodule": (0.96, 0.62, 0.75),
    "pneumonia": (0.66, 0.93, 0.77),
    "pneumothorax": (0.90, 0.82, 0.86),
    "normal": (0.87, 0.99, 0.93),
}
"""Precision, recall and F of ChestX-ray8 on all of OpenI (Wang et al., CVPR 2017, table 2)."""

Bools = npt.NDArray[np.bool_]
Table = Mapping[str, Bools]
"""Label -> one truth value per report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Counts of one label, or of several together."""

    true_positives: int
    false_positives: int
    false_negatives: int

    @property
    def support(self) -> int:
        """How many the gold standard has."""
        return self.true_positives + self.false_negatives

    @property
    def precision(self) -> float:
        """1.0 if nothing was found."""
        found = self.true_positives + self.false_positives
        return self.true_positives / found if found else 1.0

    @property
    def recall(self) -> float:
        """1.0 if there was nothing to find."""
        return self.true_positives / self.support if self.support else 1.0

    @property
    def f(self) -> float:
        """Harmonic mean of precision and recall."""
        total = 2 * self.true_positives + self.false_positives + self.false_negatives
        return 2 * self.true_positives / total if total else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gold:
    """Reports with what a gold standard says of them."""

    reports: tuple[Report, ...]
    truth: Table
    folds: npt.NDArray[np.int_]
    """0 to 9 by text, so that a text repeated word for word stays on one side of a split."""
    has_text: Bools
    is_indexed: Bools
    """False where the gold standard says that nobody indexed the report."""


def read_gold(path: Path) -> Gold:
    """A CSV file with `uid`, `findings`, `impression` and a 0/1 column per label."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = ("findings", "impression")
    texts = ["\n".join(row[name] for name in names) for row in rows]
    return Gold(
        reports=tuple(
            Report(
                report_id=row["uid"],
                parts=tuple(ReportPart(name=name, text=row[name]) for name in names),
            )
            for row in rows
        ),
        truth={
            label: np.array([row[label] == "1" for row in rows]) for label in (*FOURTEEN, "normal")
        },
        folds=np.array([hashlib.sha256(text.encode()).digest()[0] % 10 for text in texts]),
        is_indexed=np.array([row.get("mesh_major") != "No Indexing" for row in rows]),
        has_text=np.array([bool(text.strip()) for text in texts]),
    )


def score(truth: Bools, predicted: Bools) -> Score:
    """Counts of one label."""
    return Score(
        true_positives=int((truth & predicted).sum()),
        false_positives=int((~truth & predicted).sum()),
        false_negatives=int((truth & ~predicted).sum()),
    )


def micro(truth: Table, predicted: Table, labels: Sequence[str]) -> Score:
    """Counts of several labels together."""
    scores = [score(truth[label], predicted[label]) for label in labels]
    return Score(
        true_positives=sum(each.true_positives for each in scores),
        false_positives=sum(each.false_positives for each in scores),
        false_negatives=sum(each.false_negatives for each in scores),
    )


def weighted(truth: Table, predicted: Table, labels: Sequence[str]) -> tuple[float, float, float]:
    """Precision, recall and F, each row weighted by its support, as ChestX-ray8's total is."""
    scores = [score(truth[label], predicted[label]) for label in labels]
    total = sum(each.support for each in scores)
    return (
        sum(each.precision * each.support for each in scores) / total,
        sum(each.recall * each.support for each in scores) / total,
        sum(each.f * each.support for each in scores) / total,
    )


def interval(
    truth: Table,
    predicted: Table,
    measure: Callable[[Table, Table], float],
    rng: np.random.Generator,
    rounds: int = 1000,
) -> tuple[float, float]:
    """95 % bootstrap interval over reports."""
    size = len(next(iter(truth.values())))
    values = []
    for _ in range(rounds):
        drawn = rng.integers(0, size, size)
        values.append(measure(taken(truth, drawn), taken(predicted, drawn)))
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def taken(table: Table, rows: npt.NDArray[np.int_] | Bools) -> Table:
    """The table of some reports only."""
    return {label: values[rows] for label, values in table.items()}


Cell = tuple[str, Assertion, Hedge]


def cells_of(mined: Sequence[ReportLabels], label: str | None) -> list[frozenset[Cell]]:
    """Per report, what was written for `label` (None: for anything at all) and not denied."""
    return [
        frozenset(
            (mention.concept, mention.assertion, mention.hedge)
            for mention in labels.mentions
            if (label is None or mention.label == label)
            and mention.assertion is not Assertion.ABSENT
            and mention.circumstance is Circumstance.CURRENT
        )
        for labels in mined
    ]


def fitted_cells(cells: Sequence[frozenset[Cell]], truth: Bools) -> frozenset[Cell]:
    """Which cells a policy has to count, so that F on these reports is best.

    Starts from all; takes out (or back in) one at a time while that helps.
    """
    counted = {cell for each in cells for cell in each}
    known = sorted(counted, key=repr)
    best = score(truth, counting(cells, counted)).f
    for _ in range(3):
        before = best
        for cell in known:
            changed = counted ^ {cell}
            value = score(truth, counting(cells, changed)).f
            if value > best:
                counted, best = changed, value
        if best == before:
            break
    return frozenset(counted)


def counting(cells: Sequence[frozenset[Cell]], counted: frozenset[Cell] | set[Cell]) -> Bools:
    """Per report, whether any of its cells counts."""
    return np.array([not each.isdisjoint(counted) for each in cells])


def out_of_fold(gold: Gold, mined: Sequence[ReportLabels]) -> Table:
    """Predictions for every report by a policy that was fitted to the other folds only."""
    predicted: dict[str, Bools] = {}
    for label in NINE:
        cells = cells_of(mined, None if label == "normal" else label)
        wanted = ~gold.truth[label] if label == "normal" else gold.truth[label]
        column = np.zeros(len(cells), dtype=bool)
        for fold in range(10):
            held = gold.folds == fold
            train = [each for each, out in zip(cells, held, strict=True) if not out]
            counted = fitted_cells(train, wanted[~held])
            test = [each for each, out in zip(cells, held, strict=True) if out]
            column[held] = counting(test, counted)
        predicted[label] = (~column & gold.has_text) if label == "normal" else column
    return predicted
