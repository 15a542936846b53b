"""What `dicomnode check` finds out before the first image does."""

import socket
from pathlib import Path
from typing import Any

import pytest

from dicomnode.checks import Finding, check_settings
from dicomnode.settings import ReceiveSettings, Settings
from tests.integration.receiver_scenes import running


def test_a_data_folder_that_cannot_be_written_is_a_fault() -> None:
    # Nobody, root neither, makes files in this one.
    settings = Settings.model_validate(
        {"data_dir": "/proc/dicomnode", "receive": {"reserve_mb": 0, "port": 1}}
    )
    (disk,) = (one for one in check_settings(settings) if one.what == "disk")
    assert not disk.is_good
    assert "/proc cannot be written" in disk.words


def test_a_new_node_s_index_is_not_called_an_upgrade(tmp_path: Path) -> None:
    settings = Settings.model_validate({"data_dir": tmp_path, "receive": {"port": 1}})
    (index,) = (one for one in check_settings(settings) if one.what == "database")
    assert index.is_good
    assert index.words.startswith("sqlite, made at the first start")


def notices_of(port: int) -> Finding:
    settings = Settings.model_validate(
        {
            "data_dir": "/proc/dicomnode",
            "receive": {"port": 1},
            "notices": {"hl7_host": "127.0.0.1", "hl7_port": port},
        }
    )
    what = f"notices by HL7 to 127.0.0.1:{port}"
    (found,) = (one for one in check_settings(settings) if one.what == what)
    return found


def test_a_receiver_of_notices_that_is_not_there_is_found_before_the_first_urgent_finding() -> None:
    with socket.create_server(("127.0.0.1", 0)) as there:
        port = there.getsockname()[1]
        assert notices_of(port).is_good
    gone = notices_of(port)
    assert not gone.is_good
    assert "refused" in gone.words


@pytest.mark.parametrize(
    ("allowed", "words"),
    [
        ([], "is taken by this node, which answers"),
        ([{"calling_ae": "DICOMNODE"}], "is taken by this node, which answers"),
        # As in the settings of the README: the node itself is no sender.
        ([{"calling_ae": "CT1", "address": "10.1.7.0/24"}], "does not let DICOMNODE send"),
    ],
)
def test_the_port_of_a_running_node_is_no_fault(
    allowed: list[dict[str, str]], words: str, tmp_path: Path
) -> None:
    received = {"allow": allowed, "reserve_mb": 0}
    with running(tmp_path / "running", ReceiveSettings.model_validate(received)) as node:
        port = receiving_port(tmp_path, {**received, "port": node.port})
    assert port.is_good
    assert words in port.words


def test_another_node_on_the_port_is_a_fault(tmp_path: Path) -> None:
    allow = [{"calling_ae": "DICOMNODE", "called_ae": "OTHER"}]
    others = ReceiveSettings.model_validate({"allow": allow, "reserve_mb": 0})
    with running(tmp_path / "other", others) as node:
        mine = {"allow": [{"calling_ae": "CT1"}], "port": node.port}
        port = receiving_port(tmp_path, mine)
    assert not port.is_good


def receiving_port(data_dir: Path, receive: dict[str, Any]) -> Finding:
    settings = Settings.model_validate({"data_dir": data_dir, "receive": receive})
    (found,) = (one for one in check_settings(settings) if one.what == "receiving port")
    return found
