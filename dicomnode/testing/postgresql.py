"""A PostgreSQL server of one's own, where its programs are installed (Debian: `postgresql`)."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psycopg
from psycopg import sql

_DEBIAN_ROOT = Path("/usr/lib/postgresql")
# initdb refuses to run as root; Debian's packages bring this account.
_ACCOUNT = "postgres"
_LIMIT_S = 60.0
# Nothing here has to outlive a power cut.
_QUICK = "-c fsync=off -c full_page_writes=off"
_QUICKER = "-c synchronous_commit=off"


def postgresql_programs() -> Path | None:
    """The folder of `initdb` and `pg_ctl`, the newest version's; None if not installed."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    versions = [
        folder
        for folder in _DEBIAN_ROOT.glob("*/bin")
        if (folder / "initdb").exists() and folder.parent.name.isdigit()
    ]
    return max(versions, key=lambda folder: int(folder.parent.name), default=None)


class RunningPostgresql:
    """A fresh cluster in a temporary folder, reached by a Unix socket; a context manager.

    No network port is opened. Everything is removed at the end. `bears_kill`: what was committed
    is there after `kill` and `start`, as on a real server.
    """

    def __init__(self, *, bears_kill: bool = False) -> None:
        self._numbers = count(1)
        self._options = _QUICK if bears_kill else f"{_QUICK} {_QUICKER}"

    def __enter__(self) -> Self:
        programs = postgresql_programs()
        if programs is None:
            raise FileNotFoundError(
                "PostgreSQL is not installed (Debian: apt-get install postgresql)"
            )
        self._programs = programs
        with ExitStack() as undo:
            # Not pytest's folder: a socket's path has 107 characters at most.
            self._folder = Path(
                undo.enter_context(tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp"))
            )
            if os.geteuid() == 0:
                account = pwd.getpwnam(_ACCOUNT)
                os.chown(self._folder, account.pw_uid, account.pw_gid)
            self._data = self._folder / "data"
            self._run(
                "initdb",
                *("-D", str(self._data), "-U", _ACCOUNT, "--auth=trust", "--no-sync"),
                *("--encoding=UTF8", "--locale=C.UTF-8"),
            )
            self.start()
            undo.callback(self._end)
            self._undo = undo.pop_all()
        return self

    def start(self) -> None:
        """Start the server; also again after `kill`."""
        options = f"-k {self._folder} -c listen_addresses='' {self._options}"
        log = str(self._folder / "log")
        self._run("pg_ctl", "start", "-w", "-D", str(self._data), "-l", log, "-o", options)

    def kill(self) -> None:
        """End the server in the middle of whatever it does; back when it has ended.

        What `pg_ctl stop -m immediate` does, without the time that program takes to start.
        """
        pid_file = self._data / "postmaster.pid"
        os.kill(int(pid_file.read_text(encoding="ascii").split()[0]), signal.SIGQUIT)
        deadline = time.monotonic() + _LIMIT_S
        while pid_file.exists():
            if time.monotonic() > deadline:
                raise TimeoutError(f"PostgreSQL has not ended in {_LIMIT_S:.0f} s")
            time.sleep(0.01)

    def _end(self) -> None:
        if (self._data / "postmaster.pid").exists():
            self.kill()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._undo.close()

    def url(self, database: str = "postgres") -> str:
        """SQLAlchemy URL of a database on this server."""
        host = quote(str(self._folder), safe="")
        return f"postgresql+psycopg://{_ACCOUNT}@/{database}?host={host}"

    def new_database(self) -> str:
        """Make an empty database; return its SQLAlchemy URL."""
        name = f"test_{next(self._numbers)}"
        with psycopg.connect(
            host=str(self._folder), user=_ACCOUNT, dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        account = _ACCOUNT if os.geteuid() == 0 else None
        # The server inherits these: with a pipe, reading it would wait for the server's end.
        with (self._folder / "setup.log").open("ab") as log:
            subprocess.run(  # noqa: S603 (found above, our own arguments)
                command,
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                user=account,
                group=account,
                extra_groups=[] if account else None,
            )
