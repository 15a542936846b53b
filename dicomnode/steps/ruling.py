"""The rule file under the hands of a person: tried on the past, put to work, taken back."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from dicomnode.domain.errors import RuleError
from dicomnode.domain.matching import Match, Scope
from dicomnode.rules.loading import kept_text
from dicomnode.rules.matching import Needs
from dicomnode.rules.model import RuleSet
from dicomnode.rules.trying import Change, DryRun, dry_run, series_snapshots
from dicomnode.settings import Settings
from dicomnode.steps.installed import Loader, algorithms_of, rules_loader, rules_path, usable
from dicomnode.store.closing import latest_snapshots
from dicomnode.store.database import Database
from dicomnode.store.rule_versions import Activation, activating

MOST_TRIED = 5000
"""Studies of the past that a dry run looks at, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleDesk:
    """The rule file of this node, and what it is read against."""

    path: Path
    load: Loader
    needs: Needs

    @classmethod
    def of(cls, settings: Settings) -> "RuleDesk":
        """The desk for these settings. Reads the descriptions of bundles, no weights."""
        found = algorithms_of(settings)
        path = rules_path(settings)
        return cls(
            path=path,
            load=rules_loader(settings, found, path.name),
            needs={name: known.needs for name, known in usable(found).items()},
        )

    def text(self) -> str:
        """The file as it is now.

        Raises:
            RuleError: it cannot be read.
        """
        try:
            return self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise RuleError([f"{self.path}: cannot be read: {exc}"]) from exc

    def try_on_history(self, database: Database, new: RuleSet, *, last: int) -> DryRun:
        """What `new` would have done with the last studies that closed, beside the file as it is.

        Each study is taken as its last closing found it, and, where a rule looks at series alone,
        as if each of its series had closed by itself. Reads the index; no file, no pixel.

        Raises:
            RuleError: the file as it is now cannot be used, so there is nothing to compare with.
        """
        old = self.load(self.text())
        by_series = any(rule.scope is Scope.SERIES for rule in (*old.rules, *new.rules))
        snapshots = (
            tried
            for whole in latest_snapshots(database, min(last, MOST_TRIED))
            for tried in (whole, *(series_snapshots(whole) if by_series else ()))
        )
        return dry_run(old, new, snapshots, needs=self.needs)

    def activate(self, database: Database, text: str, activation: Activation) -> RuleSet:
        """Put `text` in the place of the rule file, whole or not at all; the old text is kept.

        A running node takes it up with the next study. `activation.based_on` is the digest of the
        text that was edited.

        Raises:
            RuleError: the text cannot be used, the file was changed by somebody else since, or it
                cannot be written.
        """
        new = self.load(text)
        with activating(database) as write_down:
            # Looked at behind the lock, so that of two who edit at once the second is told.
            old = kept_text(self.text())
            if old.digest != activation.based_on:
                raise RuleError(
                    ["the rule file was changed since you opened it; open it again, then edit"]
                )
            self._write(new.text)
            write_down(activation, old, kept_text(new.text))
        return new

    def _write(self, text: str) -> None:
        part: Path | None = None
        try:
            mode = self.path.stat().st_mode & 0o777 if self.path.exists() else 0o644
            with NamedTemporaryFile(
                "w", encoding="utf-8", dir=self.path.parent, prefix=".rules-", delete=False
            ) as file:
                part = Path(file.name)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            part.chmod(mode)
            part.replace(self.path)
            _flush_folder(self.path.parent)
        except OSError as exc:
            if part is not None:
                part.unlink(missing_ok=True)
            reason = exc.strerror or type(exc).__name__
            raise RuleError([f"{self.path}: cannot be written: {reason}"]) from exc


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def in_words(tried: DryRun) -> list[str]:
    """What a dry run gave: one line of counts, then one for each difference."""
    counts = (
        f"{tried.snapshots} closings looked at: {tried.matched_after} runs, "
        f"today {tried.matched_before}; {len(tried.changes)} differences"
    )
    return [counts, *(_change_in_words(one) for one in tried.changes)]


def _change_in_words(change: Change) -> str:
    which = f"study {change.study_uid}"
    if change.series_uid is not None:
        which += f", series {change.series_uid}"
    return f"{which}, rule {change.rule_name!r}: {difference(change)}"


def difference(change: Change) -> str:
    """What would change for one study by one rule."""
    if not change.before:
        return f"would run {_runs(change.after)}"
    if not change.after:
        return f"would no longer run {_runs(change.before)}"
    return f"would run {_runs(change.after)} instead of {_runs(change.before)}"


def _runs(matches: Sequence[Match]) -> str:
    return "; ".join(
        f"{one.algorithm} on {', '.join(one.inputs.values())}, {one.priority.name.lower()}"
        f" to {', '.join(one.destinations) or 'every destination'}"
        for one in matches
    )
