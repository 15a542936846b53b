"""Questions asked of the index in SQL, and their answers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from dicomnode.domain.errors import StoreError

Cell = str | int | float | bool | None


class QuestionRefused(StoreError):
    """It is no question, or asks for what may not be read; the message says which."""


class QuestionTooLong(StoreError):
    """It was stopped: it took too long or its answer is too large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What an answer may cost."""

    seconds: float = 10.0
    rows: int = 10_000
    """More rows are cut off, and the answer says so."""
    views_only: bool = False
    """Only the documented views may be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """Something a saved question asks for."""

    name: str
    kind: str
    """text, integer, number or date (YYYY-MM-DD, given to SQL as YYYYMMDD)."""
    default: str | None
    """None: it must be given."""
    words: str
    choices: tuple[str, ...] = ()
    """Empty: anything of its kind."""

    def value(self, given: str | None) -> Cell:
        """What goes into the query.

        Raises:
            QuestionRefused: it is missing or of another kind.
        """
        text = self.default if given is None else given
        if text is None:
            raise QuestionRefused(f"parameter {self.name} is needed: {self.words}")
        if self.choices and text not in self.choices:
            raise QuestionRefused(f"parameter {self.name} is one of {', '.join(self.choices)}")
        try:
            match self.kind:
                case "integer":
                    return int(text)
                case "number":
                    return float(text)
                case "date":
                    return date.fromisoformat(text).strftime("%Y%m%d")
        except ValueError:
            raise QuestionRefused(f"parameter {self.name} is no {self.kind}") from None
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A saved question."""

    name: str
    title: str
    words: str
    parameters: tuple[Parameter, ...]
    sqlite: str
    postgresql: str

    def values(self, given: Mapping[str, str]) -> dict[str, Cell]:
        """A value for each parameter.

        Raises:
            QuestionRefused: one is missing, unknown or of another kind.
        """
        known = {parameter.name for parameter in self.parameters}
        unknown = sorted(set(given) - known)
        if unknown:
            asked = ", ".join(sorted(known)) or "none"
            raise QuestionRefused(f"there is no parameter {', '.join(unknown)}; there are: {asked}")
        return {one.name: one.value(given.get(one.name)) for one in self.parameters}


@dataclass(slots=True, kw_only=True)
class Answer:
    """Rows as they come. `truncated` is known when the last one has been read."""

    columns: Sequence[str]
    rows: Iterator[tuple[Cell, ...]]
    truncated: bool = False
