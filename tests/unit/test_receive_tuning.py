"""The pynetdicom that the tuned classes were written against is the one installed.

When this fails, read what changed in the named function, see whether the class in `receive.tuning`
that replaces it or relies on it still fits, run the integration tests and the benchmark, then
write down the new fingerprint.
"""

import hashlib
import importlib
import inspect
import subprocess
import sys
from functools import reduce

import pynetdicom
import pytest

from dicomnode.receive.tuning import PYNETDICOM_VERSION

LEANED_ON = {
    "acse.ACSE.__init__": "c2854b7e9224",
    "acse.ACSE._negotiate_as_acceptor": "fffd360957c4",
    "acse.ACSE.send_reject": "700998293bbc",
    "association.Association.__init__": "eb07516b8009",
    "association.Association._abort_blocking": "10b43ef8c63c",
    "association.Association.kill": "8f9713666a7f",
    "association.Association.run_reactor": "ed8bbbe3b3d6",
    "association.Association._run_reactor": "f28838c5559e",
    "association.Association._bind_defaults": "4cada43c3a19",
    "dimse.DIMSEServiceProvider.__init__": "bbecd186810e",
    "dimse.DIMSEServiceProvider.receive_primitive": "5f99c86b14a1",
    "dul.DULServiceProvider.__init__": "c82dafa9438d",
    "dul.DULServiceProvider._is_transport_event": "8725ed03bb8f",
    "dul.DULServiceProvider._process_recv_primitive": "4c0ebbb3e646",
    "dul.DULServiceProvider._read_pdu_data": "19f2d4e38c13",
    "dul.DULServiceProvider.idle_timer_expired": "0150c19fda68",
    "dul.DULServiceProvider.receive_pdu": "fa67339834ca",
    "dul.DULServiceProvider.run_reactor": "e3a10eb3a093",
    "dul.DULServiceProvider.stop_dul": "28a7e0be126e",
    "fsm.AA_8": "06c83317f088",
    "fsm.AR_4": "33a12cf6208e",
    "fsm.StateMachine.do_action": "9a883f44c7f3",
    "transport.AssociationSocket.__init__": "1f0325fdef2c",
    "transport.AssociationSocket.close": "c726c8db5381",
    "transport.AssociationSocket.recv": "6bc20a33b1b7",
    "transport.AssociationSocket.send": "1ea8158c0b51",
    "transport.RequestHandler.handle": "034823fb4df3",
    "transport.RequestHandler._create_association": "05c8d12b7986",
    "transport.AssociationServer.__init__": "edacb98bdfb7",
    "transport.AssociationServer._bind_defaults": "4cada43c3a19",
    "transport.AssociationServer.process_request": "4fa44ac5b54b",
    "transport.AssociationServer.service_actions": "0a0853a3615a",
    "transport.AssociationServer.shutdown": "e8e2c3a41009",
}


def fingerprint(name: str) -> str:
    module, *path = name.split(".")
    code = reduce(getattr, path, importlib.import_module(f"pynetdicom.{module}"))
    return hashlib.sha256(inspect.getsource(code).encode()).hexdigest()[:12]


def test_pynetdicom_is_the_version_that_was_tuned() -> None:
    assert pynetdicom.__version__ == PYNETDICOM_VERSION


@pytest.mark.parametrize("name", list(LEANED_ON))
def test_code_that_is_replaced_or_relied_on_has_not_changed(name: str) -> None:
    assert fingerprint(name) == LEANED_ON[name]


def test_a_process_that_only_receives_accepts_uids_by_length() -> None:
    program = (
        "from dicomnode.receive.tuning.process import tune_process; tune_process();"
        "from pynetdicom import _config; check = _config.VALIDATORS['UI'];"
        "assert [check(uid)[0] for uid in ('1.2', '', '1' * 65)] == [True, False, False];"
        "from pydicom.uid import UID; UID('1.02')"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
