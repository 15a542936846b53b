"""Ends with 0 if the node in this container answers C-ECHO."""

import os
import sys
from pathlib import Path

from dicomnode.deliver.association import Peer
from dicomnode.deliver.echo import echo
from dicomnode.domain.errors import DicomNodeError
from dicomnode.settings import load_settings

try:
    settings = load_settings(Path(os.environ["DICOMNODE_SETTINGS"]), os.environ)
    own = settings.ae_title
    port = settings.receive.port
    echo(Peer(ae_title=own, host="127.0.0.1", port=port, timeout_s=10), own_ae=own)
except DicomNodeError as exc:
    sys.exit(f"{type(exc).__name__}: {exc}")
