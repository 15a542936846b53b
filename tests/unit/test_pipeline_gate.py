"""What is refused before a network looks at it."""

from pathlib import Path

import numpy as np
import pytest

from dicomnode.domain.errors import InputRefused
from dicomnode.domain.volumes import Volume
from dicomnode.networks.upright import UprightGate
from dicomnode.pipeline.gate import check_upright
from dicomnode.pipeline.manifest import Gate
from dicomnode.pipeline.radiograph import read_radiograph
from dicomnode.testing.studies import StudyIdentity, radiograph

pytestmark = pytest.mark.filterwarnings("ignore")  # MONAI's and torch's own

GATE = Gate(weights="models/gate.safetensors", at_least=0.01)


@pytest.fixture(scope="module")
def network() -> UprightGate:
    """Untrained: it finds every image a little upright."""
    return UprightGate(features=2).eval()


def image(folder: Path, rows: int, columns: int) -> Volume:
    pixels = np.linspace(0, 4095, rows * columns).astype(np.uint16).reshape(rows, columns)
    radiograph(StudyIdentity(seed="gate"), pixels).save_as(
        folder / "image.dcm", enforce_file_format=True
    )
    return read_radiograph(folder / "image.dcm")


@pytest.mark.parametrize(("rows", "columns"), [(64, 64), (255, 1024), (1024, 255)])
def test_an_image_of_too_few_pixels_is_refused_and_told_what_to_send(
    network: UprightGate, tmp_path: Path, rows: int, columns: int
) -> None:
    with pytest.raises(InputRefused, match=f"^it has {columns} x {rows} pixels, fewer than 256"):
        check_upright(network, GATE, image(tmp_path, rows, columns))


def test_an_image_of_just_enough_pixels_is_looked_at(network: UprightGate, tmp_path: Path) -> None:
    check_upright(network, GATE, image(tmp_path, 256, 256))
