"""Side, place, severity, change, size, count, image of each finding."""

import pytest

from dicomnode.domain.reports import Attributes, Change, ImageReference, Side
from tests.unit.reports_reading import mined


def of(text: str, concept: str) -> Attributes:
    return next(m.attributes for m in mined(text).mentions if m.concept == concept)


def test_each_finding_keeps_its_own_words() -> None:
    text = "Small right pleural effusion and moderate left lower lobe atelectasis."
    effusion, atelectasis = of(text, "pleural-effusion"), of(text, "atelectasis")
    assert (effusion.side, effusion.severity, effusion.locations) == (Side.RIGHT, "mild", ())
    assert (atelectasis.side, atelectasis.severity) == (Side.LEFT, "moderate")
    assert atelectasis.locations == ("lower lobe",)


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("A 6 mm nodule.", (6.0,)),
        ("A 1.2 cm nodule.", (12.0,)),
        ("Nodule measuring 3 x 4 mm.", (3.0, 4.0)),
        ("A 2.1 x 2 x 1.5 cm nodule.", (21.0, 20.0, 15.0)),
        ("Nodule of 8 mm x 1.1 cm.", (8.0, 11.0)),
        ("Nodule.", ()),
    ],
)
def test_sizes_come_out_in_millimetres(text: str, sizes: tuple[float, ...]) -> None:
    assert of(text, "nodule").sizes_mm == sizes


@pytest.mark.parametrize(
    ("text", "image"),
    [
        ("Nodule (series 4, image 56).", ImageReference(series=4, image=56)),
        ("Nodule on image 56 of series 4.", ImageReference(series=4, image=56)),
        ("Nodule, image 12.", ImageReference(series=None, image=12)),
    ],
)
def test_images_a_sentence_points_to_are_kept(text: str, image: ImageReference) -> None:
    assert of(text, "nodule").images == (image,)


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("New effusion.", Change.NEW),
        ("Effusion has increased.", Change.INCREASED),
        ("Decreasing effusion.", Change.DECREASED),
        ("No change in the effusion.", Change.UNCHANGED),
        ("Effusion.", None),
    ],
)
def test_change_is_read(text: str, change: Change | None) -> None:
    assert of(text, "pleural-effusion").change is change


@pytest.mark.parametrize(
    ("text", "sides"),
    [
        ("Left pleural effusion and atelectasis.", (Side.LEFT, Side.LEFT)),
        ("Effusion and atelectasis at the left base.", (Side.LEFT, Side.LEFT)),
        ("Right effusion and left atelectasis.", (Side.RIGHT, Side.LEFT)),
        ("Effusion and left atelectasis.", (None, Side.LEFT)),
        ("Left effusion with some atelectasis.", (Side.LEFT, None)),
    ],
)
def test_a_list_shares_its_side(text: str, sides: tuple[Side | None, ...]) -> None:
    assert (of(text, "pleural-effusion").side, of(text, "atelectasis").side) == sides


def test_a_list_shares_no_size() -> None:
    assert of("A 5 mm nodule and mass.", "mass").sizes_mm == ()


def test_number_words_are_counted() -> None:
    assert of("Two nodules in the lingula.", "nodule").count == 2
    assert of("Bibasilar nodules.", "nodule").side is Side.BILATERAL
