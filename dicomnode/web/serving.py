"""The pages and interfaces on their port: by `dicomnode web`, or in the process `serve` keeps."""

import os
import signal
import socket
import threading
from multiprocessing.connection import Connection
from types import FrameType

import structlog
import uvicorn

from dicomnode.domain.errors import ConfigError, StoreError
from dicomnode.index import open_database
from dicomnode.logs import configure_process
from dicomnode.settings import Settings
from dicomnode.store.database import Database
from dicomnode.web.app import create_app
from dicomnode.web.dicomweb.mounted import KeptDesk
from dicomnode.web.process import check_open

log = structlog.get_logger()

LOOK_FOR_PARENT_S = 1.0
BACKLOG = 128
MODEST = 5
"""Added to the process's niceness, so that receiving and models come first."""


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
