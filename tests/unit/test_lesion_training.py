"""The recipe of the lesion bundles: what a crop should say, what it is told, real backgrounds."""

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle.config_parser import ConfigParser
from safetensors.torch import load_file, save_file

from dicomnode.phantom.planting import Kind, Lesion

BUNDLE = Path(__file__).resolve().parents[2] / "algorithms" / "lymph_node"
SIZE = (80, 72, 60)


def ball(kind: int, centre: tuple[float, float, float], diameter: float) -> dict[str, object]:
    return {
        "kind": kind,
        "number": 1,
        "centre": centre,
        "diameter": diameter,
        "organ": 4,
        "plan_z": 0.0,
    }


def write_scene(folder: Path, **told: object) -> None:
    """Soft tissue with a node of 12 mm and a nodule of 20 mm, 2 mm a voxel."""
    values = {
        "lesions": [ball(0, (60.0, 60.0, 60.0), 12.0), ball(1, (100.0, 90.0, 70.0), 20.0)],
        **told,
    }
    np.save(folder / "a_hu.npy", np.full(SIZE, 40, np.int16))
    np.save(folder / "a_inst.npy", np.zeros(SIZE, np.uint8))
    (folder / "a.json").write_text(json.dumps(values))


def test_heat_is_highest_at_the_middle_and_every_lesion_counts_once(
    recipe: Any, tmp_path: Path
) -> None:
    write_scene(tmp_path)
    crops = recipe("crops")
    (scene,) = recipe("scenes").scenes_in(tmp_path)
    heat, middle, counts, radius = crops.wanted_of(crops.Cut(scene, (0, 0, 0)), 2)
    assert heat.shape == (2, 32, 32, 24)
    for kind, at, mm in ((0, (60.0, 60, 60), 6), (1, (100.0, 90, 70), 10)):
        peak = np.unravel_index(int(heat[kind].argmax()), heat.shape[1:])
        assert np.abs(np.array(peak) * 4 + 1 - at).max() <= 2
        assert float(middle[kind].sum()) == pytest.approx(1, abs=1e-5)
        assert float(radius[peak]) == pytest.approx(np.log(mm / 8))
    assert (counts == 1).all()
    # A lesion whose middle lies beyond the crop has no middle in it.
    _, beyond, _, _ = crops.wanted_of(crops.Cut(scene, (40, 0, 0)), 2)
    assert float(beyond[0].sum()) == 0
    assert float(beyond[1].sum()) == pytest.approx(1, abs=1e-5)


def test_a_crop_can_show_a_scene_larger_and_cut_off(recipe: Any, tmp_path: Path) -> None:
    write_scene(tmp_path)
    crops = recipe("crops")
    (scene,) = recipe("scenes").scenes_in(tmp_path)
    hu = scene.hu.copy()
    hu[27:33, 27:33, 27:33] = 400
    np.save(tmp_path / "a_hu.npy", hu)
    (scene,) = recipe("scenes").scenes_in(tmp_path)
    crop = crops.Cut(scene, (8, 8, 12), zoom=(0.75, 0.75, 0.75), shown=(0, 28))
    rng = np.random.default_rng(0)
    image = crops.image_of(rng, crop)
    assert tuple(image.shape) == crops.CROP
    assert (image[..., 28:] == -1024).all()
    bright = np.argwhere(image.numpy() > 220).mean(0)
    _, middle, _, radius = crops.wanted_of(crop, 2)
    peak = np.argwhere((middle[0] > 0).numpy()).mean(0)
    assert np.abs(peak * 2 + 0.5 - bright).max() < 1.2
    assert float(radius[tuple(np.round(peak).astype(int))]) == pytest.approx(np.log(6 / 0.75 / 8))
    # The middle of the nodule lies in a slice that was not scanned.
    assert not middle[1].any()
    corners = {crops.draw_cut(rng, scene, (0, 0, 0)).zoom for _ in range(20)}
    assert len(corners) > 3


def test_twigs_fill_lung_and_nothing_else(recipe: Any) -> None:
    twigs = recipe("twigs")
    lung = np.zeros((60, 50, 40), bool)
    lung[10:50, 10:40, 5:35] = True
    hu = np.where(lung, -850, 40).astype(np.float32)
    seen = twigs.add_twigs(np.random.default_rng(0), hu, lung)
    assert (seen[~lung] == 40).all()
    # About as much of a lung as vessels fill on CTs, the thin ones faint.
    assert 0.005 < float((seen[lung] > -500).mean()) < 0.05
    assert 0.03 < float((seen[lung] > -750).mean()) < 0.25
    assert (seen[lung] >= -850).all()
    assert np.array_equal(seen, twigs.add_twigs(np.random.default_rng(0), hu, lung))
    assert (twigs.add_twigs(np.random.default_rng(0), hu, lung & False) == hu).all()


def test_a_deeper_breath_leaves_tissue_and_air_as_they_are(recipe: Any) -> None:
    looks = recipe("appearance")
    hu = torch.tensor([-1024.0, -1000.0, -850.0, -600.0, -400.0, -90.0, 40.0])
    darker = looks.airier(np.random.default_rng(1), hu)
    assert torch.equal(darker[[0, 1, 4, 5, 6]], hu[[0, 1, 4, 5, 6]])
    assert -1000 < float(darker[2]) < -860
    assert float(darker[2]) < float(darker[3]) < -400


def test_nodes_grow_dimmer_and_nothing_else(recipe: Any, tmp_path: Path) -> None:
    looks = recipe("appearance")
    instances = np.zeros((30, 30, 30), np.uint8)
    instances[5:12, 5:12, 5:12] = 1
    instances[18:25, 18:25, 18:25] = 2
    hu = torch.from_numpy(np.where(instances > 0, 90, -100).astype(np.float32))
    seen = looks.dimmer(np.random.default_rng(0), hu, instances, [1])
    assert 14 < float(seen[8, 8, 8]) < 85
    assert float(seen[20, 20, 20]) == 90
    assert float(seen[15, 15, 15]) == -100
    write_scene(tmp_path)
    (scene,) = recipe("scenes").scenes_in(tmp_path, [1])
    assert scene.nodes == (1,)


def test_noise_and_thick_slices_keep_the_mean(recipe: Any) -> None:
    looks = recipe("appearance")
    flat = torch.full((40, 40, 40), 40.0)
    for seed in range(6):
        rng = np.random.default_rng(seed)
        grainy = looks.noisy(rng, flat)
        assert float(grainy.mean()) == pytest.approx(40, abs=2)
        assert 2 <= float(grainy.std()) <= 20.1
        rough, smooth = (float(x.diff(dim=2).std()) for x in (grainy, looks.thick(rng, grainy)))
        assert smooth < rough


def test_what_may_be_a_lesion_of_a_real_patient_counts_as_nothing(
    recipe: Any, tmp_path: Path
) -> None:
    write_scene(
        tmp_path, lesions=[], ignored=[ball(0, (60.0, 60.0, 60.0), 12.0)], unknown_kinds=[1]
    )
    crops = recipe("crops")
    (scene,) = recipe("scenes").scenes_in(tmp_path)
    _, middle, counts, _ = crops.wanted_of(crops.Cut(scene, (0, 0, 0)), 2)
    assert float(middle.sum()) == 0
    assert float(counts[1].max()) == 0
    assert float(counts[0, 15, 15, 15]) == 0
    assert float(counts[0, 0, 0, 0]) == 1


def test_the_loss_wants_heat_at_middles_and_none_elsewhere(recipe: Any, tmp_path: Path) -> None:
    write_scene(tmp_path)
    training = recipe("candidate_training")
    (scene,) = recipe("scenes").scenes_in(tmp_path)
    crops = recipe("crops")
    wanted = [part[None] for part in crops.wanted_of(crops.Cut(scene, (0, 0, 0)), 2)]
    heat, middle, _, radius = wanted
    right = torch.cat([torch.where(middle > 0, 9.0, -9.0), radius[:, None]], 1)
    nowhere = torch.cat([torch.full_like(heat, -9.0), radius[:, None]], 1)
    everywhere = torch.cat([torch.full_like(heat, 9.0), radius[:, None]], 1)
    losses = [float(training.focal(one, *wanted)[0]) for one in (right, nowhere, everywhere)]
    assert losses[0] < 0.01 < 1 < losses[1]
    assert losses[2] > 1
    assert float(training.focal(everywhere, *wanted)[1][0]) > float(
        training.focal(right, *wanted)[1][0]
    )


def test_crops_reach_beyond_a_scene_into_air_and_hard_ones_come_again(
    recipe: Any, tmp_path: Path
) -> None:
    write_scene(tmp_path)
    training = recipe("candidate_training")
    crops = training.Crops([str(tmp_path)], [1.0], again=1.0)
    rng = np.random.default_rng(0)
    scene, _ = crops.draw(rng)
    crop = recipe("crops").cut(scene.hu, (-8, 0, 20), training.CROP, -1024)
    assert (crop[:8] == -1024).all()
    assert (crop[8:, :, :40] == 40).all()
    assert (crop[:, :, 40:] == -1024).all()
    for loss in range(60):
        crops.told(float(loss), scene, (loss, 0, 0))
    _, corner = crops.draw(rng)
    assert corner[1:] == (0, 0)


def test_a_lesion_drowned_in_noise_is_neither_asked_for_nor_forbidden(
    recipe: Any, tmp_path: Path
) -> None:
    drowned = {**ball(0, (60.0, 60.0, 60.0), 12.0), "visibility": 1.5}
    write_scene(tmp_path, lesions=[drowned, ball(1, (100.0, 90.0, 70.0), 20.0)])
    crops = recipe("crops")
    (scene,) = recipe("scenes").scenes_in(tmp_path)
    assert len(scene.lesions) == 2
    _, middle, counts, _ = crops.wanted_of(crops.Cut(scene, (0, 0, 0)), 2)
    assert float(middle[0].sum()) == 0
    assert float(middle[1].sum()) == pytest.approx(1, abs=1e-5)
    assert float(counts[0, 15, 15, 15]) == 0


def test_beyond_the_scan_circle_there_is_no_lesion(recipe: Any) -> None:
    scenes = recipe("scenes")
    seen = np.full((10, 20, 20), 40, np.float32)
    seen[:, :, 15:] = -2048
    inner, outer = (
        Lesion(
            kind=Kind.BONE,
            number=number,
            centre=(5.0, 10.0, column),
            diameter_mm=10.0,
            slice_mm2=80.0,
            contrast_hu=50.0,
        )
        for number, column in ((1, 10.0), (2, 17.0))
    )
    assert scenes.in_image([inner, outer], seen) == [inner]


def test_hotter_false_candidates_are_looked_at_more_often(recipe: Any, tmp_path: Path) -> None:
    write_scene(tmp_path, lesions=[])
    (scene,) = recipe("scenes").scenes_in(tmp_path)
    mined = {
        "points": np.array([[20.0, 0, 0], [40.0, 0, 0], [60.0, 0, 0]]),
        "radii": np.full(3, 5.0),
        "heats": np.array([0.1, 0.3, 0.9]),
        "classes": np.array([0, 0, 1]),
    }
    points, _, classes = recipe("view_training")._view_points(
        np.random.default_rng(0), scene, mined, 400
    )
    none = points[classes == 0][:, 0]
    assert 0.65 < (none == 40).mean() < 0.85
    assert 0.4 < (classes == 0).mean() < 0.6


def test_the_rate_rises_as_long_as_asked(recipe: Any, tmp_path: Path) -> None:
    averaged = recipe("averaging").Averaged(
        torch.nn.Linear(1, 1), tmp_path, "line", steps=1000, rate=1.0, warm=200
    )
    rates = []
    for step in (0, 99, 199, 999):
        averaged.fitted.step = step
        rates.append(averaged._rate())
    assert rates[0] < 0.01
    assert rates[1] == pytest.approx(0.5, abs=0.02)
    assert rates[2] > 0.9 > 0.05 > rates[3]


def test_another_kernel_changes_noise_and_edges_and_nothing_else(recipe: Any) -> None:
    looks = recipe("appearance")
    rng = np.random.default_rng(0)
    flat = torch.full((16, 16, 16), 40.0)
    assert torch.allclose(looks.sharper(rng, flat), flat)
    noisy = flat + torch.from_numpy(rng.normal(0, 10, flat.shape)).float()
    spread = [float(looks.sharper(rng, noisy).std()) for _ in range(20)]
    assert min(spread) < 8 < 12 < max(spread)


def test_crops_are_drawn_around_kinds_by_their_shares(recipe: Any, tmp_path: Path) -> None:
    write_scene(tmp_path)
    training = recipe("candidate_training")
    crops = training.Crops([str(tmp_path)], [1.0], again=0.0, around=1.0)
    crops.kind_shares[1] = 0.0
    rng = np.random.default_rng(0)
    for _ in range(20):
        _, corner = crops.draw(rng)
        near = 30 - np.array(corner)
        assert (near >= 0).all()
        assert (near < training.CROP).all()


def test_weights_of_fewer_channels_are_gone_on_from(recipe: Any, tmp_path: Path) -> None:
    finder = importlib.import_module("dicomnode.networks.lesion_finder").LesionFinder(2).eval()
    stem = "candidates.stem.0.conv.weight"
    kept = {k: v.clone().contiguous() for k, v in finder.state_dict().items()}
    kept[stem] = kept[stem][:, :2].contiguous()
    save_file(kept, tmp_path / "before.safetensors")
    recipe("training").begin(finder, str(tmp_path / "before.safetensors"))
    weights = finder.state_dict()[stem]
    assert torch.equal(weights[:, :2], kept[stem])
    assert not weights[:, 2].any()


def test_weights_are_mixed_by_shares(recipe: Any, tmp_path: Path) -> None:
    finder = importlib.import_module("dicomnode.networks.lesion_finder").LesionFinder(2).eval()
    before = {k: v.clone().contiguous() for k, v in finder.state_dict().items()}
    save_file(before, tmp_path / "before.safetensors")
    with torch.no_grad():
        for weight in finder.parameters():
            weight.add_(1.0)
    recipe("training").mix_candidates(finder, str(tmp_path / "before.safetensors"), 0.3)
    for name, value in finder.state_dict().items():
        if "num_batches" in name or "running" in name:
            continue
        more = 0.7 if name.startswith("candidates.") else 1.0
        assert torch.allclose(value, before[name] + more, atol=1e-5), name


def test_one_kind_can_be_looked_for_alone(recipe: Any, tmp_path: Path) -> None:
    write_scene(tmp_path, unknown_kinds=[0, 1])
    (scene,) = recipe("scenes").scenes_in(tmp_path, [1])
    assert [(one.kind, one.diameter) for one in scene.lesions] == [(0, 20.0)]
    assert scene.unknown_kinds == (0,)


@pytest.mark.parametrize("name", ["nodes", "bone", "polyps"])
def test_the_three_tasks_of_the_paper_are_configurations_of_one_recipe(name: str) -> None:
    told = json.loads((BUNDLE / "configs" / f"train_{name}.json").read_text())
    whole = json.loads((BUNDLE / "configs" / "train.json").read_text())
    assert told["training"]["_target_"] == whole["training"]["_target_"]
    assert told["network_def"]["kinds"] == len(told["training"]["kinds"]) == 1
    assert set(whole["training"]) == set(told["training"]) - {"kinds"}


def test_training_begun_twice_ends_in_the_same_bits(recipe: Any, tmp_path: Path) -> None:
    recipe("scenes")  # `scripts` is the bundle's own from here on.
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    write_scene(scenes)
    ended = []
    for run in ("one", "other"):
        parser = ConfigParser()
        parser.read_config(BUNDLE / "configs" / "train.json")
        parser.update({"scenes": str(scenes), "output": str(tmp_path / run)})
        few = {"people": 0, "candidate_steps": 3, "view_steps": 2, "outline_steps": 2}
        parser.update({f"training::{key}": value for key, value in few.items()})
        torch.rand(len(run))  # What was drawn before does not matter.
        parser.get_parsed_content("training").run()
        ended.append(load_file(tmp_path / run / "model.safetensors"))
    for name, value in ended[0].items():
        assert torch.equal(value, ended[1][name]), name


def test_lesions_in_a_real_background_keep_its_noise(recipe: Any, tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    rng = np.random.default_rng(0)
    x, y, _ = np.meshgrid(np.arange(100), np.arange(90), np.arange(30), indexing="ij")
    hu = np.where(((x - 50) / 45) ** 2 + ((y - 45) / 40) ** 2 < 1, -95.0, -1000.0)
    hu += rng.normal(0, 12, hu.shape)
    affine = np.diag([-2.5, -2.5, 3.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(hu.astype(np.float32), affine), tmp_path / "fat.nii.gz")
    told = [
        {
            "name": "fat",
            "image": "fat.nii.gz",
            "unknown_kinds": ["LIVER"],
            "ignored": [{"centre_ras_mm": [-125.0, -112.0, 45.0], "radius_mm": 10}],
        }
    ]
    (tmp_path / "list.json").write_text(json.dumps(told))
    real = recipe("real_scenes")
    real.write_real_scenes(tmp_path / "out", tmp_path / "list.json", 1, (8, 0, 0, 0, 0, 0, 0))
    (scene,) = recipe("scenes").scenes_in(tmp_path / "out")
    assert scene.lesions
    assert scene.unknown_kinds == (4,)
    assert scene.ignored[0].diameter == 20
    assert np.abs(np.array(scene.ignored[0].centre) - (125, 113, 45)).max() < 4
    for one in scene.lesions:
        mask = np.asarray(scene.instances) == one.number
        assert np.argwhere(mask).mean(0) * 2 == pytest.approx(one.centre, abs=2.1)
        inside = np.asarray(scene.hu)[mask].astype(float)
        assert inside.mean() > -40
        assert inside.std() > 5
