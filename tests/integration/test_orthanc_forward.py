"""The forwarding plug-in inside a real Orthanc, with an embedded PACS in the node's place."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicomnode.deliver import send_objects
from dicomnode.domain.results import EncodedObject, ResultKind
from dicomnode.settings import Destination
from dicomnode.testing.misbehaviour import Misbehaviour
from dicomnode.testing.modality import send_study
from dicomnode.testing.orthanc import (
    MODALITY_NAME,
    PYTHON_PLUGIN,
    RunningOrthanc,
    orthanc_program,
)
from dicomnode.testing.pacs import EmbeddedPacs
from dicomnode.testing.pacs_commitment import ReportTo
from dicomnode.testing.results import stand_in_result
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series

PLUGIN = Path(__file__).parents[2] / "orthanc_plugins" / "dicomnode_forward.py"
NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)

pytestmark = pytest.mark.skipif(
    not (orthanc_program() and PYTHON_PLUGIN.exists()),
    reason="Orthanc or its Python plug-in is not installed",
)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPacs]:
    with EmbeddedPacs(tmp_path_factory.mktemp("node"), ae_title="DICOMNODE") as running:
        yield running


@pytest.fixture(scope="module")
def orthanc(
    tmp_path_factory: pytest.TempPathFactory, node: EmbeddedPacs
) -> Iterator[RunningOrthanc]:
    with orthanc_before(node, tmp_path_factory.mktemp("orthanc")) as running:
        yield running


def orthanc_before(node: EmbeddedPacs, folder: Path) -> RunningOrthanc:
    return RunningOrthanc(
        folder,
        modality=ReportTo(ae_title=node.ae_title, host=node.host, port=node.port),
        extra={
            "Plugins": [str(PYTHON_PLUGIN)],
            "PythonScript": str(PLUGIN),
            "StableAge": 1,
            "DicomNode": {"Modality": MODALITY_NAME, "FirstRetrySeconds": 0.2},
        },
    )


def slices(folder: Path, identity: StudyIdentity, *, count: int, series: str = "1") -> list[Path]:
    paths = []
    for ds in ct_series(identity, SeriesGeometry(slices=count, rows=8, columns=8), series=series):
        paths.append(folder / f"{ds.SOPInstanceUID}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    return paths


def store(orthanc: RunningOrthanc, paths: list[Path]) -> None:
    answers = send_study(
        paths, host=orthanc.host, port=orthanc.dicom_port, called_ae=orthanc.ae_title
    )
    assert [answer.status for answer in answers] == [0] * len(paths)


def deliver(orthanc: RunningOrthanc, encoded: EncodedObject) -> None:
    destination = Destination(
        name="orthanc", ae_title=orthanc.ae_title, host=orthanc.host, port=orthanc.dicom_port
    )
    (outcome,) = send_objects([encoded], destination, own_ae="DICOMNODE", clock=lambda: NOON)
    assert outcome.receipt is not None


def arrives(node: EmbeddedPacs, identity: StudyIdentity, count: int) -> bool:
    """Wait until the node holds `count` images of the study."""
    return node.wait_until(
        lambda stored: sum(kept.study_uid == identity.study_uid for kept in stored) == count, 30
    )


def test_a_stable_study_is_forwarded_without_what_the_node_made(
    orthanc: RunningOrthanc, node: EmbeddedPacs, tmp_path: Path
) -> None:
    identity = StudyIdentity(seed="with result")
    deliver(orthanc, stand_in_result(tmp_path, identity, kind=ResultKind.SEG))
    store(orthanc, slices(tmp_path, identity, count=3))
    assert arrives(node, identity, 3), orthanc.log
    modalities = [k.header.Modality for k in node.stored if k.study_uid == identity.study_uid]
    assert modalities == ["CT", "CT", "CT"]


def test_a_series_is_sent_once_and_a_late_one_alone(
    orthanc: RunningOrthanc, node: EmbeddedPacs, tmp_path: Path
) -> None:
    identity = StudyIdentity(seed="grows")
    first = slices(tmp_path, identity, count=3)
    store(orthanc, first)
    assert arrives(node, identity, 3), orthanc.log
    store(orthanc, slices(tmp_path, identity, count=2, series="2"))
    assert arrives(node, identity, 5), orthanc.log
    answered = [answer.sop_instance_uid for answer in node.answers]
    assert [answered.count(path.stem) for path in first] == [1, 1, 1]


def test_a_study_the_node_does_not_take_is_sent_again(
    orthanc: RunningOrthanc, node: EmbeddedPacs, tmp_path: Path
) -> None:
    identity = StudyIdentity(seed="refused at first")
    node.misbehaviour = Misbehaviour(store_status=0xA700, only_first=1)
    paths = slices(tmp_path, identity, count=2)
    store(orthanc, paths)
    assert arrives(node, identity, 2), orthanc.log
    statuses = [a.status for a in node.answers if a.sop_instance_uid in {p.stem for p in paths}]
    assert statuses[0] == 0xA700


def test_a_study_owed_when_orthanc_is_killed_is_forwarded_after_the_next_start(
    tmp_path: Path,
) -> None:
    identity = StudyIdentity(seed="owed")
    with EmbeddedPacs(tmp_path / "node", ae_title="DICOMNODE") as node:
        node.stop()
        orthanc = orthanc_before(node, tmp_path / "orthanc")
        with orthanc:
            store(orthanc, slices(tmp_path, identity, count=2))
            assert orthanc.wait_for_log("was not taken (try 1)", 30), orthanc.log
            orthanc.kill()
        node.start()
        with orthanc:
            assert arrives(node, identity, 2), orthanc.log
            orthanc.kill()
