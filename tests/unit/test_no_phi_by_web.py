"""What comes by HL7, FHIR and STOW names people: no log, event, metric or error answer repeats it.

C-STORE and what follows from it: `tests/acceptance/test_no_phi.py`.
"""

import base64
import logging
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
import structlog
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from httpx2 import Response
from sqlalchemy import text

from dicomnode.domain.access import Role
from dicomnode.logs import configure_logging
from dicomnode.receive.reports.mllp import END, START, MllpListener
from dicomnode.settings import Hl7Settings, Settings
from dicomnode.steps.reporting import Reporting
from dicomnode.testing.studies import StudyIdentity, ct_series
from tests.acceptance.studies_on_disk import GEOMETRY
from tests.integration.dicomweb_scenes import Archive, body_of
from tests.unit.steps_node import column, open_test_node
from tests.unit.test_receive_fhir import PATIENT, Json, diagnostic
from tests.unit.test_receive_hl7 import message, obx
from tests.unit.test_receive_mllp import sent
from tests.unit.web_site import HOME, Site, log_in

NAME, GIVEN, PATIENT_ID, WORDS = "QUEBECNAME", "QUEBECGIVEN", "QUEBECID77", "QUEBECWORDS"
MARKERS = (NAME, GIVEN, PATIENT_ID, WORDS)
FHIR = {"Content-Type": "application/fhir+json"}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, Settings.model_validate({"receive": {"reserve_mb": 0}}))
    yield made
    made.database.dispose()


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


def marked(**more: object) -> Json:
    """A report whose every text tells who and what."""
    patient = {**PATIENT, "name": [{"family": NAME, "given": [GIVEN]}]}
    patient["identifier"] = [{"type": {"coding": [{"code": "MR"}]}, "value": PATIENT_ID}]
    known = diagnostic(conclusion=f"{NAME} has {WORDS}.", **more)
    return {**known, "contained": [patient, *known["contained"][1:]]}  # type: ignore[index]


def found_in(said: str) -> list[str]:
    return [marker for marker in MARKERS if marker in said]


def logged(caplog: pytest.LogCaptureFixture) -> str:
    """What the node logged; the test's own client logs addresses."""
    ours = [one for one in caplog.records if not one.name.startswith("httpx")]
    return "\n".join(f"{one.getMessage()} {one.__dict__}" for one in ours)


def assert_nothing_was_said(
    site: Site, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    out, err = capfd.readouterr()
    assert found_in(out + err) == []
    assert found_in(logged(caplog)) == []
    with site.database.reading() as connection:
        events = connection.execute(text("SELECT name, facts FROM event")).all()
    assert found_in(str(events)) == []
    assert found_in(site.program(Role.VIEWER).get("/metrics").text) == []


def assert_refused(answer: Response, at_least: int = 400) -> None:
    assert answer.status_code >= at_least, answer.text
    assert found_in(answer.text + str(answer.headers)) == []


def test_fhir_that_is_kept_or_refused_is_not_repeated(
    site: Site, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    program = site.program(Role.READER)
    kept = program.post("/fhir/DiagnosticReport", json=marked(), headers=FHIR)
    assert kept.status_code == 201
    assert found_in(kept.text) == []
    bad = [
        marked(status=WORDS),
        marked(resourceType=NAME),
        marked(issued=WORDS),
        marked(effectiveDateTime=PATIENT_ID),
        marked(subject={"reference": NAME}),
        marked(identifier=[{"system": WORDS, "value": [NAME]}]),
        marked(presentedForm=[{"contentType": "application/pdf", "data": WORDS}]),
        marked(presentedForm=[{"contentType": "text/html", "data": words(f"<b>{NAME}")}]),
    ]
    answers = [program.post("/fhir/DiagnosticReport", json=one, headers=FHIR) for one in bad]
    for answer in answers:
        assert found_in(answer.text) == []
    assert sum(answer.status_code >= 400 for answer in answers) >= 3
    for body in (f'{{"name": "{NAME}"', f"{NAME}|{WORDS}", f'["{NAME}"]', f'{{"{NAME}": NaN}}'):
        answer = program.post("/fhir/DiagnosticReport", content=body.encode(), headers=FHIR)
        assert_refused(answer)
    assert_nothing_was_said(site, capfd, caplog)


def words(plain: str) -> str:
    return base64.b64encode(plain.encode()).decode()


def test_stow_of_images_whole_and_broken_is_not_repeated(
    site: Site, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    identity = StudyIdentity(
        seed="stow", patient_name=f"{NAME}^{GIVEN}", patient_id=PATIENT_ID, accession_number=WORDS
    )
    files = []
    for ds in ct_series(identity, GEOMETRY)[:2]:
        buffer = BytesIO()
        ds.save_as(buffer, enforce_file_format=True)
        files.append(buffer.getvalue())
    cut = files[1].index(NAME.encode()) + 5
    program = site.program(Role.READER)
    for some in ([files[0]], [files[1][:cut]], [f"{NAME}{WORDS}".encode()], [b""]):
        body, kind = body_of(some)
        answer = program.post("/dicomweb/studies", content=body, headers={"Content-Type": kind})
        assert found_in(answer.text) == []
    bad = {"Content-Type": f"multipart/related; boundary={NAME}"}
    assert_refused(program.post("/dicomweb/studies", content=WORDS.encode(), headers=bad))
    assert_nothing_was_said(site, capfd, caplog)


def test_stored_images_whole_and_damaged_are_shown_to_who_asks_and_told_to_nobody_else(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    site = Site(tmp_path)
    archive = Archive(database=site.database)
    identity = StudyIdentity(seed="web", patient_name=f"{NAME}^{GIVEN}", patient_id=PATIENT_ID)
    datasets = ct_series(identity, GEOMETRY)[:3]
    archive.receive(datasets)
    _, cut, other = sorted((tmp_path / "instances").rglob("*.dcm"))
    whole = cut.read_bytes()
    cut.write_bytes(whole[: whole.index(NAME.encode()) + 5])
    other.write_bytes(f"{NAME} {WORDS}".encode() * 40)
    program = site.program(Role.READER)
    study = f"/dicom-web/studies/{identity.study_uid}"
    series = f"{study}/series/{datasets[0].SeriesInstanceUID}"
    answers = []
    for ds in datasets:
        one = f"{series}/instances/{ds.SOPInstanceUID}"
        answers += [program.get(f"{one}{what}") for what in ("/frames/1", "/frames/9", "/rendered")]
    for path in (f"{study}/rendered", f"{series}/rendered?window={NAME}", f"{series}/{WORDS}"):
        answers.append(program.get(path, headers={"Accept": f"image/{WORDS}"}))
    refused = [one for one in answers if one.status_code >= 400]
    assert len(refused) >= 6
    for answer in refused:
        assert_refused(answer)
    program.get(f"{study}/metadata")
    assert_nothing_was_said(site, capfd, caplog)
    site.database.dispose()


def test_a_bug_behind_a_page_is_told_by_its_place_alone(
    site: Site, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> None:
        raise ValueError(f"{NAME} is no number")

    configure_logging("debug")
    for path in ("/api/fails", "/fails"):
        site.app.router.routes.insert(0, APIRoute(path, fails))
        browser = TestClient(site.app, base_url=HOME, raise_server_exceptions=False)
        answer = browser.get(path)
        assert answer.status_code == 500
        assert_refused(answer)
    out, err = capfd.readouterr()
    structlog.reset_defaults()
    assert "web.failed" in out + err
    assert found_in(out + err) == []
    assert found_in(str([one.getMessage() for one in caplog.records])) == []


def test_what_is_typed_into_addresses_and_forms_is_not_logged(
    site: Site, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    browser, stranger = site.logged_in(Role.READER), site.browser()
    for path in (
        f"/dicomweb/studies?PatientName={NAME}*",
        f"/dicomweb/studies?PatientID={PATIENT_ID}&StudyDate={WORDS}",
        f"/dicomweb/studies?{WORDS}={NAME}",
        f"/studies?q={NAME}",
        f"/studies/{PATIENT_ID}",
        f"/results/{WORDS}",
        f"/api/jobs/{PATIENT_ID}",
        f"/{NAME}/{WORDS}",
    ):
        browser.get(path)
        stranger.get(path)
    assert log_in(site.browser(), NAME, WORDS).status_code >= 400
    assert_nothing_was_said(site, capfd, caplog)


def test_hl7_that_is_kept_or_refused_is_not_repeated(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    node = open_test_node(tmp_path)
    reporting = Reporting(node)
    listener = MllpListener(
        Hl7Settings.model_validate({"port": 0, "largest_message": 10_000}),
        reporting.keep_messages,
        reporting.refuse_message,
        node.clock,
    )
    good = message(obx(f"{NAME} has {WORDS}.")).replace(b"Test^Phantom", f"{NAME}^{GIVEN}".encode())
    broken = [
        good.replace(b"ORU^R01", b"ADT^A08"),
        good.replace(b"OBR|1", f"O{NAME}|1".encode()),
        good.replace(b"UNICODE UTF-8", WORDS.encode()),
        good.replace(b"20240130093000", NAME.encode()),
        good.replace(b"|TX|", f"|{WORDS}|".encode()),
        f"{NAME}|{WORDS}".encode(),
        good[:60],
        good + WORDS.encode() * 2_000,
    ]
    listener.start()
    try:
        answers = [sent(listener.port, START + one + END) for one in (good, *broken)]
    finally:
        listener.stop()
    assert b"MSA|AA" in answers[0]
    for answer in answers:
        assert found_in(answer.decode(errors="replace")) == []
    out, err = capfd.readouterr()
    assert found_in(out + err) == []
    assert found_in(logged(caplog)) == []
    assert len(column(node.database, "report", "id")) >= 1
    with node.database.reading() as connection:
        said = connection.execute(text("SELECT reason FROM refused_report")).all()
        facts = connection.execute(text("SELECT facts FROM event")).all()
    assert said, "some were refused, with a reason"
    assert found_in(str([*said, *facts])) == []
    node.database.dispose()


def test_the_searches_above_would_find_a_leak(
    site: Site, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("dicomnode").warning("said %s", NAME)
    with pytest.raises(AssertionError):
        assert_nothing_was_said(site, capfd, caplog)
