"""A site's marked CTs as scenes of the lesion recipe: places, and what is not marked."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dicomnode.domain.errors import StudyError

BUNDLES = Path(__file__).resolve().parents[2] / "algorithms"
AFFINE = np.diag([-1.0, 1.0, 3.0, 1.0])
"""RAS, rows towards the front."""
AFFINE[:3, 3] = (100.0, -80.0, -300.0)
COLUMNS = "volume,coordX,coordY,coordZ,diameter_mm,type\n"
NODE = "a,-70.0,50.0,-270.0,12,Lymph node\n"
"""At column 30, row 30, slice 10."""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Soft tissue with one bright ball of 12 mm."""
    values = np.full((120, 100, 24), 40, dtype=np.int16)
    x, y, z = np.indices(values.shape)
    values[(x - 30) ** 2 + (y - 30) ** 2 + (3 * (z - 10)) ** 2 <= 36] = 300
    (tmp_path / "site" / "images").mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(values, AFFINE), tmp_path / "site" / "images" / "a.nii.gz")
    (tmp_path / "site" / "lesions.csv").write_text(COLUMNS + NODE)
    return tmp_path / "site"


class Suspecting:
    """Stands in for the bundle's inferer: finds what it is given."""

    def __init__(self, *found: tuple[Sequence[float], int, float]) -> None:
        self.found, self.calls = found, 0

    def __call__(self, _image: torch.Tensor, _network: object) -> dict[str, torch.Tensor]:
        self.calls += 1
        return {
            "points": torch.tensor([point for point, _, _ in self.found]).reshape(-1, 3),
            "kinds": torch.tensor([kind for _, kind, _ in self.found]),
            "scores": torch.tensor([score for _, _, score in self.found]),
            "fields": torch.full((len(self.found),), 40.0),
        }


def scene_of(
    recipe: Any, site: Path, rule: str, inferer: Suspecting, folder: str = "scenes"
) -> Any:
    scenes = recipe("site_scenes")
    known = scenes.read_bundle(BUNDLES / "universal_lesion")
    bundle = scenes.SiteBundle(
        pred=known.pred, kinds=known.kinds, least=known.least, inferer=inferer
    )
    network: Any = torch.nn.Linear(1, 1)
    network.candidates = SimpleNamespace(kinds=7)
    made = scenes.write_site_scenes(
        site.parent / folder, site, bundle, network, scenes.Unmarked(rule)
    )
    return made[0]


def test_a_mark_lies_where_the_lesion_is_seen_however_the_axes_lie(recipe: Any, site: Path) -> None:
    scene = scene_of(recipe, site, "negative", Suspecting())
    (lesion,) = scene.clear
    at = tuple(np.round(np.array(lesion.centre) / 2).astype(int))
    assert scene.hu.dtype == np.int16
    assert scene.hu[at] > 250
    bright = np.argwhere(np.asarray(scene.hu) > 200).mean(0) * 2
    assert np.abs(bright - lesion.centre).max() < 1.5
    assert (lesion.kind, lesion.diameter) == (0, 12.0)
    # Marked, not outlined: no voxel is known to be a lesion's, so none is changed as one's.
    shown = [recipe("view_training").shown(scene) for _ in range(2)]
    assert torch.equal(*shown)
    assert not np.asarray(scene.instances).any()
    assert scene.nodes == (1,)


def test_what_is_not_marked_counts_by_the_rule(recipe: Any, site: Path) -> None:
    scene = scene_of(recipe, site, "negative", Suspecting())
    marked = scene.lesions[0].centre
    inferer = Suspecting(
        (marked, 0, 0.9),  # the mark itself
        ([150.0, 150.0, 30.0], 0, 0.8),  # another node that the bundle would report
        ([50.0, 150.0, 30.0], 0, 0.2),  # one that it would not
        ([150.0, 50.0, 30.0], 1, 0.9),  # a nodule, of which the site marked none
    )
    others = (1, 2, 3, 4, 5, 6)
    negative = scene_of(recipe, site, "negative", inferer, "fresh")
    assert (negative.ignored, negative.unknown_kinds) == ((), others)
    suspected = scene_of(recipe, site, "suspected", inferer, "fresh")
    assert [one.centre for one in suspected.ignored] == [(150.0, 150.0, 30.0)]
    assert suspected.ignored[0].diameter == pytest.approx(16.0)
    assert suspected.unknown_kinds == others
    unknown = scene_of(recipe, site, "unknown", inferer, "fresh")
    assert unknown.unknown_kinds == (0, *others)
    assert len(unknown.clear) == 1
    class_of = recipe("view_training").class_of
    far = np.array([150.0, 150.0, 30.0])
    assert [class_of(one, far, 0) for one in (negative, suspected, unknown)] == [0, -1, -1]
    assert class_of(unknown, np.array(marked), 0) == 1


def test_a_lesion_without_a_known_type_is_neither_learned_nor_forbidden(
    recipe: Any, site: Path
) -> None:
    rows = "a,-40.0,20.0,-270.0,10,scar\na,-20.0,20.0,-270.0,10,\n"
    (site / "lesions.csv").write_text(COLUMNS + NODE + rows)
    scene = scene_of(recipe, site, "negative", Suspecting())
    assert len(scene.lesions) == 1
    assert len(scene.ignored) == 2


def test_what_has_not_changed_is_not_read_again(recipe: Any, site: Path) -> None:
    inferer = Suspecting()
    for rule in ("suspected", "unknown", "suspected"):
        scene_of(recipe, site, rule, inferer)
    assert inferer.calls == 1
    (site / "lesions.csv").write_text(COLUMNS + NODE + NODE.replace("-270", "-260"))
    assert len(scene_of(recipe, site, "suspected", inferer).lesions) == 2
    assert inferer.calls == 2
    (site / "images" / "b.nii.gz").symlink_to(site / "images" / "a.nii.gz")
    scene_of(recipe, site, "suspected", inferer)
    (site / "images" / "b.nii.gz").unlink()
    scene_of(recipe, site, "suspected", inferer)
    assert [path.name for path in (site.parent / "scenes").glob("*.json")] == ["a.json"]


def test_both_bundles_tell_their_types_and_when_they_mark(recipe: Any) -> None:
    read = recipe("site_scenes").read_bundle
    nodes, every = (read(BUNDLES / name) for name in ("lymph_node", "universal_lesion"))
    assert nodes.kinds == {"Lymph node": 0}
    assert list(every.kinds.values()) == list(range(7))
    assert set(nodes.least) == {0}
    assert all(0 < every.least[kind] < 1 for kind in range(7))


def test_boxes_and_balls_have_a_diameter_of_about_their_size(recipe: Any) -> None:
    from dicomnode.evaluation.froc import TrueLesion

    diameter = recipe("site_scenes")._diameter
    ball = TrueLesion(volume="a", low_mm=(0, 0, 0), high_mm=(9, 9, 9), is_sphere=True, size_mm=None)
    box = TrueLesion(
        volume="a", low_mm=(0, 0, 0), high_mm=(20, 5, 1), is_sphere=False, size_mm=20.0
    )
    assert (diameter(ball), diameter(box)) == (9, 10)


def training_of(recipe: Any, site: Path, output: Path, **changed: object) -> Any:
    finder = recipe("site_scenes").LesionFinder(7)
    values: dict[str, Any] = {
        "network": finder,
        "site": site,
        "bundle": BUNDLES / "lymph_node",
        "output": output,
        "steps": 2,
        "learning_rate": 1e-3,
        "view_steps": 2,
        "view_learning_rate": 1e-3,
        "views_a_scene": 20,
        "site_share": 0.5,
        "unmarked": "suspected",
        "people": 0,
    }
    return recipe("site_training").SiteTraining(**{**values, **changed})


def test_training_begun_twice_ends_in_the_same_bits_and_goes_on_where_it_stopped(
    recipe: Any, site: Path, tmp_path: Path
) -> None:
    ended = []
    for run in ("one", "other"):
        training_of(recipe, site, tmp_path / run).run(tmp_path / run / "changed")
        ended.append(load_file(tmp_path / run / "changed" / "models" / "model.safetensors"))
    shipped = load_file(BUNDLES / "lymph_node" / "models" / "model.safetensors")
    for name, value in ended[0].items():
        assert torch.equal(value, ended[1][name]), name
        if name.startswith("outline."):
            assert torch.equal(value, shipped[name]), name
    learned = [name for name, value in ended[0].items() if not torch.equal(value, shipped[name])]
    assert {name.split(".")[0] for name in learned} == {"candidates", "views"}

    states = list((tmp_path / "one").glob("candidates_*"))
    further = training_of(recipe, site, tmp_path / "one", steps=3)
    further.run(tmp_path / "one" / "changed")
    assert list((tmp_path / "one").glob("candidates_*")) == states
    curve = json.loads((states[0] / "candidates_curve.json").read_text())
    assert [step for step, _ in curve] == [2, 3]
    # Another rule is another training.
    training_of(recipe, site, tmp_path / "one", unmarked="unknown").run(tmp_path / "changed")
    assert len(list((tmp_path / "one").glob("candidates_*"))) == 2


def test_a_rule_that_there_is_not_is_refused(recipe: Any, site: Path, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="'some' is no rule: negative, suspected, unknown"):
        training_of(recipe, site, tmp_path, unmarked="some")


def test_as_many_generated_scenes_stand_beside_the_sites_as_asked(recipe: Any) -> None:
    beside = recipe("site_training")._beside
    generated = list(range(48))
    assert len(beside(generated, 10, 0.5)) == 10
    assert len(beside(generated, 10, 0.25)) == 30
    assert len(beside(generated, 500, 0.5)) == 48
    assert len(beside(generated, 3, 1.0)) == 4
    assert beside(generated, 10, 0.0) == generated
    assert len(set(beside(generated, 10, 0.5))) == 10
    assert beside([], 10, 0.5) == []
