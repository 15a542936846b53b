"""A small SCP for commitment reports, where no node is running to take them (offline sending)."""

from types import TracebackType
from typing import Self, cast

from pynetdicom import AE, evt
from pynetdicom.transport import ThreadedAssociationServer

from dicomnode.deliver.commitment import CommitmentInbox, answer_with
from dicomnode.domain.sop_classes import STORAGE_COMMITMENT_PUSH, VERIFICATION


class CommitmentListener:
    """Listens for N-EVENT-REPORT on associations that peers make with us; use with `with`.

    The peer must know this AE title, host and port. Its `inbox` goes to `request_commitment`, and
    `inbox.wait` gets the report if it comes later.
    """

    def __init__(self, *, own_ae: str, host: str, port: int, timeout_s: float = 30.0) -> None:
        self.inbox = CommitmentInbox()
        self._address = (host, port)
        self._ae = AE(ae_title=own_ae)
        self._ae.acse_timeout = self._ae.dimse_timeout = self._ae.network_timeout = timeout_s
        self._ae.add_supported_context(STORAGE_COMMITMENT_PUSH, scu_role=False, scp_role=True)
        self._ae.add_supported_context(VERIFICATION)

    def __enter__(self) -> Self:
        self._server = cast(
            "ThreadedAssociationServer",
            self._ae.start_server(
                self._address,
                block=False,
                evt_handlers=[(evt.EVT_N_EVENT_REPORT, answer_with(self.inbox.put))],
            ),
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ae.shutdown()

    @property
    def port(self) -> int:
        """The port in use, also where 0 was asked for."""
        return int(self._server.server_address[1])
