"""What a network writes of a radiograph, as captions: never below an operating point."""

from collections.abc import Iterable

from dicomnode.domain.errors import ContractBroken
from dicomnode.domain.findings import CaptionFinding
from dicomnode.pipeline.classes import Reading, check_reading, probability
from dicomnode.pipeline.manifest import ImageClass, Statements

_BETWEEN = " / "
_SIDES = ("right", "left")


def statements_of(
    reading: Reading, wanted: Statements, *, with_sides: bool = True
) -> tuple[CaptionFinding, ...]:
    """One caption for each reported class at or above its operating point; else one that says so.

    Words that are less certain than `at_least` are left out; so are right and left where sides
    are in doubt (`with_sides` False).

    Raises:
        ContractBroken: the network did not write, or not of these classes.
    """
    check_reading(reading, wanted)
    if reading.words is None or reading.certainty is None:
        raise ContractBroken("the network gave no words, but dicom.json wants statements")
    if reading.words.shape != reading.certainty.shape or len(reading.words) != len(wanted.classes):
        raise ContractBroken("the network did not write a sequence for each class")
    looked_for = {n: one for n, one in wanted.classes.items() if one.reported}
    said = []
    for number, one in looked_for.items():
        likely = probability(float(reading.logits[number]), one)
        if likely >= one.operating_point:
            context = _context(reading, number, wanted)
            if not with_sides:
                context = [word for word in context if word not in _SIDES]
            said.append(_statement(one, likely, context))
    return tuple(said) or (_nothing(looked_for.values()),)


def _context(reading: Reading, number: int, wanted: Statements) -> list[str]:
    if reading.words is None or reading.certainty is None:
        return []
    known = wanted.words.get(number, {})
    pairs = zip(reading.words[number].tolist(), reading.certainty[number].tolist(), strict=True)
    return [known[word] for word, sure in pairs if word in known and sure >= wanted.at_least]


def _statement(one: ImageClass, likely: float, context: list[str]) -> CaptionFinding:
    words = _BETWEEN.join([one.name.lower(), *context])
    return CaptionFinding(
        name=f"{one.name} in words",
        text=f"{words} (probability {likely:.2f}, operating point {one.operating_point:.2f})",
    )


def _nothing(looked_for: Iterable[ImageClass]) -> CaptionFinding:
    names = ", ".join(one.name.lower() for one in looked_for)
    return CaptionFinding(
        name="Nothing in words",
        text=(
            f"None of these is at its operating point: {names}. "
            "Nothing else was looked for; this does not say that the image is normal."
        ),
    )
