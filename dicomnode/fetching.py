"""A worker that does not see the node's data folder: which way the settings choose."""

from collections.abc import Callable

import structlog

from dicomnode.domain.errors import ConfigError, FilesUnavailable, FilesUnreachable, Interrupted
from dicomnode.domain.files import CALIBRATIONS
from dicomnode.files.fetched import FetchedFiles
from dicomnode.files.node import NodeSource
from dicomnode.files.source import Source
from dicomnode.settings import Settings
from dicomnode.store.leases import Lease

log = structlog.get_logger()


def apart(settings: Settings, name: str) -> Settings:
    """The settings of a worker with a folder of its own, in which only copies lie.

    Models stay where they are: added ones below the worker's own data folder.
    """
    return settings.model_copy(
        update={
            "data_dir": settings.data_dir / "fetched" / name,
            "algorithms": settings.algorithms.model_copy(update={"added": settings.models_dir}),
        }
    )


def fetched_files(settings: Settings, lease: Callable[[], Lease | None]) -> FetchedFiles:
    """Files by the address of the settings; `lease` is what results are handed back by.

    Raises:
        ConfigError: the address, its certificate or the token cannot be used.
    """
    chosen = settings.files
    if not settings.database_url.startswith("postgresql"):
        raise ConfigError(["files.url is for a worker elsewhere, which needs a node on PostgreSQL"])
    source = source_of(settings, lease)
    try:
        source.names(CALIBRATIONS)
    except FilesUnreachable as exc:
        # It may come up later than the worker.
        log.warning("files.waiting", reason=str(exc))
    except FilesUnavailable as exc:
        raise ConfigError([f"files.url: {exc}"]) from exc
    return FetchedFiles(
        settings.data_dir,
        source,
        cache_bytes=chosen.cache_bytes,
        wait_s=chosen.wait_s,
    )


def source_of(settings: Settings, lease: Callable[[], Lease | None]) -> Source:
    """What the address of the settings leads to.

    Raises:
        ConfigError: nothing can be made of it.
    """
    chosen = settings.files
    if not chosen.is_over_http:
        # Its libraries are only loaded where they are used.
        from dicomnode.files.folder import FolderSource

        return FolderSource(chosen.url, chosen.options)

    def held() -> tuple[str, int]:
        now = lease()
        if now is None:
            raise Interrupted("this process holds no lease")
        return now.worker, now.epoch

    return NodeSource(chosen.url, token=chosen.token, authorities=chosen.authorities, lease=held)
