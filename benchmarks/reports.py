"""Reports labelled per second, beside a plain spaCy parse of the same sentences.

    python benchmarks/reports.py [--rounds 3] [--workers 2]

Reads `openi/reports_dev.csv` under `$DICOMNODE_DATA`, or `../shared/data` beside the repository.
Times are CPU seconds of this process, best of the rounds, each with an empty memory; the language
model is loaded before, but for windows only, which knows no model. The ratios are the figures to
compare between machines. Workers are timed by the clock, start of processes included, on a larger
file of the same reports in which no sentence occurs twice.
"""

import argparse
import csv
import os
import re
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

from dicomnode.domain.reports import Report
from dicomnode.reports import Miner, MinerSetup, label_csv, open_miner
from dicomnode.reports.evaluation import read_gold
from dicomnode.reports.graph import MODEL
from dicomnode.reports.sections import split_sections
from dicomnode.reports.sentences import split_sentences, split_short

DATA = Path(os.environ.get("DICOMNODE_DATA", Path(__file__).parents[2] / "shared" / "data"))
SOURCE = DATA / "openi" / "reports_dev.csv"
BATCH = 500
SAMPLE = 2000
"""Sentences a plain parse is timed on; all of them would take minutes."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--copies", type=int, default=20, help="of the reports, for the workers")
    options = parser.parse_args()
    reports = read_gold(SOURCE).reports
    sentences = sentences_of(reports, open_miner(MinerSetup()))
    print(f"{len(reports)} reports, {len(sentences)} sentences, {len(set(sentences))} distinct")
    windows = max(mined_once(reports, graph=False) for _ in range(options.rounds))
    print(f"windows only: {windows:.0f} reports per CPU second")
    plain = {
        "plain spaCy, whole pipeline": plain_parse(sentences, len(reports), exclude=[]),
        "plain spaCy, parser alone": plain_parse(
            sentences,
            len(reports),
            exclude=["tagger", "ner", "lemmatizer", "attribute_ruler", "senter"],
        ),
    }
    for name, rate in plain.items():
        print(f"{name}: {rate:.0f} reports per CPU second")
    whole = max(mined_once(reports, graph=True) for _ in range(options.rounds))
    hardest = max(plain.values())
    print(f"windows and graph: {whole:.0f} reports per CPU second")
    print(f"parser alone = 1: windows only {windows / hardest:.1f}, both {whole / hardest:.1f}")
    print(f"windows and graph, sentences known: {known(reports):.0f} reports per CPU second")
    wall(reports, options.workers, options.copies)


def sentences_of(reports: tuple[Report, ...], miner: Miner) -> list[str]:
    return [
        text[start:end]
        for report in reports
        for section in split_sections(report, miner.lexicon.headings)
        if section.kind.asserts
        for text in (section.span.of(report.parts[section.part].text),)
        for start, end in split_sentences(text)
    ]


def plain_parse(sentences: list[str], reports: int, *, exclude: list[str]) -> float:
    """Reports per CPU second if every sentence were parsed."""
    import spacy

    language = spacy.load(MODEL, exclude=exclude)
    list(language.pipe(sentences[:50]))
    step = max(1, len(sentences) // SAMPLE)
    sample = sentences[::step]
    seconds = cpu(lambda: list(language.pipe(sample, batch_size=256)))
    return reports / (seconds * len(sentences) / len(sample))


def mined_once(reports: tuple[Report, ...], *, graph: bool) -> float:
    miner = warm(graph=graph)
    return len(reports) / cpu(lambda: run(miner, reports))


def known(reports: tuple[Report, ...]) -> float:
    miner = warm(graph=True)
    run(miner, reports)
    return len(reports) / cpu(lambda: run(miner, reports))


def warm(*, graph: bool) -> Miner:
    """A miner that has loaded its model and remembers nothing of the reports."""
    split_short.cache_clear()
    miner = open_miner(MinerSetup(policy="openi", graph=graph))
    if miner.graph is not None:
        miner.graph.load()
    return miner


def run(miner: Miner, reports: tuple[Report, ...]) -> None:
    for first in range(0, len(reports), BATCH):
        miner.values(reports[first : first + BATCH])


def wall(reports: tuple[Report, ...], workers: int, copies: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "reports.csv"
        write_copies(source, reports, copies)
        for processes in (1, workers):
            begun = time.perf_counter()
            done = label_csv(
                source,
                Path(folder) / "out.csv",
                setup=MinerSetup(policy="openi"),
                workers=processes,
            )
            seconds = time.perf_counter() - begun
            print(f"label_csv, workers {processes}: {done.rows} reports in {seconds:.1f} s wall")


def write_copies(path: Path, reports: tuple[Report, ...], copies: int) -> None:
    """The reports again and again, every sentence with a film number of its own."""
    films = count(1)
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["uid", "findings", "impression"])
        for copy in range(copies):
            for number, report in enumerate(reports):
                text = re.sub(r"\.(?= |$)", lambda _: f", film {next(films)}.", whole_text(report))
                table.writerow([f"{copy}-{number}", text, ""])


def whole_text(report: Report) -> str:
    return " ".join(part.text for part in report.parts)


def cpu(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


if __name__ == "__main__":
    main()
