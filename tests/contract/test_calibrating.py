"""From stored probabilities and mined labels to a calibration in force, and back."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select
from typer.testing import CliRunner

from dicomnode.cli.main import app
from dicomnode.domain.errors import BundleInvalid, StudyError
from dicomnode.pipeline.bundle import BundleAlgorithm, load_bundle
from dicomnode.pipeline.calibrations import put_in_force, version_in_force
from dicomnode.pipeline.discovery import AlgorithmDescription, BrokenAlgorithm
from dicomnode.pipeline.manifest import ImageClass
from dicomnode.settings import Settings
from dicomnode.steps.calibrating import apply_calibration, bundle_root, fit_calibration
from dicomnode.steps.installed import algorithms_of, calibrations_of
from dicomnode.store.database import Database
from dicomnode.store.tables import EventRow
from tests.contract.calibration_scenes import ALGORITHM, scored_studies, wrong_probabilities
from tests.contract.store_scenes import NOON

pytest_plugins = ["tests.contract.postgresql", "tests.contract.databases"]

SITE = "General Hospital"


def settings_of(database: Database) -> Settings:
    return Settings(ae_title="NODE", data_dir=database.path_root)


def described(settings: Settings) -> AlgorithmDescription:
    known = algorithms_of(settings)[ALGORITHM]
    assert isinstance(known, AlgorithmDescription)
    return known


def miscalibrated(database: Database, count: int = 400) -> str:
    """Studies whose effusions are half as frequent as stated; returns the model's digest."""
    digest = described(settings_of(database)).identity.model_digest
    likely, values = wrong_probabilities(count, slope=0.7, shift=-1.0)
    scored_studies(
        database,
        name="Effusion",
        label="effusion",
        probabilities=likely,
        values=values,
        model_digest=digest,
    )
    return digest


def effusion_of(bundle: BundleAlgorithm) -> ImageClass:
    pred = bundle.manifest.outputs.pred
    assert pred.kind == "classes"
    return pred.classes[2]


def at_point(one: ImageClass) -> float:
    """The logit at the operating point."""
    point = one.operating_point
    return math.log(point / (1 - point)) * one.temperature - one.bias


def fitted(database: Database) -> Path:
    found = fit_calibration(
        database, settings_of(database), ALGORITHM, site=SITE, now=NOON, draws=100
    )
    assert found.path is not None
    return found.path


def test_a_miscalibrated_class_is_corrected_and_the_others_say_why_not(database: Database) -> None:
    miscalibrated(database)
    found = fit_calibration(
        database, settings_of(database), ALGORITHM, site=SITE, now=NOON, draws=100
    )
    effusion = found.classes["Effusion"]
    assert effusion.method == "platt"
    assert effusion.slope == pytest.approx(0.7, abs=0.2)
    assert effusion.shift == pytest.approx(-1.0, abs=0.3)
    assert effusion.helps
    assert effusion.after.error.value < effusion.before.error.value / 2
    assert effusion.studies == 400
    assert found.refused == {
        "Cardiomegaly": "no report says anything of it",
        "Lung opacity": "no report says anything of it",
    }
    assert found.calibration is not None
    assert (found.calibration.studies, found.calibration.patients) == (400, 200)
    kept = json.loads(found.path.read_text()) if found.path else {}
    assert kept["figures"]["Effusion"]["before"]["bins"]
    assert "P1" not in json.dumps(kept)


def test_what_is_in_force_is_stated_moves_the_point_along_and_can_be_rolled_back(
    database: Database,
) -> None:
    before = miscalibrated(database)
    settings = settings_of(database)
    fitted(database)
    assert described(settings).identity.model_digest == before
    folder = calibrations_of(settings, ALGORITHM)
    apply_calibration(database, settings, ALGORITHM, 1, now=NOON)
    under = described(settings)
    assert under.identity.model_digest != before
    assert f"Recalibrated at {SITE} on 400 studies" in under.identity.intended_use
    assert "Research use only" in under.identity.intended_use
    assert under.identity.calibrated in under.identity.intended_use
    assert f"calibration 1 of {NOON:%Y-%m-%d}, SHA-256 " in under.identity.calibrated
    assert described(settings).identity == under.identity
    plain = load_bundle(bundle_root(settings, ALGORITHM))
    changed = load_bundle(bundle_root(settings, ALGORITHM), folder)
    assert changed.identity == under.identity
    one, other = effusion_of(plain), effusion_of(changed)
    assert one.name == "Effusion"
    # The same logit stands at the operating point before and after.
    assert at_point(other) == pytest.approx(at_point(one))
    apply_calibration(database, settings, ALGORITHM, None, now=NOON)
    assert described(settings).identity.model_digest == before
    assert not described(settings).identity.calibrated
    with database.reading() as connection:
        query = select(EventRow.facts).where(EventRow.name == "calibration.changed")
        facts = connection.scalars(query.order_by(EventRow.id)).all()
    assert [one["version"] for one in facts] == [1, None]


def test_scores_made_under_an_earlier_calibration_are_undone_before_the_next(
    database: Database,
) -> None:
    miscalibrated(database)
    settings = settings_of(database)
    fitted(database)
    put_in_force(calibrations_of(settings, ALGORITHM), 1)
    calibrated_digest = described(settings).identity.model_digest
    likely, values = wrong_probabilities(200, slope=1.0, shift=0.0, seed=1)
    scored_studies(
        database,
        name="Effusion",
        label="effusion",
        probabilities=likely,
        values=values,
        model_digest=calibrated_digest,
        first=400,
    )
    found = fit_calibration(database, settings, ALGORITHM, site=SITE, now=NOON, draws=50)
    # Together they still say what the first said, because the later scores are already right.
    assert found.classes["Effusion"].studies == 600
    assert found.classes["Effusion"].slope == pytest.approx(0.7, abs=0.2)
    assert found.calibration is not None
    assert found.calibration.version == 2


def test_too_few_positives_uncertain_reports_and_other_models_are_refused(
    database: Database,
) -> None:
    digest = described(settings_of(database)).identity.model_digest
    likely, _ = wrong_probabilities(60, slope=1.0, shift=0.0)
    values = [1] * 8 + [-1] * 10 + [0] * 42
    scored_studies(
        database,
        name="Effusion",
        label="effusion",
        probabilities=likely,
        values=values,
        model_digest=digest,
    )
    scored_studies(
        database,
        name="Effusion",
        label="effusion",
        probabilities=likely,
        values=[1] * 60,
        model_digest="0" * 64,
        first=60,
    )
    found = fit_calibration(
        database, settings_of(database), ALGORITHM, site=SITE, now=NOON, draws=50
    )
    assert "4 patients are positive" in found.refused["Effusion"]
    assert found.left_out == {
        "the report is uncertain": 10,
        "made by another version of the model": 60,
    }
    assert found.calibration is None


def test_without_scores_beside_reports_nothing_is_fitted(database: Database) -> None:
    settings = settings_of(database)
    with pytest.raises(StudyError, match="no study has both"):
        fit_calibration(database, settings, ALGORITHM, site=SITE, now=NOON, draws=50)
    with pytest.raises(StudyError, match="no classes"):
        fit_calibration(database, settings, "lung_ct", site=SITE, now=NOON, draws=50)
    with pytest.raises(StudyError, match="no name of an algorithm"):
        apply_calibration(database, settings, "../elsewhere", None, now=NOON)
    with pytest.raises(StudyError, match="no bundle"):
        fit_calibration(database, settings, "nothing", site=SITE, now=NOON, draws=50)


def test_a_calibration_that_was_changed_or_made_for_another_model_stops_the_algorithm(
    tmp_path: Path, migrated_sqlite: Path
) -> None:
    database = Database(f"sqlite:///{migrated_sqlite}", tmp_path)
    settings = settings_of(database)
    folder = calibrations_of(settings, ALGORITHM)
    folder.mkdir(parents=True)
    other = {
        "schema": 1,
        "algorithm": ALGORITHM,
        "version": 1,
        "site": SITE,
        "made_at": NOON.isoformat(),
        "model_digest": "0" * 64,
        "studies": 100,
        "patients": 50,
        "classes": {"Effusion": {"slope": 1.0, "shift": -1.0}},
        "figures": {},
    }
    (folder / "0001.json").write_text(json.dumps(other))
    with pytest.raises(BundleInvalid, match="another version"):
        apply_calibration(database, settings, ALGORITHM, 1, now=NOON)
    assert version_in_force(folder) is None
    put_in_force(folder, 1)
    known = algorithms_of(settings)[ALGORITHM]
    assert isinstance(known, BrokenAlgorithm)
    assert "dicomnode calibrate off cxr_thorax" in known.fault
    (folder / "0001.json").write_text(json.dumps({**other, "studies": 101}))
    known = algorithms_of(settings)[ALGORITHM]
    assert isinstance(known, BrokenAlgorithm)
    assert "has been changed" in known.fault
    with pytest.raises(BundleInvalid, match="no calibration 7"):
        put_in_force(folder, 7)
    assert version_in_force(folder) is not None


def test_the_commands_fit_list_use_and_roll_back(tmp_path: Path, migrated_sqlite: Path) -> None:
    (tmp_path / "index.sqlite").write_bytes(migrated_sqlite.read_bytes())
    database = Database(f"sqlite:///{tmp_path / 'index.sqlite'}", tmp_path)
    miscalibrated(database)
    database.dispose()
    file = tmp_path / "dicomnode.toml"
    file.write_text(f'ae_title = "NODE"\ndata_dir = "{tmp_path}"\n')

    def run(*words: str) -> str:
        result = CliRunner().invoke(app, ["calibrate", *words, "-s", str(file)])
        assert result.exit_code == 0, (result.output, result.exception)
        return result.output

    said = run("fit", ALGORITHM, "--site", SITE, "--draws", "50")
    assert "calibrate use cxr_thorax 1" in said.replace("\n", " ")
    assert "Lung opacity was not fitted: no report says anything of it" in said
    with Image.open(calibrations_of(Settings(data_dir=tmp_path), ALGORITHM) / "0001.png") as drawn:
        assert len(np.unique(np.asarray(drawn.convert("L")))) > 20
    assert "works as it was shipped" in run("list", ALGORITHM)
    run("use", ALGORITHM, "1")
    assert "in force" in run("list", ALGORITHM)
    run("off", ALGORITHM)
    assert "works as it was shipped" in run("list", ALGORITHM)
