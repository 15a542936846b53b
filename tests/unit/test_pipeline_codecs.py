"""Without the decoder of JPEG Lossless, which is an extra, what is missing is named."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
)

from dicomnode.pipeline.codecs import missing_decoder

DATA = Path(os.environ.get("DICOMNODE_DATA", Path(__file__).parents[3] / "shared" / "data"))
HIDDEN = """\
import importlib.metadata as metadata
import sys
from importlib.machinery import PathFinder

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, *more):
        return None if name == "libjpeg" else super().find_spec(name, *more)

sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
known = metadata.entry_points
metadata.entry_points = lambda **more: metadata.EntryPoints(
    one for one in known(**more) if not one.module.startswith("libjpeg")
)
"""
SYNTAXES = (
    JPEGLosslessSV1,
    JPEGLossless,
    JPEGExtended12Bit,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    ExplicitVRLittleEndian,
)


def without_libjpeg(program: str, *arguments: object) -> str:
    command = [sys.executable, "-c", HIDDEN + program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_where_it_is_installed_nothing_is_missing() -> None:
    assert [missing_decoder(uid) for uid in SYNTAXES] == [""] * len(SYNTAXES)


def test_where_it_is_not_the_syntaxes_it_reads_name_it() -> None:
    said = without_libjpeg(
        "from dicomnode.pipeline.codecs import missing_decoder\n"
        "for uid in sys.argv[1:]: print(missing_decoder(uid))\n",
        *SYNTAXES,
    ).splitlines()
    assert ["dicomnode[jpeg]" in line for line in said] == [True, True, True, False, False, False]


def test_a_job_that_needs_it_says_what_to_install() -> None:
    found = list((DATA / "dicom_syntaxes").glob(f"*_{JPEGLosslessSV1}.dcm"))
    if not found:
        pytest.skip(f"{DATA / 'dicom_syntaxes'} is not there (set DICOMNODE_DATA)")
    said = without_libjpeg(
        "from pathlib import Path\n"
        "from dicomnode.domain.errors import UnsupportedImage\n"
        "from dicomnode.pipeline.volume import read_series\n"
        "try: read_series([Path(sys.argv[1])])\n"
        "except UnsupportedImage as exc: print(exc)\n",
        found[0],
    )
    assert "JPEG Lossless" in said
    assert "pip install 'dicomnode[jpeg]'" in said
