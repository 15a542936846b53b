"""The web process: started and kept alive by `dicomnode serve`, or alone by `dicomnode web`."""

import os
import signal
import socket
import threading
import time
from multiprocessing.connection import Connection
from types import FrameType

import structlog
import uvicorn

from dicomnode.domain.errors import ConfigError, StoreError
from dicomnode.index import open_database
from dicomnode.keeping import KeptProcess
from dicomnode.logs import configure_process
from dicomnode.settings import Settings, is_loopback
from dicomnode.store.accounts import has_admin
from dicomnode.store.database import Database
from dicomnode.web.app import create_app
from dicomnode.web.dicomweb.mounted import KeptDesk

log = structlog.get_logger()

LOOK_FOR_PARENT_S = 1.0
RETRY_AFTER_S = 60.0
BACKLOG = 128
MODEST = 5
"""Added to the process's niceness, so that receiving and models come first."""


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


class WebServer:
    """The pages on their port."""

    def __init__(self, settings: Settings, database: Database) -> None:
        web = settings.web
        check_open(settings, database)
        family = socket.AF_INET6 if ":" in web.host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((web.host, web.port))
        except OSError as exc:
            self._socket.close()
            fault = f"web.port {web.port} on {web.host}: {exc.strerror}"
            raise ConfigError([fault]) from exc
        app = create_app(settings, database)
        self._desk: KeptDesk = app.state.desk
        config = uvicorn.Config(
            app,
            log_config=None,
            # Addresses of pages hold identifiers of studies.
            access_log=False,
            server_header=False,
            proxy_headers=bool(web.proxies),
            forwarded_allow_ips=list(web.proxies),
            ssl_certfile=web.certificate,
            ssl_keyfile=web.key,
            limit_concurrency=200,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=5,
        )
        self._server = uvicorn.Server(config)
        # Outside the main thread it leaves signals to us.
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="web", daemon=True
        )

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._socket.getsockname()[1])

    def start(self) -> None:
        """Answer from now on, in a thread of its own."""
        try:
            self._desk()
        except (StoreError, OSError) as exc:
            # The first request that stores something tries again.
            log.warning("stow.not_repaired", error=type(exc).__name__, reason=str(exc))
        self._socket.listen(BACKLOG)
        self._thread.start()

    def stop(self) -> None:
        """Finish what is in hand, then end."""
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()
        self._desk.close()


def address_of(settings: Settings, port: int) -> str:
    """What to type into a browser."""
    web = settings.web
    scheme = "https" if web.certificate else "http"
    host = f"[{web.host}]" if ":" in web.host else web.host
    return web.public_url or f"{scheme}://{host}:{port}"


def serve_until_told(settings: Settings, ready: Connection, parent_pid: int) -> None:
    """Entry of the process: report the port or the fault, serve until SIGTERM or orphaned."""
    configure_process(settings.log_level)
    os.nice(MODEST)
    stop = threading.Event()

    def on_signal(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    # Ctrl-C reaches the whole group; the parent decides when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        server = WebServer(settings, open_database(settings))
    except Exception as exc:  # whatever it is, the parent has to tell it
        log.exception("web.failed")
        ready.send(f"{type(exc).__name__}: {exc}")
        return
    server.start()
    ready.send(server.port)
    while not stop.wait(LOOK_FOR_PARENT_S) and os.getppid() == parent_pid:
        pass
    server.stop()


class WebProcess(KeptProcess):
    """Keeps the web process running. Its faults never keep the node from receiving."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, name="web", entry=serve_until_told)
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
