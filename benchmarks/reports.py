"""Reports labelled per second, beside a plain spaCy parse of the same sentences.

    python benchmarks/reports.py [--rounds 3] [--workers 2]

Reads `openi/reports_dev.csv` under `$DICOMNODE_DATA`, or `../shared/data` beside the repository.
Times are CPU seconds of this process, best of the rounds, each with an empty memory; the language
model is loaded before. The ratio is the figure to compare between machines.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
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
    options = parser.parse_args()
    reports = read_gold(SOURCE).reports
    sentences = sentences_of(reports, open_miner(MinerSetup()))
    print(f"{len(reports)} reports, {len(sentences)} sentences, {len(set(sentences))} distinct")
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
    hardest = max(plain.values())
    for name, graph in (("windows only", False), ("windows and graph", True)):
        rate = max(mined_once(reports, graph=graph) for _ in range(options.rounds))
        print(f"{name}: {rate:.0f} reports per CPU second, {rate / hardest:.1f} x parser alone")
    print(f"windows and graph, sentences known: {known(reports):.0f} reports per CPU second")
    wall(options.workers)


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


def wall(workers: int) -> None:
    """The command, start of processes included."""
    with tempfile.TemporaryDirectory() as folder:
        for count in (1, workers):
            begun = time.perf_counter()
            done = label_csv(
                SOURCE, Path(folder) / "out.csv", setup=MinerSetup(policy="openi"), workers=count
            )
            seconds = time.perf_counter() - begun
            print(f"label_csv, workers {count}: {done.rows} reports in {seconds:.1f} s wall")


def cpu(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


if __name__ == "__main__":
    main()
