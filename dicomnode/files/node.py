"""Files by HTTP from the node's own web server, with a worker's token."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import httpx

from dicomnode.domain.errors import ConfigError, FilesUnavailable, FilesUnreachable, TakenOver
from dicomnode.files.source import sha256_of

PREFIX = "/api/v1/files"
WORKER_HEADER = "X-Dicomnode-Worker"
EPOCH_HEADER = "X-Dicomnode-Epoch"
DIGEST_HEADER = "X-Content-SHA256"

_TIMEOUT = httpx.Timeout(30.0, connect=5.0)

Lease = Callable[[], tuple[str, int]]
"""Name and epoch of the lease by which this process may hand back results."""


class NodeSource:
    """The node at a web address.

    Raises:
        ConfigError: the authorities cannot be read.
    """

    def __init__(self, url: str, *, token: str, authorities: Path | None, lease: Lease) -> None:
        self._url = url.rstrip("/")
        self._lease = lease
        try:
            trusted = ssl.create_default_context(cafile=authorities)
        except (OSError, ssl.SSLError) as exc:
            raise ConfigError([f"files.authorities: {authorities}: {exc}"]) from exc
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {token}", "Accept-Encoding": "identity"},
            timeout=_TIMEOUT,
            verify=trusted,
            # A proxy of the environment would see images.
            trust_env=False,
        )

    def get(self, name: str, into: BinaryIO) -> None:
        """`Source.get`."""
        try:
            with self._client.stream("GET", self._address(name)) as answer:
                self._refuse(answer, name)
                for piece in answer.iter_raw():
                    into.write(piece)
        except httpx.HTTPError as exc:
            raise self._unreachable(exc) from exc

    def put(self, name: str, path: Path) -> None:
        """`Source.put`; refused by the node once this process has lost the job."""
        worker, epoch = self._lease()
        headers = {
            WORKER_HEADER: worker,
            EPOCH_HEADER: str(epoch),
            DIGEST_HEADER: sha256_of(path),
        }
        try:
            with path.open("rb") as file:
                answer = self._client.put(self._address(name), content=file, headers=headers)
        except httpx.HTTPError as exc:
            raise self._unreachable(exc) from exc
        self._refuse(answer, name)

    def names(self, folder: str) -> list[str]:
        """`Source.names`."""
        try:
            answer = self._client.get(self._address(folder), params={"list": "1"})
        except httpx.HTTPError as exc:
            raise self._unreachable(exc) from exc
        if answer.status_code == httpx.codes.NOT_FOUND:
            return []
        self._refuse(answer, folder)
        return sorted(str(name) for name in answer.json())

    def close(self) -> None:
        """Give up connections."""
        self._client.close()

    def _address(self, name: str) -> str:
        return f"{self._url}{PREFIX}/{name}"

    def _refuse(self, answer: httpx.Response, name: str) -> None:
        """Return if the node did as it was asked."""
        status = answer.status_code
        if answer.is_success:
            return
        if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            raise FilesUnavailable(
                f"the node at {self._url} refuses this worker's token ({status}): make an account "
                "with the role worker and a token for it"
            )
        if status == httpx.codes.NOT_FOUND:
            raise FilesUnavailable(
                f"{name} is no longer on the node; send the study again, then rerun"
            )
        if status == httpx.codes.CONFLICT:
            raise TakenOver("the node says that another process has this job")
        if status >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise FilesUnreachable(f"the node at {self._url} answers {status} for {name}")
        raise FilesUnavailable(f"the node at {self._url} refuses {name} ({status})")

    def _unreachable(self, exc: httpx.HTTPError) -> FilesUnreachable:
        return FilesUnreachable(
            f"the node at {self._url} does not answer, or broke off: {type(exc).__name__}: {exc}"
        )
