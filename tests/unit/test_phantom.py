"""Labelled synthetic CT: the same seed gives the same case, and its truth is true."""

from pathlib import Path

import numpy as np
import pytest

from dicomnode.phantom import (
    Case,
    LesionKind,
    Organ,
    Phase,
    Region,
    Tissue,
    draw_pathology,
    make_anatomy,
    make_case,
)
from dicomnode.phantom.canvas import smooth_noise
from dicomnode.phantom.series import write_case
from dicomnode.phantom.structures import LUNGS, VERTEBRAE
from dicomnode.pipeline.volume import read_volume
from dicomnode.testing.studies import StudyIdentity

COARSE = (6.0, 6.0, 6.0)


@pytest.fixture(scope="module")
def ill() -> Case:
    return make_case(
        5, spacing_mm=(4.0, 4.0, 4.0), phase=Phase.PORTAL, pathology=dict.fromkeys(LesionKind, 2)
    )


def test_the_same_seed_gives_the_same_case_and_another_seed_another() -> None:
    region = (100.0, 250.0)
    wish = {LesionKind.LIVER_LESION: 2}
    first = make_case(3, region=region, spacing_mm=COARSE, pathology=wish)
    second = make_case(3, region=region, spacing_mm=COARSE, pathology=wish)
    other = make_case(4, region=region, spacing_mm=COARSE, pathology=wish)
    assert (first.hu == second.hu).all()
    assert (first.labels == second.labels).all()
    assert first.lesions == second.lesions
    assert first.hu.shape != other.hu.shape or (first.hu != other.hu).any()


@pytest.mark.parametrize(("seed", "side"), [(5, 1), (204, -1)])
def test_the_liver_lies_on_the_right_and_on_the_left_in_situs_inversus(
    seed: int, side: int
) -> None:
    labels = make_anatomy(seed, region=(80.0, 300.0), spacing_mm=COARSE, detail=False).labels
    spleen, liver = (
        np.argwhere(labels == organ)[:, 2].mean() for organ in (Organ.SPLEEN, Organ.LIVER)
    )
    assert (spleen - liver) * side * COARSE[2] > 60
    for organ in (Organ.VERTEBRA_L2, Organ.RIBS, Organ.KIDNEY_LEFT, Organ.PANCREAS, Organ.AORTA):
        assert (labels == organ).any(), organ


def test_every_structure_of_the_trunk_is_there_and_of_human_size() -> None:
    labels = make_anatomy(5, spacing_mm=(4.0, 4.0, 4.0), detail=False).labels
    ml = {organ: (labels == organ).sum() * 0.064 for organ in Organ}
    for organ in (*VERTEBRAE, Organ.SACRUM, Organ.RIBS, Organ.STERNUM, Organ.SCAPULA):
        assert ml[organ] > 5, organ
    for organ, (low, high) in {
        Organ.LIVER: (700, 3600),
        Organ.SPLEEN: (40, 900),
        Organ.KIDNEY_LEFT: (70, 350),
        Organ.PANCREAS: (25, 180),
        Organ.HEART: (350, 1500),
        Organ.AORTA: (100, 600),
        Organ.LUNG_RIGHT: (800, 4500),
    }.items():
        assert low < ml[organ] < high, (organ, ml[organ])


def test_sides_and_heights_are_those_of_a_patient_in_lps() -> None:
    anatomy = make_anatomy(7, spacing_mm=COARSE, detail=False)

    def centre(organ: Organ) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        at = np.argwhere(anatomy.labels == organ).mean(0)
        return np.asarray((anatomy.grid.affine_lps_mm @ [*at, 1.0])[:3])

    assert centre(Organ.LIVER)[0] < 0 < centre(Organ.SPLEEN)[0]
    assert centre(Organ.KIDNEY_RIGHT)[0] < centre(Organ.KIDNEY_LEFT)[0]
    assert centre(Organ.STERNUM)[1] < centre(Organ.VERTEBRA_T7)[1]
    assert centre(Organ.BLADDER)[2] < centre(Organ.PANCREAS)[2] < centre(Organ.HEART)[2]
    heights = [centre(organ)[2] for organ in VERTEBRAE]
    assert heights == sorted(heights, reverse=True)


def test_contrast_medium_shows_in_vessels_by_phase() -> None:
    means = {}
    for phase in Phase:
        case = make_case(9, region=(120.0, 240.0), spacing_mm=COARSE, phase=phase)
        blood = (case.labels == Organ.AORTA) & (case.lesion_map == 0)
        means[phase] = float(np.median(case.hu[blood]))
    assert means[Phase.NATIVE] < 90
    assert means[Phase.ARTERIAL] > means[Phase.PORTAL] > means[Phase.NATIVE] + 30


def test_tissues_have_the_densities_of_tissues(ill: Case) -> None:
    healthy = ill.lesion_map == 0

    def median(organ: Organ) -> float:
        return float(np.median(ill.hu[(ill.labels == organ) & healthy]))

    assert -130 < median(Organ.SUBCUTANEOUS_FAT) < -60
    assert 25 < median(Organ.MUSCLE) < 90
    assert -930 < median(Organ.LUNG_LEFT) < -650
    assert median(Organ.RIBS) > 100
    assert median(Organ.OUTSIDE) < -900


def test_truth_of_each_lesion_is_its_mask(ill: Case) -> None:
    assert {lesion.kind for lesion in ill.lesions} == set(LesionKind)
    voxel_ml = ill.grid.voxel_mm3 / 1000
    for lesion in ill.lesions:
        mask = ill.lesion_map == lesion.index
        assert lesion.volume_ml == pytest.approx(mask.sum() * voxel_ml)
        centre = ill.grid.affine_lps_mm @ [*np.argwhere(mask).mean(0), 1.0]
        np.testing.assert_allclose(lesion.centre_lps_mm, centre[:3], atol=1e-6)
    assert set(np.unique(ill.lesion_map)) == {0, *(lesion.index for lesion in ill.lesions)}


def test_lesions_lie_in_their_organs(ill: Case) -> None:
    allowed = {
        LesionKind.LUNG_NODULE: {*LUNGS},
        LesionKind.LIVER_LESION: {Organ.LIVER},
        LesionKind.MEDIASTINAL_NODE: {Organ.LYMPH_NODE},
        LesionKind.EFFUSION: {Organ.EFFUSION},
        LesionKind.COLON_POLYP: {Organ.COLON},
        LesionKind.CALCIFICATION: {Organ.AORTA},
    }
    for lesion in ill.lesions:
        found = set(np.unique(ill.labels[ill.lesion_map == lesion.index]))
        if lesion.kind in allowed:
            assert found <= {int(o) for o in allowed[lesion.kind]}, lesion


def test_nodes_are_counted_as_nodes_and_nothing_else_is(ill: Case) -> None:
    nodes = [lesion.index for lesion in ill.lesions if "node" in lesion.kind.value]
    marked = np.isin(ill.lesion_map, nodes)
    assert ((ill.labels == Organ.LYMPH_NODE) == marked).all()


def test_marrow_and_contents_lie_within_their_organ() -> None:
    anatomy = make_anatomy(2, region=Region.ABDOMEN, spacing_mm=COARSE, detail=False)
    assert not anatomy.tissue[anatomy.labels == Organ.OUTSIDE].any()
    marrow = (anatomy.labels == Organ.VERTEBRA_L2) & (anatomy.tissue == Tissue.INNER)
    assert 0.1 < marrow.sum() / (anatomy.labels == Organ.VERTEBRA_L2).sum() < 0.95


def test_noise_is_smooth_and_of_unit_variance() -> None:
    noise = smooth_noise(np.random.default_rng(0), (40, 60, 60), (3.0, 3.0, 3.0), 15.0)
    assert noise.std() == pytest.approx(1.0, abs=0.25)
    assert np.abs(np.diff(noise, axis=2)).mean() < 0.5


def test_drawn_pathology_is_the_seeds() -> None:
    assert draw_pathology(12) == draw_pathology(12)
    drawn = [draw_pathology(seed) for seed in range(30)]
    assert set().union(*drawn) == set(LesionKind)


def test_a_written_case_is_read_back_in_place(tmp_path: Path) -> None:
    case = make_case(1, region=(150.0, 220.0), spacing_mm=(5.0, 6.0, 6.0), phase=Phase.LATE)
    case.hu[:, 0, 0] = -3024
    paths = write_case(case, tmp_path / "series", StudyIdentity(seed="phantom"))
    volume = read_volume(paths)
    assert (volume.array == np.maximum(case.hu, -1024)).all()  # outside the scan circle: air
    np.testing.assert_allclose(volume.grid.affine_lps_mm, case.grid.affine_lps_mm, atol=1e-4)
