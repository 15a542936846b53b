"""What this installation has: algorithms, and the rule file that is read against them."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from dicomnode.domain.errors import StudyError
from dicomnode.domain.files import CALIBRATIONS
from dicomnode.pipeline.discovery import AlgorithmDescription, BrokenAlgorithm, discover
from dicomnode.rules.alerting import idle_alerts
from dicomnode.rules.loading import default_rules, load_rules
from dicomnode.rules.model import RuleSet
from dicomnode.settings import Settings
from dicomnode.shipped import shipped


def algorithms_of(settings: Settings) -> Mapping[str, AlgorithmDescription | BrokenAlgorithm]:
    """Every installed algorithm: added bundles, shipped ones, configured roots, plug-in packages.

    An added bundle takes the place of a shipped one of its name.
    """
    return discover(
        [shipped("algorithms"), *settings.algorithms.roots],
        added=settings.models_dir / "active",
        calibrations=settings.data_dir / CALIBRATIONS,
    )


def calibrations_of(settings: Settings, algorithm: str) -> Path:
    """The folder of an algorithm's calibrations; it may not be there.

    Raises:
        StudyError: that can be no algorithm's name.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", algorithm):
        raise StudyError(f"{algorithm!r} is no name of an algorithm")
    return settings.data_dir / CALIBRATIONS / algorithm


def usable(
    found: Mapping[str, AlgorithmDescription | BrokenAlgorithm],
) -> Mapping[str, AlgorithmDescription]:
    """The ones that can be run."""
    return {name: one for name, one in found.items() if isinstance(one, AlgorithmDescription)}


def idle_alerts_of(
    rules: RuleSet, found: Mapping[str, AlgorithmDescription | BrokenAlgorithm]
) -> list[str]:
    """Alerts that never hold, in words; nothing is said of broken algorithms."""
    return idle_alerts(rules, {name: one.flaggable for name, one in usable(found).items()})


def rules_loader(settings: Settings, algorithms: Collection[str], file: str) -> "Loader":
    """`load_rules` that knows this node's algorithms and destinations.

    Algorithms that are installed but broken are known too: their jobs fail with the fault, while
    the node goes on receiving.
    """
    destinations = [destination.name for destination in settings.destinations]
    return Loader(file=file, algorithms=tuple(algorithms), destinations=tuple(destinations))


@dataclass(frozen=True, slots=True, kw_only=True)
class Loader:
    """Loads rule text against what this node has."""

    file: str
    algorithms: tuple[str, ...]
    destinations: tuple[str, ...]

    def __call__(self, text: str) -> RuleSet:
        """The rules in `text`.

        Raises:
            RuleError: naming file, line and, where near, what may have been meant.
        """
        return load_rules(
            text,
            file=self.file,
            known_algorithms=self.algorithms,
            known_destinations=self.destinations,
        )


def rules_path(settings: Settings) -> Path:
    """The rule file; without one in the settings, `rules.toml` in the data folder.

    That is made from the shipped rules at the first start, for the site to edit.
    """
    if settings.rules is not None:
        return settings.rules
    path = settings.data_dir / "rules.toml"
    if not path.exists():
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        path.write_text(default_rules(), encoding="utf-8")
    return path
