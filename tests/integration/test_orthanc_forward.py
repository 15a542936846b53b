"""The forwarding plug-in inside a real Orthanc, with an embedded PACS in the node's place."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from playwright.sync_api import sync_playwright

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
from tests.acceptance.running_node import eventually

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
            "DicomNode": {
                "Modality": MODALITY_NAME,
                "FirstRetrySeconds": 0.2,
                "LongestRetrySeconds": 0.5,
                "WebUrl": "https://node.example/",
            },
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


def orthanc_id(orthanc: RunningOrthanc, identity: StudyIdentity) -> str:
    """Orthanc's own identifier of a study."""
    listed = cast("list[dict[str, Any]]", orthanc.get("/studies?expand"))
    return next(
        str(known["ID"])
        for known in listed
        if known["MainDicomTags"]["StudyInstanceUID"] == identity.study_uid
    )


def told(orthanc: RunningOrthanc, identity: StudyIdentity) -> dict[str, Any]:
    path = f"/dicomnode/studies/{orthanc_id(orthanc, identity)}"
    return cast("dict[str, Any]", orthanc.get(path))


def told_state(orthanc: RunningOrthanc, identity: StudyIdentity, state: str) -> dict[str, Any]:
    """What the plug-in tells of a study once it stands in `state`."""

    def look() -> dict[str, Any] | None:
        known = told(orthanc, identity)
        return known if known["state"] == state else None

    return eventually(look, what=f"{state}: {orthanc.log}", timeout_s=120)


def test_the_plug_in_tells_where_a_study_stands_and_which_results_are_here(
    orthanc: RunningOrthanc, node: EmbeddedPacs, tmp_path: Path
) -> None:
    identity = StudyIdentity(seed="told")
    store(orthanc, slices(tmp_path, identity, count=2))
    before = told(orthanc, identity)
    assert before["state"] in ("receiving", "owed", "forwarding", "forwarded")
    assert before["results"] == []
    deliver(orthanc, stand_in_result(tmp_path, identity, kind=ResultKind.SECONDARY_CAPTURE))
    known = told_state(orthanc, identity, "forwarded")
    assert [one["modality"] for one in known["results"]] == ["SC"]
    assert known["webUrl"] == f"https://node.example/studies/{identity.study_uid}"
    assert known["reason"] == ""


def test_a_study_that_is_not_taken_is_told_with_the_reason(
    orthanc: RunningOrthanc, node: EmbeddedPacs, tmp_path: Path
) -> None:
    identity = StudyIdentity(seed="not taken")
    node.misbehaviour = Misbehaviour(store_status=0xA700)
    try:
        store(orthanc, slices(tmp_path, identity, count=1))
        known = told_state(orthanc, identity, "failed")
        assert known["failedTries"] >= 1
        assert known["reason"]
    finally:
        node.misbehaviour = Misbehaviour()
    assert told_state(orthanc, identity, "forwarded")["failedTries"] == 0


def test_a_study_of_results_alone_has_nothing_to_forward(
    orthanc: RunningOrthanc, tmp_path: Path
) -> None:
    identity = StudyIdentity(seed="results alone")
    deliver(orthanc, stand_in_result(tmp_path, identity, kind=ResultKind.SR))
    assert told_state(orthanc, identity, "nothing")["results"]


def test_a_study_nobody_knows_is_not_found(orthanc: RunningOrthanc) -> None:
    with pytest.raises(ConnectionError, match="404"):
        orthanc.get("/dicomnode/studies/00000000-00000000-00000000-00000000-00000000")


def test_the_button_of_the_study_page_shows_state_results_and_link(
    orthanc: RunningOrthanc, tmp_path: Path
) -> None:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("chromium is not installed")
    identity = StudyIdentity(seed="button")
    deliver(orthanc, stand_in_result(tmp_path, identity, kind=ResultKind.SEG))
    store(orthanc, slices(tmp_path, identity, count=1))
    told_state(orthanc, identity, "forwarded")
    address = f"{orthanc.url}/app/explorer.html#study?uuid={orthanc_id(orthanc, identity)}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            page = browser.new_page()
            page.set_default_timeout(60_000)
            page.goto(address)
            page.get_by_text("AI results").click()
            panel = page.locator("#dicomnode-state")
            panel.get_by_text("dicomnode has the study.").wait_for()
            panel.get_by_text("SEG: ").wait_for()
            link = panel.get_by_role("link", name="Open this study in dicomnode")
            assert link.get_attribute("href") == (
                f"https://node.example/studies/{identity.study_uid}"
            )
        finally:
            browser.close()


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
