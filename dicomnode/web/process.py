"""The web process as the node starts it and keeps it alive; imports none of what runs in it."""

import time
from multiprocessing.connection import Connection

from dicomnode.domain.errors import ConfigError, StoreError
from dicomnode.keeping import KeptProcess
from dicomnode.settings import Settings, is_loopback
from dicomnode.store.accounts import has_admin
from dicomnode.store.database import Database

RETRY_AFTER_S = 60.0


def check_open(settings: Settings, database: Database) -> None:
    """Look whether the pages may be served as the settings say.

    Raises:
        ConfigError: others than this machine could reach them, but nobody could log in.
    """
    web = settings.web
    is_local = is_loopback(web.host) and not web.public_url
    if not (is_local or web.oidc is not None or has_admin(database)):
        fault = (
            f"web.host {web.host!r} can be reached from elsewhere, but there is no account: "
            "add one by `dicomnode users add NAME --role admin`"
        )
        raise ConfigError([fault])


def address_of(settings: Settings, port: int) -> str:
    """What to type into a browser."""
    web = settings.web
    scheme = "https" if web.certificate else "http"
    host = f"[{web.host}]" if ":" in web.host else web.host
    return web.public_url or f"{scheme}://{host}:{port}"


def _serve(settings: Settings, ready: Connection, parent_pid: int) -> None:
    # FastAPI and all pages are built in the process that serves them, not in the node's own.
    from dicomnode.web.serving import serve_until_told

    serve_until_told(settings, ready, parent_pid)


class WebProcess(KeptProcess):
    """Keeps the web process running. Its faults never keep the node from receiving."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, name="web", entry=_serve)
        self._not_before = 0.0

    def keep_alive(self) -> bool:
        """Start it again if it has died; a start that failed is tried again after a while.

        A port that stays taken would otherwise cost a new process every few seconds.
        """
        return time.monotonic() >= self._not_before and super().keep_alive()

    def start(self) -> None:
        """Start it and wait until the port is open.

        Raises:
            StoreError: it could not start; the message says why.
        """
        try:
            super().start()
        except StoreError:
            self._not_before = time.monotonic() + RETRY_AFTER_S
            raise
