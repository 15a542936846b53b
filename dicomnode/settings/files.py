"""How a worker that does not see the node's data folder comes by files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from dicomnode.settings.values import Seconds, Section

OVER_HTTP = ("https://", "http://")


class FilesSettings(Section):
    """Of `dicomnode work` alone; the node itself always uses its data folder."""

    url: str = ""
    """Empty: the worker sees the node's data folder. `https://...`: the node's own web address.

    Anything else with `://`: an fsspec URL under which the node's data folder can be read and
    written, e.g. `s3://bucket/folder` of a gateway to it, or `sftp://host/folder`."""
    token: str = ""
    """For the node's address, from `dicomnode users token`; by DICOMNODE_FILES_TOKEN."""
    authorities: Path | None = None
    """Certificates that the node's own is checked by; none: the system's."""
    options: Mapping[str, str | int | float | bool] = {}
    """Of the fsspec file system, e.g. `endpoint_url`; secrets come by its own environment."""
    cache_gb: Annotated[float, Field(gt=0)] = 20.0
    """Images kept on the worker; those not used for longest go first."""
    wait_s: Seconds = 300.0
    """How long a node that does not answer is waited for, before the try of a job counts."""

    @property
    def cache_bytes(self) -> int:
        """`cache_gb` in bytes."""
        return int(self.cache_gb * 1e9)

    @property
    def is_over_http(self) -> bool:
        """True if the node itself is asked."""
        return self.url.startswith(OVER_HTTP)

    @model_validator(mode="after")
    def _is_url(self) -> Self:
        if self.url and "://" not in self.url:
            raise ValueError("url is https://..., or a URL that fsspec knows; a folder is data_dir")
        if self.options and (not self.url or self.is_over_http):
            raise ValueError("options are those of an fsspec URL")
        return self
