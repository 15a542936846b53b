"""Labels against the gold standard of OpenI: `python benchmarks/reports_quality.py`.

Reads `openi/reports_dev.csv` under `$DICOMNODE_DATA`, or `../shared/data` beside the repository.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from dicomnode.domain.reports import Assertion, Hedge, Label, Report, ReportLabels
from dicomnode.reports import Miner, MinerSetup, open_miner
from dicomnode.reports.assertion import HEDGES
from dicomnode.reports.combine import assertion_of
from dicomnode.reports.evaluation import (
    CHESTXRAY8,
    EIGHT,
    FOURTEEN,
    NINE,
    Gold,
    Table,
    interval,
    micro,
    out_of_fold,
    read_gold,
    score,
    taken,
    weighted,
)
from dicomnode.reports.graph import GraphOpinion
from dicomnode.reports.lexicon import Finding
from dicomnode.reports.sections import split_sections
from dicomnode.reports.sentences import split_sentences
from dicomnode.reports.skeleton import skeleton_of
from dicomnode.reports.statements import read_sentence

DATA = Path(os.environ.get("DICOMNODE_DATA", Path(__file__).parents[2] / "shared" / "data"))
SEED = 8


def main() -> None:
    gold = read_gold(DATA / "openi" / "reports_dev.csv")
    mined = open_miner(MinerSetup(policy="openi")).mine(gold.reports)
    predicted = table_of(mined)
    print_rows(gold.truth, predicted)
    print_totals("all reports", gold.truth, predicted)
    with_words = {**predicted, "normal": predicted["normal"] & gold.has_text}
    print_totals("all reports, none without text called normal", gold.truth, with_words)
    some = gold.has_text
    print_totals("reports with text", taken(gold.truth, some), taken(predicted, some))
    some = gold.has_text & gold.is_indexed
    print_totals("reports with text and headings", taken(gold.truth, some), taken(predicted, some))
    print_ablation(gold)
    print_folds(gold, mined, predicted)


def table_of(mined: list[ReportLabels]) -> Table:
    table = {
        label: np.array([each.labels[label].value is Label.POSITIVE for each in mined])
        for label in FOURTEEN
    }
    return {**table, "normal": np.array([each.normal for each in mined])}


def print_rows(truth: Table, predicted: Table) -> None:
    print("| label | n | P | R | F | F, 95 % interval | ChestX-ray8 P / R / F |")
    print("|---|---|---|---|---|---|---|")
    for label in (*FOURTEEN, "normal"):
        if not truth[label].any():
            continue
        row = score(truth[label], predicted[label])
        low, high = interval(
            {label: truth[label]},
            {label: predicted[label]},
            lambda one, other, label=label: score(one[label], other[label]).f,  # type: ignore[misc]
            np.random.default_rng(SEED),
        )
        theirs = " / ".join(f"{value:.2f}" for value in CHESTXRAY8.get(label, ()))
        print(
            f"| {label} | {row.support} | {row.precision:.3f} | {row.recall:.3f} | {row.f:.3f} "
            f"| {low:.3f} to {high:.3f} | {theirs} |"
        )


def print_totals(name: str, truth: Table, predicted: Table) -> None:
    print(f"\n{name}, n = {len(truth['normal'])}")
    for words, labels in (("8 diseases", EIGHT), ("9 rows with normal", NINE)):
        row = micro(truth, predicted, labels)
        low, high = interval(
            truth,
            predicted,
            lambda one, other, labels=labels: micro(one, other, labels).f,  # type: ignore[misc]
            np.random.default_rng(SEED),
            300,
        )
        print(
            f"micro, {words}: P {row.precision:.4f} R {row.recall:.4f} F {row.f:.4f} "
            f"({low:.3f} to {high:.3f})"
        )
    print("weighted total: P {:.4f} R {:.4f} F {:.4f}".format(*weighted(truth, predicted, NINE)))


def print_ablation(gold: Gold) -> None:
    """What each reader adds: the same mentions, judged by less."""
    print("\n| reader | micro F, 8 diseases | micro F, 9 rows |\n|---|---|---|")
    hybrid = open_miner(MinerSetup(policy="openi")).mine(gold.reports)
    windows = open_miner(MinerSetup(policy="openi", graph=False)).mine(gold.reports)
    for name, table in (
        ("no negation", mentioned(hybrid)),
        ("graph alone", graph_alone(gold)),
        ("windows alone", table_of(windows)),
        ("windows and graph", table_of(hybrid)),
    ):
        print(
            f"| {name} | {micro(gold.truth, table, EIGHT).f:.3f} "
            f"| {micro(gold.truth, table, NINE).f:.3f} |"
        )
    for policy in ("strict", "chestxray8"):
        table = table_of(open_miner(MinerSetup(policy=policy)).mine(gold.reports))
        print(
            f"| policy {policy} | {micro(gold.truth, table, EIGHT).f:.3f} "
            f"| {micro(gold.truth, table, NINE).f:.3f} |"
        )
    apart = sum(mention.decision.disagrees for each in hybrid for mention in each.mentions)
    asked = sum(mention.decision.graph is not None for each in hybrid for mention in each.mentions)
    print(f"mentions the graph had an opinion on: {asked}; against the windows: {apart}")


def graph_alone(gold: Gold) -> Table:
    """Every sentence with a finding and a cue is parsed, and the windows are not asked."""
    miner = open_miner(MinerSetup(policy="openi"))
    votes = [graph_votes(report, miner) for report in gold.reports]
    table = {label: np.array([label in each for each, _ in votes]) for label in FOURTEEN}
    return {**table, "normal": np.array([normal for _, normal in votes]) & gold.has_text}


def graph_votes(report: Report, miner: Miner) -> tuple[set[str], bool]:
    labels: set[str] = set()
    normal = True
    for section in split_sections(report, miner.lexicon.headings):
        text = section.span.of(report.parts[section.part].text)
        for start, end in split_sentences(text) if section.kind.asserts else ():
            for finding, opinion in graph_opinions(text[start:end], miner):
                assertion = assertion_of(opinion) or Assertion.PRESENT
                hedge = HEDGES.get(opinion.effect, Hedge.NONE) if opinion else Hedge.NONE
                if miner.policy.counted(finding, assertion, hedge) is Assertion.PRESENT:
                    labels.add(finding.label or "")
                if miner.policy.speaks_against_normal(finding, assertion, hedge):
                    normal = False
    return labels, normal


def graph_opinions(sentence: str, miner: Miner) -> Iterator[tuple[Finding, GraphOpinion | None]]:
    read = read_sentence(sentence, miner.lexicon, ask_graph=False)
    opinions: Sequence[GraphOpinion | None] = (None,) * len(read.found.terms)
    if miner.graph is not None and read.found.cues and read.found.terms:
        opinions = miner.graph.opinions(skeleton_of(read.words, read.found))
    for term, opinion in zip(read.found.terms, opinions, strict=True):
        if not term.meaning.absent:
            yield term.meaning.finding, opinion


def mentioned(mined: list[ReportLabels]) -> Table:
    """Every mention counts, whatever is said of it."""
    table = {
        label: np.array([any(m.label == label for m in each.mentions) for each in mined])
        for label in FOURTEEN
    }
    return {**table, "normal": np.array([not each.mentions for each in mined])}


def print_folds(gold: Gold, mined: list[ReportLabels], predicted: Table) -> None:
    print("\npolicy fitted to nine folds, scored on the tenth (split by text)")
    held = out_of_fold(gold, mined)
    for name, table in (("refitted", held), ("shipped", predicted)):
        for words, labels in (("8 diseases", EIGHT), ("9 rows", NINE)):
            spread = [
                micro(
                    taken(gold.truth, gold.folds == fold), taken(table, gold.folds == fold), labels
                ).f
                for fold in range(10)
            ]
            whole = micro(gold.truth, table, labels).f
            print(
                f"{name}, {words}: F {whole:.4f}, per fold {np.mean(spread):.3f} "
                f"+- {np.std(spread):.3f} ({min(spread):.3f} to {max(spread):.3f})"
            )
    absent = sum(m.assertion is Assertion.ABSENT for each in mined for m in each.mentions)
    print(f"mentions: {sum(len(each.mentions) for each in mined)}, of them absent: {absent}")


if __name__ == "__main__":
    main()
