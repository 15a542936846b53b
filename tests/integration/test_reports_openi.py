"""Labels against the gold standard of OpenI, and the whole batch in several processes."""

import csv
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from dicomnode.domain.reports import Label
from dicomnode.reports import MinerSetup, label_csv, open_miner
from dicomnode.reports.evaluation import (
    CHESTXRAY8,
    EIGHT,
    NINE,
    Gold,
    Table,
    micro,
    read_gold,
    score,
    taken,
    weighted,
)

DATA = Path(os.environ.get("DICOMNODE_DATA", Path(__file__).parents[3] / "shared" / "data"))
DEV = DATA / "openi" / "reports_dev.csv"


@cache
def labelled() -> tuple[Gold, Table]:
    if not DEV.exists():
        pytest.skip(f"the OpenI reports are not there: {DEV} (set DICOMNODE_DATA)")
    gold = read_gold(DEV)
    mined = open_miner(MinerSetup(policy="openi")).values(gold.reports)
    predicted = {
        label: np.array([each.values.get(label) is Label.POSITIVE for each in mined])
        for label in EIGHT
    }
    return gold, {**predicted, "normal": np.array([each.normal for each in mined])}


def test_the_eight_diseases_reach_the_bar() -> None:
    gold, predicted = labelled()
    assert micro(gold.truth, predicted, EIGHT).f >= 0.97


def test_the_nine_rows_reach_the_bar() -> None:
    gold, predicted = labelled()
    assert micro(gold.truth, predicted, NINE).f >= 0.955
    precision, recall, f = weighted(gold.truth, predicted, NINE)
    assert min(precision, recall, f) >= 0.95


def test_where_there_is_a_text_and_an_index_the_nine_rows_reach_the_bar() -> None:
    gold, predicted = labelled()
    some = gold.has_text & gold.is_indexed
    assert micro(taken(gold.truth, some), taken(predicted, some), NINE).f >= 0.955


@pytest.mark.parametrize("label", NINE)
def test_every_row_is_above_chestxray8(label: str) -> None:
    gold, predicted = labelled()
    assert score(gold.truth[label], predicted[label]).f > CHESTXRAY8[label][2]


def test_two_workers_write_what_one_writes(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    with source.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["uid", "findings", "impression"])
        writer.writerows(
            [number, f"No effusion. A {number} mm nodule.", "Possible edema." if number % 3 else ""]
            for number in range(1, 1800)
        )
    written = []
    for workers in (1, 2):
        output = tmp_path / f"{workers}.csv"
        label_csv(source, output, setup=MinerSetup(graph=False), workers=workers)
        written.append(output.read_bytes())
    assert written[0] == written[1]
