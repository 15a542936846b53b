"""Conditions read from the tables of a rule file."""

from collections.abc import Mapping, Sequence

from pydicom.datadict import keyword_dict

from dicomnode.rules.model import (
    NUMERIC_OPERATORS,
    PATTERN_OPERATORS,
    Condition,
    Kind,
    Operands,
    Operator,
    Subject,
)
from dicomnode.rules.patterns import fault_of_pattern
from dicomnode.rules.subjects import (
    ORIENTATIONS,
    SERIES_WORDS,
    STUDY_WORDS,
    VIEWS,
    kind_of_keyword,
)
from dicomnode.rules.toml_source import Path, TomlSource, suggestion

_CHOICES = {"orientation": ORIENTATIONS, "view": VIEWS}
_PLACES = {
    **dict.fromkeys(STUDY_WORDS, "[rule.study] or [[rule.raise]]"),
    **dict.fromkeys(SERIES_WORDS, "a [rule.series.…] table"),
}
_OPERATORS = {operator.value: operator for operator in Operator}


def read_conditions(
    source: TomlSource,
    path: Path,
    table: Mapping[str, object],
    *,
    words: Mapping[str, Kind],
    settings: frozenset[str] = frozenset(),
) -> tuple[Condition, ...]:
    """The conditions of `table`, which stands at `path`; faults are noted in `source`.

    `words` are our own subjects allowed here; keys in `settings` are not conditions.
    """
    conditions: list[Condition] = []
    for key, entry in table.items():
        if key in settings:
            continue
        subjects = _subjects(source, (*path, key), key, words, settings)
        if subjects is None:
            continue
        by_operator = entry if isinstance(entry, dict) else {Operator.ANY_OF.value: entry}
        for word, operand in by_operator.items():
            at = (*path, key, word) if isinstance(entry, dict) else (*path, key)
            condition = _condition(source, at, subjects, word, operand)
            if condition is not None:
                conditions.append(condition)
    return tuple(conditions)


def _subjects(
    source: TomlSource,
    path: Path,
    key: str,
    words: Mapping[str, Kind],
    settings: frozenset[str],
) -> tuple[Subject, ...] | None:
    subjects: list[Subject] = []
    for name in (part.strip() for part in key.split(" or ")):
        kind = words.get(name)
        if kind is None and (place := _PLACES.get(name)):
            source.fault(path, f"'{name}' cannot stand here; it belongs in {place}")
            return None
        if kind is None:
            try:
                kind = kind_of_keyword(name)
            except KeyError:
                own = name[:1].islower()
                known = [*words, *settings, *(() if own else keyword_dict)]
                hint = suggestion(name, known) or suggestion(name, keyword_dict)
                what = "word of rule files or DICOM keyword" if own else "DICOM keyword"
                source.fault(path, f"'{name}' is not a known {what}{hint}")
                return None
            if kind is None:
                source.fault(
                    path, f"{name} is a sequence, binary or not part of the image's own header"
                )
                return None
        subjects.append(Subject(word=name, kind=kind))
    return tuple(subjects)


def _condition(
    source: TomlSource, path: Path, subjects: tuple[Subject, ...], word: str, operand: object
) -> Condition | None:
    operator = _OPERATORS.get(word)
    if operator is None:
        hint = suggestion(word, _OPERATORS) or f"; known are {', '.join(_OPERATORS)}"
        source.fault(path, f"'{word}' is not a test{hint}")
        return None
    fault, operands = _operands(operator, operand)
    fault = fault or _fault_for(operator, operands, subjects)
    if fault:
        source.fault(path, fault)
        return None
    return Condition(subjects=subjects, operator=operator, operands=operands)


def _operands(operator: Operator, operand: object) -> tuple[str, Operands]:
    """A fault (or an empty text), and the operands in the form `operator` has them."""
    if operator is Operator.PRESENT:
        fault = "" if isinstance(operand, bool) else "present takes true or false, without quotes"
        return fault, ("true" if operand else "false",)
    if operator in PATTERN_OPERATORS:
        if not isinstance(operand, str):
            return f"{operator.value} takes a regular expression in quotes", ()
        return fault_of_pattern(operand) or "", (operand,)
    if operator in NUMERIC_OPERATORS:
        return _range(operator, operand)
    entries = operand if isinstance(operand, list) else [operand]
    texts = tuple(one for one in entries if isinstance(one, str))
    operands = texts or _numbers(entries)
    if not entries or len(operands) != len(entries):
        return "a value is a text in quotes or a number; a list has one or more of one kind", ()
    return "", operands


def _range(operator: Operator, operand: object) -> tuple[str, Operands]:
    entries = operand if isinstance(operand, list) else [operand]
    limits = _numbers(entries)
    if operator is Operator.BETWEEN:
        if len(entries) != 2 or len(limits) != 2:
            return "between takes two numbers, e.g. [1, 3]", ()
        if limits[0] > limits[1]:
            return "between takes the smaller number first", ()
        return "", limits
    if isinstance(operand, list) or not limits:
        return f"{operator.value} takes one number, without quotes", ()
    return "", limits


def _numbers(entries: Sequence[object]) -> tuple[float, ...]:
    return tuple(
        float(one) for one in entries if isinstance(one, int | float) and type(one) is not bool
    )


def _fault_for(operator: Operator, operands: Operands, subjects: tuple[Subject, ...]) -> str:
    """Why `operands` cannot be compared with `subjects`, or an empty text."""
    if operator is Operator.PRESENT or not operands:
        return ""
    if operator is Operator.ALL_OF and "" in operands:
        return 'all_of cannot contain "", which stands for an absent attribute'
    for subject in subjects:
        if subject.kind is Kind.TEXT and isinstance(operands[0], float):
            return f"{subject.word} is text: write values in quotes"
        compared_as_text = operator not in PATTERN_OPERATORS and any(
            isinstance(one, str) and one for one in operands
        )
        if subject.kind is Kind.NUMBER and compared_as_text:
            return f"{subject.word} is a number: write values without quotes"
        words = _CHOICES.get(subject.word, ())
        unknown = [one for one in operands if str(one).lower() not in ("", *words)]
        if words and compared_as_text and unknown:
            return f"{subject.word} is one of {', '.join(words)}, not '{unknown[0]}'"
    return ""
