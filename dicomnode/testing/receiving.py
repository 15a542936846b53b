"""An index of received instances in memory, and a place to collect events."""

import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from dicomnode.domain.events import Event, EventName
from dicomnode.domain.instances import Association, Landing, ReceivedInstance
from dicomnode.domain.receiving import AssociationOutcome, quarantine_path


class MemoryInstanceIndex:
    """The twin of `store.landing.SqlInstanceIndex`; nothing survives the process."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._lock = threading.Lock()
        self.associations: dict[str, Association] = {}
        self.outcomes: dict[str, AssociationOutcome] = {}
        self.instances: dict[str, ReceivedInstance] = {}
        """SOP Instance UID -> the one kept."""
        self.quarantine: dict[tuple[str, str], Path] = {}
        """(SOP Instance UID, SHA-256) -> where the conflict lies."""
        self.batch_sizes: list[int] = []

    def open_association(self, association: Association) -> None:
        """Write it down."""
        with self._lock:
            self.associations.setdefault(association.id, association)

    def close_association(
        self,
        association_id: str,
        how: AssociationOutcome,
        *,
        at: datetime,  # noqa: ARG002 (memory keeps no times)
    ) -> None:
        """Write down how it ended."""
        with self._lock:
            self.outcomes.setdefault(association_id, how)

    def keep(self, batch: Sequence[ReceivedInstance]) -> Sequence[Landing]:
        """Decide in order; see `receive.index.InstanceIndex.keep`."""
        with self._lock:
            self.batch_sizes.append(len(batch))
            return [self._keep_one(instance) for instance in batch]

    def left_open(
        self,
        is_here: Callable[[Association], bool],  # noqa: ARG002 (one receiver's are all)
    ) -> Sequence[Association]:
        """Those without an outcome."""
        with self._lock:
            return [known for id_, known in self.associations.items() if id_ not in self.outcomes]

    def kept_paths(self, association_id: str) -> frozenset[Path]:
        """Paths of the instances it brought."""
        with self._lock:
            return frozenset(
                known.path
                for known in self.instances.values()
                if known.association_id == association_id
            )

    def _keep_one(self, instance: ReceivedInstance) -> Landing:
        first = self.instances.setdefault(instance.sop_instance_uid, instance)
        if first.path == instance.path:
            return Landing.KEPT
        if first.sha256 != instance.sha256:
            return self._quarantine(instance)
        if first.path.exists():
            return Landing.DUPLICATE
        self.instances[instance.sop_instance_uid] = instance
        return Landing.KEPT

    def _quarantine(self, instance: ReceivedInstance) -> Landing:
        mine = quarantine_path(self._data_dir, instance.path)
        key = (instance.sop_instance_uid, instance.sha256)
        known = self.quarantine.setdefault(key, mine)
        if known != mine and known.exists():
            return Landing.DUPLICATE
        self.quarantine[key] = mine
        return Landing.CONFLICT


class EventList:
    """Takes events from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        """Take one."""
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def named(self, name: EventName) -> list[Event]:
        """Those with this name, in order."""
        with self._changed:
            return [event for event in self.events if event.name is name]

    def wait_for(self, name: EventName, count: int = 1, timeout_s: float = 20.0) -> list[Event]:
        """Block until there are `count` of this name; return them.

        Raises:
            TimeoutError: there never were.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._named(name)) >= count, timeout_s):
                raise TimeoutError(f"{len(self._named(name))} of {count} {name.value}")
            return self._named(name)

    def _named(self, name: EventName) -> list[Event]:
        return [event for event in self.events if event.name is name]
