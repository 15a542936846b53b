"""Results to destinations: sent, answered, and confirmed by the peer's own word."""

from dicomnode.deliver.association import Peer
from dicomnode.deliver.commitment import (
    CommitmentInbox,
    answer_with,
    commitment_outcome,
)
from dicomnode.deliver.commitment_request import request_commitment
from dicomnode.deliver.echo import echo
from dicomnode.deliver.listener import CommitmentListener
from dicomnode.deliver.negotiate import accepts
from dicomnode.deliver.read_back import count_instances, read_back
from dicomnode.deliver.retry import backoff
from dicomnode.deliver.send import send_objects

__all__ = [
    "CommitmentInbox",
    "CommitmentListener",
    "Peer",
    "accepts",
    "answer_with",
    "backoff",
    "commitment_outcome",
    "count_instances",
    "echo",
    "read_back",
    "request_commitment",
    "send_objects",
]
