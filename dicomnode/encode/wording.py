"""Findings in a line of words, for pictures and annotations."""

from dicomnode.domain.codes import number_in_words
from dicomnode.domain.findings import (
    CaptionFinding,
    ClassFinding,
    Finding,
    LesionFinding,
    Measurement,
    SegmentFinding,
)
from dicomnode.encode.groups import numbers_of
from dicomnode.encode.origin import Origin
from dicomnode.encode.tracking import marks_of

RESEARCH_USE = "RESEARCH USE ONLY - NOT FOR DIAGNOSIS"


def title_of(origin: Origin) -> str:
    """The algorithm's title, name and version; the revision where it is a later one."""
    identity, revision = origin.identity, origin.derivation.revision
    again = f", revision {revision}" if revision > 1 else ""
    return f"{identity.title} ({identity.name} {identity.version}){again}"


def finding_in_words(finding: Finding) -> str:
    """`right lung: Volume 2,455 ml`."""
    numbers = ", ".join(numbers_in_words(finding))
    if isinstance(finding, CaptionFinding):
        return finding.text
    return f"{finding.name}: {numbers}" if numbers else finding.name


def numbers_in_words(finding: Finding) -> list[str]:
    """What was measured or judged, in the order of the lines drawn; `not found` for empty masks."""
    if isinstance(finding, CaptionFinding):
        return []
    if isinstance(finding, ClassFinding):
        verdict = "at or above" if finding.positive else "below"
        return [f"{finding.probability:.2f}, {verdict} {finding.operating_point:.2f}"]
    if isinstance(finding, SegmentFinding) and not finding.mask.any():
        return ["not found"]
    numbers = [mark.measurement for mark in marks_of(finding) if mark.measurement is not None]
    numbers += [number for number in finding.measurements if number not in numbers]
    told = [number_told(number, finding.name) for number in numbers]
    return [*told, f"Score {finding.score:.2f}"] if isinstance(finding, LesionFinding) else told


def told_beside_lines(finding: Finding) -> list[str]:
    """The finding's name, and what was measured or judged but is shown by none of its lines."""
    shown = [mark.measurement for mark in marks_of(finding)]
    lines = [number_told(number) for number in numbers_of(finding) if number not in shown]
    same = [line for line in lines if line.lower().startswith(f"{finding.name.lower()} ")]
    return [*(same or [finding.name]), *(line for line in lines if line not in same)]


def number_told(number: Measurement, finding: str = "") -> str:
    """Name and value; the value alone where the finding is called the same."""
    words = number_in_words(number.value, number.unit.value)
    if number.name.meaning.lower() == finding.lower():
        return words
    derived = f" ({number.derivation.meaning.lower()})" if number.derivation else ""
    return f"{number.name.meaning}{derived} {words}"
