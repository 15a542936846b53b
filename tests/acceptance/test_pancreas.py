"""The pancreas bundle on synthetic people it never saw, as the node runs it."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dicomnode.algorithm import RunContext
from dicomnode.domain.codes import ATTENUATION, MEAN, SURFACE_AREA, VOLUME
from dicomnode.domain.errors import InputRefused
from dicomnode.domain.findings import SegmentFinding
from dicomnode.phantom import Case, Organ, Phase, Tissue, make_anatomy, make_case, render
from dicomnode.phantom.series import write_case
from dicomnode.pipeline.bundle import load_bundle
from dicomnode.pipeline.volume import read_series
from dicomnode.testing.studies import StudyIdentity

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "algorithms/pancreas"


def run(case: Case, folder: Path, bundle: Path = BUNDLE) -> list[SegmentFinding]:
    volume = read_series(write_case(case, folder / "series", StudyIdentity(seed="pancreas")))
    context = RunContext(device="cpu", scratch=folder)
    found = load_bundle(bundle).run({"image": volume}, context)
    return [one for one in found if isinstance(one, SegmentFinding)]


@pytest.fixture(scope="module")
def belly() -> Case:
    return make_case(2, region=(60.0, 260.0), spacing_mm=(5.0, 2.5, 2.5), detail=False)


def test_the_pancreas_lies_where_it_was_painted_and_is_measured(
    belly: Case, tmp_path: Path
) -> None:
    (found,) = run(belly, tmp_path)
    true = belly.labels == Organ.PANCREAS
    dice = 2 * (found.mask & true).sum() / (found.mask.sum() + true.sum())
    assert dice > 0.5
    values = {(m.name, m.derivation): m.value for m in found.measurements}
    assert values[VOLUME, None] == pytest.approx(found.mask.sum() * belly.grid.voxel_mm3 / 1000)
    assert values[ATTENUATION, MEAN] == pytest.approx(float(belly.hu[found.mask].mean()), abs=1)
    assert values[SURFACE_AREA, None] > 0


def test_a_chest_is_refused_with_the_reason(tmp_path: Path) -> None:
    chest = make_case(
        5, region=(300.0, 430.0), spacing_mm=(5.0, 3.0, 3.0), phase=Phase.PORTAL, detail=False
    )
    with pytest.raises(InputRefused, match="does not show the upper abdomen"):
        run(chest, tmp_path)


def test_a_person_without_kidneys_is_not_taken_for_a_chest(tmp_path: Path) -> None:
    anatomy = make_anatomy(2, region=(60.0, 260.0), spacing_mm=(5.0, 2.5, 2.5), detail=False)
    kidneys = np.isin(anatomy.labels, (Organ.KIDNEY_RIGHT, Organ.KIDNEY_LEFT))
    anatomy.labels[kidneys], anatomy.tissue[kidneys] = Organ.VISCERAL_FAT, Tissue.WALL
    (found,) = run(render(anatomy, 2), tmp_path)
    assert found.mask.any()


def test_the_networks_that_are_trained_are_the_ones_that_are_run() -> None:
    configs = {
        name: json.loads((BUNDLE / f"configs/{name}.json").read_text())["network_def"]
        for name in ("inference", "train", "train_volume")
    }
    members = configs["inference"]["fine"]["members"]
    assert members == {"planes": configs["train"], "volume": configs["train_volume"]}


@pytest.mark.parametrize("chosen", ["planes", "volume"])
def test_a_site_may_choose_one_of_the_networks(chosen: str, belly: Case, tmp_path: Path) -> None:
    bundle = tmp_path / "pancreas"
    shutil.copytree(BUNDLE, bundle)
    config = bundle / "configs/inference.json"
    told = json.loads(config.read_text())
    told["inferer"]["fine"]["shares"] = {"planes": 0.0, "volume": 0.0, chosen: 1.0}
    config.write_text(json.dumps(told))
    (found,) = run(belly, tmp_path, bundle)
    true = belly.labels == Organ.PANCREAS
    assert 2 * (found.mask & true).sum() > 0.5 * (found.mask.sum() + true.sum())


def test_the_weights_are_the_ones_that_were_described() -> None:
    described = json.loads((BUNDLE / "configs/dicom.json").read_text())["files"]
    present = {f"models/{p.name}" for p in (BUNDLE / "models").iterdir()}
    assert set(described) == present
    for name, digest in described.items():
        assert hashlib.sha256((BUNDLE / name).read_bytes()).hexdigest() == digest
