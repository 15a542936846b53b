"""A rule file that may be edited while the node runs."""

from collections.abc import Callable
from pathlib import Path

from dicomnode.domain.errors import RuleError
from dicomnode.rules.model import RuleSet


class WatchedRules:
    """The last good rules of a file. Has no thread: whoever needs rules calls `refresh`."""

    def __init__(
        self, path: Path, load: Callable[[str], RuleSet], *, in_force: str | None = None
    ) -> None:
        """Load `path`; `load` is `load_rules` with its other arguments bound.

        `in_force` is the text that held before a restart: it holds on if the file cannot be used.

        Raises:
            RuleError: the file cannot be read or used; there are no earlier rules to keep.
        """
        self._path = path
        self._load = load
        self._text = ""
        self._faults: tuple[str, ...] = ()
        try:
            self._text = self._read()
            self._good = load(self._text)
        except RuleError as exc:
            if in_force is None:
                raise
            self._faults = exc.faults
            self._good = _still_good(load, in_force, exc)

    @property
    def faults(self) -> tuple[str, ...]:
        """Why the file as it is now is not used; empty if it is."""
        return self._faults

    def refresh(self) -> RuleSet:
        """The rules in the file; if it is gone or faulty, the last good ones (see `faults`).

        Compares the content, not the time of change, so an edit within the clock's resolution
        is seen and a mere touch is not.
        """
        try:
            text = self._read()
        except RuleError as exc:
            # So that the same text is loaded again once the file is back.
            self._text = ""
            self._faults = exc.faults
            return self._good
        if text == self._text:
            return self._good
        self._text = text
        try:
            self._good = self._load(text)
            self._faults = ()
        except RuleError as exc:
            self._faults = exc.faults
        return self._good

    def _read(self) -> str:
        try:
            return self._path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise RuleError([f"{self._path}: cannot be read: {exc}"]) from exc


def _still_good(load: Callable[[str], RuleSet], text: str, fault: RuleError) -> RuleSet:
    """The rules in `text`; `fault` is raised if they name what is not there any more."""
    try:
        return load(text)
    except RuleError:
        raise fault from None
