"""What a patient is called stands in the index and the images; in no log, event or reason."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import Dataset, config
from pydicom.uid import UID, CTImageStorage

from dicomnode.receiving import now
from dicomnode.store.overview import overview
from dicomnode.testing.bundles import Behaviour, BundleRecipe, write_bundle
from dicomnode.testing.misbehaviour import Misbehaviour
from dicomnode.testing.modality import send_study
from dicomnode.testing.pacs import EmbeddedPacs
from dicomnode.testing.sender import associated, encoded
from dicomnode.testing.studies import StudyIdentity, ct_series
from tests.acceptance.running_node import (
    AE_TITLE,
    RULES,
    NodeUnderTest,
    destination,
    eventually,
)
from tests.acceptance.studies_on_disk import GEOMETRY, send, write

pytestmark = pytest.mark.timeout(1200)

NAME, GIVEN, PATIENT_ID, ACCESSION = "QUEBECNAME", "QUEBECGIVEN", "QUEBECID77", "QUEBECACC"
BIRTH_DATE = "19430217"
MARKERS = (NAME, GIVEN, PATIENT_ID, ACCESSION, BIRTH_DATE)

SAID = {
    "event": ("facts",),
    "job": ("reason", "error", "warnings"),
    "delivery": ("reason",),
    "quarantine": ("reason",),
}


def marked(seed: str) -> list[Dataset]:
    """A CT of a patient whose every identifier is unmistakable."""
    identity = StudyIdentity(
        seed=seed,
        patient_name=f"{NAME}^{GIVEN}",
        patient_id=PATIENT_ID,
        accession_number=ACCESSION,
    )
    datasets = ct_series(identity, GEOMETRY)
    for ds in datasets:
        ds.PatientBirthDate = BIRTH_DATE
    return datasets


@dataclass(frozen=True, kw_only=True)
class Night:
    """A node after everything below has been sent to it."""

    node: NodeUnderTest
    fine: str
    """StudyInstanceUIDs."""
    gap: str
    invalid: str


def send_what_is_wrong(node: NodeUnderTest, folder: Path) -> None:
    """Truncated headers, identifiers where UIDs belong, an association that is rejected."""
    truncated = write(marked("truncated"), folder / "truncated")
    for number, path in enumerate(truncated):
        whole = path.read_bytes()
        # From in the middle of the patient's name on: cut at many places of the header.
        path.write_bytes(whole[: whole.index(NAME.encode()) + 5 + 37 * number])
    send(node, truncated)
    with pytest.raises(ConnectionError):
        send_study(
            truncated[:1],
            host="127.0.0.1",
            port=node.port,
            called_ae=AE_TITLE,
            calling_ae="STRANGER",
        )
    ds = marked("no uid")[0]
    with invalid_allowed():
        ds.StudyInstanceUID = UID(f"{NAME}^{GIVEN}")
    with associated(node.port, CTImageStorage) as sender:
        for uid in (f"../{NAME}", PATIENT_ID, str(ds.SOPInstanceUID)):
            sender.store(uid, encoded(ds), sop_class=CTImageStorage)
        sender.store("1.2.3.4.5", f"{NAME}^{GIVEN}".encode() * 20, sop_class=CTImageStorage)


@contextmanager
def invalid_allowed() -> Iterator[None]:
    """Let pydicom write what it would rather not."""
    with warnings.catch_warnings(), config.disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def invalid_values(folder: Path) -> list[Path]:
    """Values that libraries complain of, and quote."""
    datasets = marked("invalid")
    with invalid_allowed():
        for ds in datasets:
            ds.PatientBirthDate = f"{NAME}7"
            ds.PatientID = PATIENT_ID * 12
            ds.PatientAge = NAME
            ds.AccessionNumber = f"{ACCESSION}\\{ACCESSION}" * 4
            ds.StudyDate = BIRTH_DATE + NAME
            ds.PatientName = f"{NAME}^{GIVEN}\\{NAME}=\x07"
        return write(datasets, folder)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    folder = tmp_path_factory.mktemp("night")
    talkative = Misbehaviour(store_status=0xA700, store_comment=f"{PATIENT_ID} {NAME}")
    node = NodeUnderTest(folder=folder / "node")
    with (
        EmbeddedPacs(folder / "pacs") as pacs,
        EmbeddedPacs(folder / "busy", ae_title="BUSY", misbehaviour=talkative) as busy,
    ):
        node.prepare([destination(pacs), destination(busy, name="busy")])
        allow = 'allow = [{calling_ae = "MODALITY"}, {calling_ae = "RAW"}]'
        text = node.settings_path.read_text(encoding="utf-8")
        text = text.replace("[receive]", f'log_level = "debug"\n[receive]\n{allow}')
        node.settings_path.write_text(text, encoding="utf-8")
        raising = BundleRecipe(name="raises", behaviour=Behaviour.RAISES)
        write_bundle(node.folder / "bundles", raising)
        rules = RULES.format(algorithm="test_air", priority="routine")
        rules += RULES.format(algorithm="raises", priority="low").replace('"air"', '"raises"')
        (node.folder / "rules.toml").write_text(rules, encoding="utf-8")
        fine, gap = marked("fine"), marked("gap")
        del gap[5]
        with node:
            send(node, write(fine, folder / "fine"))
            send(node, write(gap, folder / "gap"))
            send(node, invalid_values(folder / "invalid"))
            send_what_is_wrong(node, folder)
            uids = [
                *(str(study[0].StudyInstanceUID) for study in (fine, gap)),
                StudyIdentity(seed="invalid").study_uid,
            ]
            eventually(
                lambda: all(is_through(node, uid) for uid in uids),
                what="all is tried",
                timeout_s=240,
            )
            yield Night(node=node, fine=uids[0], gap=uids[1], invalid=uids[2])


def is_through(node: NodeUnderTest, study_uid: str) -> bool:
    """Both jobs have ended, and what they made was offered to both destinations."""
    told = node.story(study_uid)
    jobs = told.jobs if told else ()
    return (
        len(jobs) == 2
        and all(job.state in ("succeeded", "failed", "refused") for job in jobs)
        and all(delivery.status is not None for job in jobs for delivery in job.deliveries)
    )


def column(node: NodeUnderTest, table: str, name: str) -> list[str]:
    database = node.database
    with database.reading() as connection:
        values = connection.exec_driver_sql(f"SELECT {name} FROM {table}").scalars().all()
    database.dispose()
    return [str(value) for value in values if value not in (None, "")]


def test_everything_that_can_go_wrong_did(night: Night) -> None:
    """So that the tests below do not pass because nothing was said."""
    assert {"AlgorithmError", "MissingSlices"} <= set(column(night.node, "job", "error"))
    assert "succeeded" in column(night.node, "job", "state")
    assert any("0xA700" in reason for reason in column(night.node, "delivery", "reason"))
    assert len(column(night.node, "quarantine", "reason")) >= 12
    names = set(column(night.node, "event", "name"))
    assert {"association.rejected", "instance.quarantined", "instance.refused"} <= names
    patients = column(night.node, "study", "patient_name")
    assert any(NAME in patient for patient in patients)


@pytest.mark.parametrize(
    ("table", "name"), [(table, name) for table, names in SAID.items() for name in names]
)
def test_no_reason_names_a_patient(night: Night, table: str, name: str) -> None:
    said = column(night.node, table, name)
    assert [line for line in said if any(marker in line for marker in MARKERS)] == []


def test_no_trouble_names_a_patient(night: Night) -> None:
    database = night.node.database
    said = [f"{one.id} {one.reason}" for one in overview(database, now()).trouble]
    database.dispose()
    assert said
    assert [line for line in said if any(marker in line for marker in MARKERS)] == []


def test_the_log_names_no_patient(night: Night) -> None:
    lines = night.node.log.splitlines()
    assert lines
    assert [line for line in lines if any(marker in line for marker in MARKERS)] == []


def test_the_engine_s_records_name_no_patient(night: Night) -> None:
    files = list(night.node.settings.data_dir.glob("flow.sqlite*"))
    assert files
    for file in files:
        kept = file.read_bytes()
        assert [marker for marker in MARKERS if marker.encode() in kept] == []
