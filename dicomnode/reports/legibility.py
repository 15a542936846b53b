"""Can this be read as a report? What cannot is kept and flagged, never guessed at."""

import re

from dicomnode.domain.reports import Reason, Report

LONGEST = 100_000
"""Code points; the longest real reports have a few ten thousand."""
FEWEST_WORDS = 8
SMALLEST_SHARE = 0.2

# Control characters other than white space do not occur in reports, nor does the replacement
# character that a wrong decoding leaves; one of the latter may be a single spoilt letter.
_BINARY = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]|\ufffd.*\ufffd", re.DOTALL)


def fault_of(report: Report) -> Reason | None:
    """Why the report cannot be mined, or None if it can."""
    if sum(len(part.text) for part in report.parts) > LONGEST:
        return Reason.TOO_LONG
    if any(not part.text.isprintable() and _BINARY.search(part.text) for part in report.parts):
        return Reason.NOT_TEXT
    return None


def is_other_language(words: int, known: int) -> bool:
    """True if hardly any of the `words` of a report may begin a phrase of the lexicon."""
    return words >= FEWEST_WORDS and known < SMALLEST_SHARE * words
