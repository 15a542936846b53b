"""An answer reaches the caller that waits for it, whatever the machine is busy with."""

from pathlib import Path

from pynetdicom.dimse_primitives import C_ECHO
from pynetdicom.presentation import build_context

from dicomnode.deliver.association import Peer, associate
from dicomnode.deliver.line import AnswersToCaller
from dicomnode.domain.sop_classes import VERIFICATION
from dicomnode.testing.pacs import EmbeddedPacs


def test_an_answer_is_not_taken_by_a_thread_that_only_looks(tmp_path: Path) -> None:
    answer = C_ECHO()
    with (
        EmbeddedPacs(tmp_path) as pacs,
        associate(
            Peer(ae_title=pacs.ae_title, host=pacs.host, port=pacs.port),
            [build_context(VERIFICATION)],
            own_ae="NODE",
        ) as assoc,
    ):
        assert isinstance(assoc.dimse, AnswersToCaller)
        assoc.dimse.msg_queue.put((1, answer))
        assert assoc.dimse.get_msg(block=False) == (None, None)
        assert assoc.dimse.get_msg(block=True) == (1, answer)
