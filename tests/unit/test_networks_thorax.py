"""Reading a thorax: places go and come back, geometry measures what it says."""

import torch

from dicomnode.networks.lung_bases import LungBases, base_places
from dicomnode.networks.thorax import ChestXray8Reader, ThoraxReader
from dicomnode.networks.thorax_geometry import GEOMETRY, geometry_of, largest_parts, thorax_place
from dicomnode.networks.upright import KINDS, UprightGate, gate_input


def drawn_organs() -> torch.Tensor:
    """Right lung in columns 20 to 45, left 70 to 95, rows 30 to 100; heart 40 to 80, 70 to 100."""
    organs = torch.zeros(1, 3, 128, 128)
    organs[:, 1, 30:100, 20:45] = 1
    organs[:, 2, 30:100, 70:95] = 1
    organs[:, 0, 70:100, 40:80] = 1
    return organs


def test_geometry_measures_the_drawn_thorax() -> None:
    image = torch.full((1, 1, 128, 128), 0.8)
    numbers = dict(zip(GEOMETRY, geometry_of(image, drawn_organs())[0].tolist(), strict=True))
    assert abs(numbers["cardiothoracic ratio"] - 40 / 75) < 0.03
    assert abs(numbers["height to width"] - 70 / 75) < 0.03
    assert abs(numbers["area right to left"]) < 1e-5
    assert abs(numbers["right lung fills its box"] - 1) < 0.05


def test_geometry_of_nothing_is_finite_and_the_place_is_the_whole_picture() -> None:
    nothing = torch.zeros(2, 3, 64, 64)
    assert torch.isfinite(geometry_of(torch.zeros(2, 1, 64, 64), nothing)).all()
    place = thorax_place(nothing)
    picture = torch.rand(2, 1, 64, 64)
    torch.testing.assert_close(place.cut(picture, 64), picture)


def test_what_lies_apart_from_an_organ_does_not_move_the_square() -> None:
    organs = drawn_organs() * 0.9 + 0.01
    strayed = organs.clone()
    strayed[:, 2, 2:14, 110:126] = 0.8
    strayed[:, 0, 120:126, 4:12] = 0.7

    whole, cleaned = thorax_place(organs), thorax_place(largest_parts(strayed))

    assert (thorax_place(strayed).centre - whole.centre).abs().max() > 0.05
    assert torch.equal(cleaned.centre, whole.centre)
    assert torch.equal(cleaned.half, whole.half)
    numbers = geometry_of(torch.rand(1, 1, 128, 128), largest_parts(strayed))
    assert numbers[0, 0] == geometry_of(torch.rand(1, 1, 128, 128), organs)[0, 0]


def test_outlines_of_one_part_each_and_faint_ones_stay_as_they_are() -> None:
    organs = torch.cat([drawn_organs(), torch.rand(1, 3, 128, 128) * 0.5])
    assert torch.equal(largest_parts(organs), organs)


def test_each_picture_of_a_batch_loses_its_own_strays() -> None:
    organs = drawn_organs().expand(2, -1, -1, -1).clone()
    organs[1, 1, 0:5, 0:5] = 1
    cleaned = largest_parts(organs)
    assert torch.equal(cleaned, drawn_organs().expand(2, -1, -1, -1))


def test_what_is_cut_out_goes_back_to_its_place() -> None:
    organs = drawn_organs()
    place = thorax_place(organs)
    back = place.put_back(place.cut(organs, 128), 128)
    assert ((back > 0.5) == (organs > 0.5)).float().mean() > 0.995


def test_the_reader_gives_classes_maps_and_organs_in_the_inputs_axes() -> None:
    torch.manual_seed(0)
    reader = ThoraxReader(classes=3, cut=128, grids=(1, 2)).eval()
    image = torch.rand(2, 1, 128, 128)
    with torch.inference_mode():
        reading = reader(image)
    assert reading["logits"].shape == (2, 4)
    assert reading["heatmaps"].shape == (2, 4, 64, 64)
    assert reading["organs"].shape == (2, 3, 64, 64)
    assert reading["ratio"].shape == (2,)
    assert all(torch.isfinite(value).all() for value in reading.values())


def test_the_bases_are_below_and_the_left_one_lies_like_the_right_one() -> None:
    organs = drawn_organs()
    place = thorax_place(organs)
    bases = LungBases(1, cells=4, side=32)
    right, left = bases.cut(organs[:, 1:2], place), bases.cut(organs[:, 2:], place)
    # Columns 20 to 45 and 70 to 95: the middle lies at 57.5, so they are mirror images.
    torch.testing.assert_close(right[:1], left[1:], atol=0.15, rtol=0)
    assert right[0].mean() > 0.1
    assert right[0, 0, -3:].max() == 0
    corners = [
        torch.cat([one.centre[0] - one.half, one.centre[0] + one.half])
        for one in (place, *base_places(place))
    ]
    assert corners[1][1] > corners[0][1]
    assert corners[1][3] < corners[0][3]


def test_it_does_not_matter_on_which_side_something_lies_and_shares_add_up() -> None:
    torch.manual_seed(0)
    bases = LungBases(5, cells=3)
    features = torch.rand(4, 5, 6, 6) - 0.5
    swapped = torch.cat([features[2:], features[:2]])
    with torch.inference_mode():
        logit = bases(features)
        torch.testing.assert_close(bases(swapped), logit)
        shares = bases.shares(features)
        torch.testing.assert_close(
            shares.sum((1, 2, 3))[:, None], logit - bases.answer.bias, atol=1e-5, rtol=1e-4
        )
        there = bases.heatmap(features, thorax_place(drawn_organs().expand(2, -1, -1, -1)), 64)
    assert there.shape == (2, 1, 64, 64)
    assert there[:, :, :20].abs().max() == 0
    assert there[:, :, 40:].abs().max() > 0


def test_the_bases_tell_one_class_and_no_other() -> None:
    torch.manual_seed(0)
    reader = ThoraxReader(classes=3, cut=128, grids=(1, 2), bases_for=1).eval()
    image = torch.rand(2, 1, 128, 128)
    with torch.inference_mode():
        before = reader(image)["logits"]
        reader.bases.answer.bias += 5  # type: ignore[union-attr]
        change = reader(image)["logits"] - before
    torch.testing.assert_close(change, torch.tensor([[0.0, 5, 0, 0]]).expand(2, -1))


def test_the_gate_takes_any_size_and_scale() -> None:
    gate = UprightGate(features=2).eval()
    for shape in ((30, 200), (2000, 1500), (1, 1)):
        image = 4095 * torch.rand(1, 1, *shape)
        prepared = gate_input(image)
        assert prepared.shape == (1, 1, 96, 96)
        assert 0 <= prepared.min() <= prepared.max() <= 1
        torch.testing.assert_close(gate_input(image / 4095), prepared, atol=1e-4, rtol=0)
        assert gate(prepared).shape == (1, len(KINDS))


def test_a_fine_tuned_network_can_stand_in_the_readers_place() -> None:
    reader = ChestXray8Reader(3, transition=8).eval()
    with torch.inference_mode():
        reading = reader(torch.rand(1, 1, 64, 64))
    assert reading["logits"].shape == (1, 3)
    assert reading["heatmaps"].shape == (1, 3, 64, 64)
    assert reading["organs"][0, 1:].min() == 1
    assert reading["ratio"].isnan().all()
