"""Two CTs of an invented patient: marks in their places, the same UIDs, growth in SR and SQL."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicomnode.testing.detector import write_detector
from dicomnode.testing.pacs import EmbeddedPacs
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series
from dicomnode.testing.torso import BALL_HU, Ball, Place, torso_ct
from tests.acceptance.running_node import NodeUnderTest, destination

pytestmark = pytest.mark.timeout(1200)

STORESCU = Path("/usr/bin/storescu")
RULES = """\
[[rule]]
name = "balls"
algorithm = "bright_balls"
[rule.series.image]
Modality = "CT"
"""
GEOMETRY = SeriesGeometry(
    rows=144, columns=192, slices=70, spacing_mm=(4.0, 2.0, 2.0), origin_mm=(-192.0, -144.0, 0.0)
)
TABLE: Place = (12.0, -9.0, 24.0)
"""Where the patient lies in the second scan, against the first."""
NODE, LIVER, NEW = (4.0, -30.0, 180.0), (-60.0, 0.0, 44.0), (-30.0, 20.0, 60.0)
BEFORE = (Ball(center=NODE, diameter_mm=24), Ball(center=LIVER, diameter_mm=40))
AFTER = (
    Ball(center=NODE, diameter_mm=36),
    Ball(center=LIVER, diameter_mm=30),
    Ball(center=NEW, diameter_mm=16),
)
Points = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Reported:
    """A lesion as the SR has it."""

    tracking_uid: str
    numbers: Mapping[str, float]
    middle: Points
    """Of its long axis in the patient, LPS mm."""


@dataclass(frozen=True, kw_only=True)
class Site:
    node: NodeUnderTest
    pacs: Path
    images: Mapping[str, Dataset]
    studies: tuple[str, str]

    def objects(self, study: str, modality: str) -> list[Dataset]:
        kept = [dcmread(path) for path in self.pacs.rglob("*.dcm")]
        return [ds for ds in kept if (ds.StudyInstanceUID, ds.Modality) == (study, modality)]

    def reported(self, study: str) -> list[Reported]:
        """The lesions of the study's SR, largest first."""
        (sr,) = self.objects(study, "SR")
        found: dict[str, tuple[dict[str, float], list[Points]]] = {}
        for group in groups(sr):
            uid = next(one.UID for one in group.ContentSequence if one.ValueType == "UIDREF")
            numbers, middles = found.setdefault(str(uid), ({}, []))
            for item in group.ContentSequence:
                if item.ValueType != "NUM":
                    continue
                name = item.ConceptNameCodeSequence[0].CodeMeaning
                numbers[name] = float(item.MeasuredValueSequence[0].NumericValue)
                if name == "Long Axis":
                    middles.append(self.middle(item.ContentSequence[0]))
        lesions = [
            Reported(tracking_uid=uid, numbers=numbers, middle=middles[0])
            for uid, (numbers, middles) in found.items()
        ]
        return sorted(lesions, key=lambda one: -one.numbers["Long Axis"])

    def middle(self, line: Dataset) -> Points:
        """Of a line of the SR, by the header of the image that it is drawn on."""
        reference = line.ContentSequence[0].ReferencedSOPSequence[0]
        image = self.images[str(reference.ReferencedSOPInstanceUID)]
        column, row = np.array(line.GraphicData).reshape(-1, 2).mean(axis=0) - 0.5
        cosines = np.array(image.ImageOrientationPatient, dtype=float)
        down, across = (float(one) for one in image.PixelSpacing)
        corner = np.array(image.ImagePositionPatient, dtype=float)
        return corner + cosines[:3] * across * column + cosines[3:] * down * row

    def ask(self, question: str) -> list[dict[str, object]]:
        """A saved question on the patient, as `dicomnode sql` answers it."""
        command = [sys.executable, "-m", "dicomnode", "sql", question, "--param", "patient=P7"]
        options = ["--format", "json", "-s", str(self.node.settings_path)]
        ran = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
        return [json.loads(line) for line in ran.stdout.splitlines()]


def groups(sr: Dataset) -> Iterator[Dataset]:
    for container in sr.ContentSequence:
        for item in container.get("ContentSequence", []):
            if item.ConceptNameCodeSequence[0].CodeValue == "125007":
                yield item


def planted(ball: Ball, table: Place) -> int:
    """Voxels of a lesion in the scan."""
    return int((torso_ct(GEOMETRY, [ball], moved=table) == BALL_HU).sum())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if not STORESCU.exists():
        pytest.skip("DCMTK is not installed")
    folder = tmp_path_factory.mktemp("site")
    node = NodeUnderTest(folder=folder / "node")
    images: dict[str, Dataset] = {}
    studies = []
    with EmbeddedPacs(folder / "pacs") as pacs:
        forms = 'send = ["SEG", "SR", "SC", "GSPS", "KOS"]\n'
        node.prepare([destination(pacs) + forms])
        write_detector(folder / "node" / "bundles")
        (folder / "node" / "rules.toml").write_text(RULES, encoding="utf-8")
        with node:
            scans = (("20240131", BEFORE, (0.0, 0.0, 0.0)), ("20240430", AFTER, TABLE))
            for date, balls, table in scans:
                identity = StudyIdentity(seed=date, patient_id="P7", study_date=date)
                scan = ct_series(identity, GEOMETRY, torso_ct(GEOMETRY, balls, moved=table))
                images |= {str(ds.SOPInstanceUID): ds for ds in scan}
                sent(node, scan, folder / date)
                node.delivered(identity.study_uid, timeout_s=300)
                studies.append(identity.study_uid)
            yield Site(
                node=node,
                pacs=folder / "pacs",
                images=images,
                studies=(studies[0], studies[1]),
            )


def sent(node: NodeUnderTest, scan: list[Dataset], folder: Path) -> None:
    """As a scanner sends it."""
    folder.mkdir()
    for ds in scan:
        ds.save_as(folder / f"{ds.InstanceNumber:03d}.dcm", enforce_file_format=True)
    to = ["-aec", "DICOMNODE", "127.0.0.1", str(node.port)]
    subprocess.run([str(STORESCU), "+sd", *to, str(folder)], check=True)


def test_each_mark_lies_on_its_lesion(site: Site) -> None:
    first, second = (site.reported(study) for study in site.studies)
    for found, wanted in ((first, (LIVER, NODE)), (second, (NODE, LIVER, NEW))):
        table = np.zeros(3) if found is first else np.array(TABLE)
        assert len(found) == len(wanted)
        for lesion, center in zip(found, wanted, strict=True):
            np.testing.assert_allclose(lesion.middle, table + center, atol=3.0)


def test_the_same_lesions_have_the_same_uids_and_a_new_one_its_own(site: Site) -> None:
    liver, node = site.reported(site.studies[0])
    node_again, liver_again, new = site.reported(site.studies[1])
    assert node_again.tracking_uid == node.tracking_uid
    assert liver_again.tracking_uid == liver.tracking_uid
    assert new.tracking_uid not in {node.tracking_uid, liver.tracking_uid}
    (seg,) = site.objects(site.studies[1], "SEG")
    assert {one.TrackingUID for one in seg.SegmentSequence} == {
        one.tracking_uid for one in (node_again, liver_again, new)
    }


def test_growth_is_in_the_report(site: Site) -> None:
    node, liver, new = site.reported(site.studies[1])
    # Voxels of 2 mm round diameters of 24, 36, 40 and 30 mm.
    assert node.numbers["Change of long axis"] == pytest.approx(50, abs=9)
    times = planted(AFTER[0], TABLE) / planted(BEFORE[0], (0, 0, 0))
    assert times == pytest.approx(1.5**3, rel=0.1)
    assert node.numbers["Change of volume"] == pytest.approx(100 * (times - 1), abs=0.1)
    assert node.numbers["Time since compared study"] == 90
    assert node.numbers["Volume doubling time"] == pytest.approx(
        90 * np.log(2) / np.log(times), rel=0.001
    )
    assert liver.numbers["Change of long axis"] == pytest.approx(-25, abs=5)
    assert "Volume doubling time" not in liver.numbers
    assert "Change of long axis" not in new.numbers


def test_every_form_is_delivered_for_both_studies(site: Site) -> None:
    for study in site.studies:
        for modality in ("SEG", "SR", "OT", "PR", "KO"):
            assert len(site.objects(study, modality)) == 1, modality


def test_sql_tells_lesions_growth_and_the_sum_of_diameters(site: Site) -> None:
    seen = site.ask("patient_lesions")
    times = sorted(
        [row["study_date"] for row in seen if row["tracking_uid"] == uid]
        for uid in {row["tracking_uid"] for row in seen}
    )
    assert times == [["20240131", "20240430"], ["20240131", "20240430"], ["20240430"]]
    first, second = site.ask("recist_sums")
    # The smaller node's short axis (16 mm, 14 in whole voxels) is below RECIST's 15 mm at first.
    assert (first["targets"], first["found"], first["new_lesions"]) == (1, 1, 0)
    assert (second["targets"], second["found"], second["new_lesions"]) == (1, 1, 1)
    # Short axes of lymph nodes: 26.7 mm, then 20 mm.
    assert first["sum_mm"] == pytest.approx(26.7, abs=1.5)
    assert second["sum_mm"] == pytest.approx(20, abs=1.5)
    assert second["percent_of_baseline"] == pytest.approx(-25, abs=6)
