"""A process that stores what comes by STOW-RS, to be killed.

`python -m tests.integration.stow_process FOLDER` prints its address once it listens.
"""

import sys
from pathlib import Path

from dicomnode.store.database import Database
from dicomnode.store.schema import upgrade
from tests.integration.dicomweb_scenes import app_over, desk_over, serving


def main() -> None:
    folder = Path(sys.argv[1])
    database = Database(f"sqlite:///{folder / 'index.sqlite'}", folder)
    upgrade(database)
    with serving(app_over(database, desk_over(database))) as service:
        sys.stdout.write(f"{service.url}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
