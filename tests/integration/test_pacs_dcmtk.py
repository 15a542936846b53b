"""The embedded PACS is a PACS to DCMTK's own programs."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread

from dicomnode.testing.misbehaviour import Misbehaviour, Rejection
from dicomnode.testing.modality import send_study
from dicomnode.testing.pacs import EmbeddedPacs
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series

ECHOSCU, STORESCU, FINDSCU = (f"/usr/bin/{name}" for name in ("echoscu", "storescu", "findscu"))
IDENTITY = StudyIdentity(seed="dcmtk")

pytestmark = pytest.mark.skipif(
    not all(Path(program).exists() for program in (ECHOSCU, STORESCU, FINDSCU)),
    reason="DCMTK is not installed in /usr/bin",
)


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[EmbeddedPacs]:
    with EmbeddedPacs(tmp_path / "pacs") as running:
        yield running


@pytest.fixture
def slices(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "ct"
    folder.mkdir()
    paths = []
    for ds in ct_series(IDENTITY, SeriesGeometry(slices=3)):
        paths.append(folder / f"{ds.InstanceNumber}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    return paths


def run(
    program: str, pacs: EmbeddedPacs, *options: str, files: list[Path] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            program,
            *("-v", "-aec", pacs.ae_title, *options),
            *(pacs.host, str(pacs.port), *map(str, files or [])),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def find(pacs: EmbeddedPacs, *keys: str) -> list[str]:
    """The values findscu prints, keys asked for empty left out."""
    options = [option for key in keys for option in ("-k", key)]
    done = run(FINDSCU, pacs, "-S", *options)
    return re.findall(r"\[([^]\0]+?)[ \0]*\]", done.stdout + done.stderr)


def test_echoscu_is_answered(pacs: EmbeddedPacs) -> None:
    assert run(ECHOSCU, pacs).returncode == 0


def test_storescu_is_told_success_for_each_file_and_the_files_are_kept(
    pacs: EmbeddedPacs, slices: list[Path]
) -> None:
    done = run(STORESCU, pacs, files=slices)
    assert done.returncode == 0
    assert (done.stdout + done.stderr).count("(Success)") == 3
    for path, kept in zip(slices, pacs.stored, strict=True):
        assert dcmread(kept.path) == dcmread(path)


def test_storescu_is_told_the_status_asked_for(pacs: EmbeddedPacs, slices: list[Path]) -> None:
    pacs.misbehaviour = Misbehaviour(store_status=0xA700)
    done = run(STORESCU, pacs, files=slices)
    assert "Refused: OutOfResources" in done.stdout + done.stderr
    assert pacs.stored == ()


def test_a_warning_keeps_the_instance(pacs: EmbeddedPacs, slices: list[Path]) -> None:
    pacs.misbehaviour = Misbehaviour(store_status=0xB000)
    assert run(STORESCU, pacs, files=slices).returncode == 0
    assert len(pacs.stored) == 3


def test_echoscu_sees_the_association_rejected(pacs: EmbeddedPacs) -> None:
    pacs.misbehaviour = Misbehaviour(reject=Rejection.NOT_KNOWN)
    done = run(ECHOSCU, pacs)
    assert done.returncode != 0
    assert "Called AE Title Not Recognized" in done.stdout + done.stderr


def test_storescu_sees_the_association_aborted(pacs: EmbeddedPacs, slices: list[Path]) -> None:
    pacs.misbehaviour = Misbehaviour(abort_after=1)
    assert run(STORESCU, pacs, files=slices).returncode != 0
    assert len(pacs.stored) == 1


def test_findscu_finds_a_study_with_its_count(pacs: EmbeddedPacs, slices: list[Path]) -> None:
    run(STORESCU, pacs, files=slices)
    study = f"StudyInstanceUID={IDENTITY.study_uid}"
    keys = ("QueryRetrieveLevel=STUDY", "NumberOfStudyRelatedInstances")
    assert "3" in find(pacs, *keys, study)
    assert "3" not in find(pacs, *keys, "StudyInstanceUID=1.2.3")


def test_findscu_finds_each_instance_of_a_series(pacs: EmbeddedPacs, slices: list[Path]) -> None:
    run(STORESCU, pacs, files=slices)
    series = f"SeriesInstanceUID={pacs.stored[0].series_uid}"
    found = find(pacs, "QueryRetrieveLevel=IMAGE", series, "SOPInstanceUID")
    assert {kept.sop_instance_uid for kept in pacs.stored} <= set(found)


def test_findscu_is_refused_a_level_asked_to_be_refused(pacs: EmbeddedPacs) -> None:
    pacs.misbehaviour = Misbehaviour(refuse_find_levels=frozenset({"IMAGE"}))
    done = run(FINDSCU, pacs, "-S", "-k", "QueryRetrieveLevel=IMAGE", "-k", "SOPInstanceUID")
    assert "DataSetDoesNotMatchSOPClass" in done.stdout + done.stderr


def test_the_modality_sends_like_storescu_and_keeps_each_answer(
    pacs: EmbeddedPacs, slices: list[Path]
) -> None:
    told: list[tuple[int, int]] = []
    pacs.misbehaviour = Misbehaviour(store_status=0xA700, only_first=1)
    answers = send_study(
        slices,
        host=pacs.host,
        port=pacs.port,
        called_ae=pacs.ae_title,
        progress=lambda sent, total: told.append((sent, total)),
    )
    assert [answer.status for answer in answers] == [0xA700, 0, 0]
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert answers == pacs.answers


def test_the_modality_says_that_there_is_no_association(
    pacs: EmbeddedPacs, slices: list[Path]
) -> None:
    pacs.stop()
    with pytest.raises(ConnectionError, match="no association"):
        send_study(slices, host=pacs.host, port=pacs.port, called_ae=pacs.ae_title)


def test_a_waiting_test_is_told_when_the_instances_are_there(
    pacs: EmbeddedPacs, slices: list[Path]
) -> None:
    assert not pacs.wait_until(lambda stored: len(stored) == 3, 0.0)
    pacs.send_study(slices, host=pacs.host, port=pacs.port, called_ae=pacs.ae_title)
    assert pacs.wait_until(lambda stored: len(stored) == 3, 10.0)
