"""Synthetic studies as files, and sending them to a node under test."""

from collections.abc import Sequence
from pathlib import Path

from pydicom.dataset import Dataset

from dicomnode.testing.modality import send_study
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series
from tests.acceptance.running_node import AE_TITLE, NodeUnderTest

GEOMETRY = SeriesGeometry(rows=40, columns=32, slices=12)


def write(datasets: Sequence[Dataset], folder: Path) -> list[Path]:
    """Each data set as a file, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, ds in enumerate(datasets):
        paths.append(folder / f"{number:04d}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    return paths


def ct_study(seed: str, folder: Path) -> tuple[StudyIdentity, list[Path]]:
    """A small CT study of its own patient."""
    identity = StudyIdentity(seed=seed, patient_id=f"PHANTOM-{seed}")
    return identity, write(ct_series(identity, GEOMETRY), folder / seed)


def send(node: NodeUnderTest, paths: Sequence[Path]) -> None:
    """Send as a modality does; every image has to be taken."""
    answers = send_study(paths, host="127.0.0.1", port=node.port, called_ae=AE_TITLE)
    assert [answer.status for answer in answers] == [0] * len(paths)
