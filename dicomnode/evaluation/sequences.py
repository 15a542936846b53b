"""BLEU: how much of what was written stands in the reference, word by word and in runs of words."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from dicomnode.evaluation.ranking import Numbers

Words = Sequence[str]


def bleu(written: Sequence[Words], references: Sequence[Words], longest: int = 4) -> float:
    """BLEU of a corpus, one reference each, up to runs of `longest` words; 0 to 1.

    The geometric mean of the precisions of runs of 1 to `longest` words, each counted over the
    whole corpus and no run more often than its reference has it, times the brevity penalty
    (Papineni et al., ACL 2002). 0 if no run of some length fits; nan if no reference is long
    enough for `longest`.
    """
    return bleu_of(run_counts(written, references, longest))


def run_counts(written: Sequence[Words], references: Sequence[Words], longest: int) -> Numbers:
    """(rows, longest, 3): runs that fit, runs that were written, runs of the reference.

    Each row stands for one sequence, so that BLEU of any choice of rows follows by `bleu_of`.
    """
    counts = np.zeros((len(written), longest, 3))
    for row, (said, wanted) in enumerate(zip(written, references, strict=True)):
        for n in range(longest):
            runs, known = _runs(said, n + 1), _runs(wanted, n + 1)
            counts[row, n] = (runs & known).total(), runs.total(), known.total()
    return counts


def bleu_of(counts: Numbers) -> float:
    """BLEU of the rows of `run_counts`."""
    shared, said, wanted = counts.sum(0).T
    if wanted[-1] == 0:
        return float("nan")
    if not shared.all():
        return 0.0
    brevity = min(0.0, 1 - wanted[0] / said[0])
    return float(np.exp(np.log(shared / said).mean() + brevity))


def _runs(words: Words, length: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[n : n + length]) for n in range(len(words) - length + 1))
