"""A receiver in a process of its own, to be killed: `python receiver_process.py FOLDER`.

Prints its port. RECEIVE holds settings as JSON, DATABASE the URL of another database than
SQLite; events stand in FOLDER.events, one a line. With a name in KILL_AT, it kills itself there:
`renamed` (file in its place, no row) or `committed` (row written, sender not answered).
"""

import json
import os
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from dicomnode.domain.events import Event
from dicomnode.domain.instances import Landing, ReceivedInstance
from dicomnode.receive.receiver import start_receiver
from dicomnode.settings import ReceiveSettings
from dicomnode.store.database import Database
from dicomnode.store.landing import SqlInstanceIndex
from dicomnode.store.tables import Base


class MortalIndex(SqlInstanceIndex):
    """Ends the process by SIGKILL at a chosen moment of the `after`-th batch."""

    kill_at = os.environ.get("KILL_AT", "")
    after = int(os.environ.get("KILL_AFTER", "3"))
    batches = 0

    def keep(self, batch: Sequence[ReceivedInstance]) -> Sequence[Landing]:
        self.batches += 1
        if self.kill_at == "renamed" and self.batches == self.after:
            os.kill(os.getpid(), signal.SIGKILL)
        landings = super().keep(batch)
        if self.kill_at == "committed" and self.batches == self.after:
            os.kill(os.getpid(), signal.SIGKILL)
        return landings


def note(folder: Path, event: Event) -> None:
    # Beside the data: where the disk is full, nothing could be noted on it.
    with folder.with_suffix(".events").open("a", encoding="utf-8") as notes:
        notes.write(f"{event.name.value} {json.dumps(dict(event.facts))}\n")


def main(folder: Path) -> None:
    url = os.environ.get("DATABASE", f"sqlite:///{folder}/index.sqlite")
    database = Database(url, folder)
    Base.metadata.create_all(database.engine)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    with start_receiver(
        ReceiveSettings.model_validate(
            {"reserve_mb": 0, **json.loads(os.environ.get("RECEIVE", "{}"))}
        ),
        ae_title="DICOMNODE",
        data_dir=folder,
        index=MortalIndex(database, receiver="NODE@here"),
        clock=lambda: datetime.now(UTC),
        on_event=lambda event: note(folder, event),
        port=0,
    ) as receiver:
        print(receiver.port, flush=True)  # noqa: T201 (the parent reads it)
        signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
