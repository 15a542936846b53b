"""What steps work with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from dicomnode.domain.events import Event
from dicomnode.pipeline.admission import Admission
from dicomnode.pipeline.discovery import AlgorithmDescription
from dicomnode.rules.watching import WatchedRules
from dicomnode.settings import Settings
from dicomnode.steps.files import Files, SharedFiles
from dicomnode.store.database import Database
from dicomnode.store.events import log_event


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The parts every step is given; built once in `dicomnode.app`."""

    settings: Settings
    database: Database
    clock: Callable[[], datetime]
    rules: WatchedRules
    algorithms: Mapping[str, AlgorithmDescription]
    broken: Mapping[str, str]
    """Algorithms that are installed but cannot be used, and why."""
    files: Files = field(default_factory=SharedFiles)
    """How it comes by images."""
    admission: Admission = field(
        default_factory=lambda: Admission({"": None}, runs_per_device=1000)
    )
    """When a run may start, and on which device; by default at once, on any."""
    worker: str = ""
    """What this process is called among those that run models."""

    def log(self, event: Event) -> None:
        """Write one event."""
        log_event(self.database, event, self.clock())
