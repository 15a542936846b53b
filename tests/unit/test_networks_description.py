"""The recurrent cascade: what it writes, and what becomes of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dicomnode.domain.codes import Code
from dicomnode.domain.errors import ContractBroken
from dicomnode.evaluation.sequences import bleu
from dicomnode.networks.description import END, ContextWriter, DescriptionReader
from dicomnode.pipeline.classes import Reading
from dicomnode.pipeline.manifest import ImageClass, Statements
from dicomnode.pipeline.statements import statements_of

OPACITY = Code("lung-opacity", "99DICOMNODE", "Lung opacity")


def test_the_writer_learns_what_the_image_says() -> None:
    torch.manual_seed(0)
    writer = ContextWriter(2, 6, hidden=16, word_size=4, dropout=0.0)
    image = torch.eye(2)
    # After disease 1: word 2 or 3 as the image says, then 4, then the end.
    sequence = torch.tensor([[1, 2, 4, END], [1, 3, 4, END]])
    optimizer = torch.optim.Adam(writer.parameters(), 0.02)
    for _ in range(150):
        said, _ = writer(image, sequence)
        loss = torch.nn.functional.cross_entropy(said.flatten(0, 1), sequence[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    words, certainty = writer.eval().write(image, sequence[:, 0], 4)
    assert words.tolist() == [[2, 4, END, END], [3, 4, END, END]]
    assert (certainty[:, :3] > 0.8).all()


def test_the_joint_vector_does_not_depend_on_what_comes_after_the_end() -> None:
    torch.manual_seed(0)
    writer = ContextWriter(2, 6).eval()
    image = torch.rand(1, 2)
    _, short = writer(image, torch.tensor([[1, 2, END]]))
    _, padded = writer(image, torch.tensor([[1, 2, END, END, END]]))
    torch.testing.assert_close(short, padded)


def test_the_reader_writes_for_every_class() -> None:
    torch.manual_seed(0)
    reader = DescriptionReader(
        classes=2, words=7, diseases=(1, 2, 3), context=3, length=2, cut=128, grids=(1, 2)
    ).eval()
    with torch.inference_mode():
        reading = reader(torch.rand(2, 1, 128, 128))
        alone = reader(torch.zeros(1, 1, 128, 128))
    assert reading["words"].shape == reading["certainty"].shape == (2, 3, 2)
    assert reading["logits"].shape == (2, 3)
    assert torch.isfinite(alone["certainty"]).all()
    with pytest.raises(ValueError, match="3 classes"):
        DescriptionReader(classes=2, words=7, diseases=(1,), context=3)


def reading(**changes: object) -> Reading:
    made = Reading(
        logits=np.array([2.0, -2.0], np.float32),
        heatmaps=np.zeros((2, 4, 4), np.float32),
        organs=np.zeros((3, 4, 4), np.float32),
        ratio=0.5,
        to_image=np.eye(3),
        shape=(4, 4),
        words=np.array([[5, 6, 7, 0], [5, 6, 7, 0]]),
        certainty=np.array([[0.9, 0.4, 0.8, 1.0], [0.9, 0.9, 0.9, 1.0]], np.float32),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def statements(**changes: object) -> Statements:
    classes = {
        0: ImageClass(name="Lung opacity", code=OPACITY, operating_point=0.5, reported=True),
        1: ImageClass(name="Effusion", code=OPACITY, operating_point=0.5, reported=True),
    }
    values: dict[str, object] = {
        "kind": "statements",
        "classes": classes,
        "words": {0: {5: "lung", 6: "lower zone", 7: "right"}, 1: {5: "pleura"}},
    }
    return Statements.model_validate({**values, **changes})


def test_only_what_is_at_its_operating_point_is_written_and_unsure_words_are_left_out() -> None:
    (said,) = statements_of(reading(), statements())
    assert said.text == "lung opacity / lung / right (probability 0.88, operating point 0.50)"


def test_neither_right_nor_left_is_written_where_sides_are_in_doubt() -> None:
    (said,) = statements_of(reading(), statements(), with_sides=False)
    assert said.text == "lung opacity / lung (probability 0.88, operating point 0.50)"


def test_words_that_are_not_good_enough_for_a_class_are_never_written_of_it() -> None:
    both = reading(logits=np.array([-2.0, 2.0], np.float32))
    (said,) = statements_of(both, statements())
    assert said.text.startswith("effusion / pleura (probability")


def test_a_class_that_is_switched_off_is_never_written() -> None:
    wanted = statements()
    off = {
        0: wanted.classes[0].model_copy(update={"reported": False}),
        1: wanted.classes[1],
    }
    (said,) = statements_of(reading(), statements(classes=off))
    assert said.text.startswith("None of these is at its operating point: effusion.")
    assert "does not say that the image is normal" in said.text


def test_a_network_that_does_not_write_breaks_the_contract() -> None:
    with pytest.raises(ContractBroken, match="no words"):
        statements_of(reading(words=None), statements())
    with pytest.raises(ContractBroken, match="for each class"):
        statements_of(reading(words=np.zeros((1, 4), int)), statements())


def test_words_of_a_class_that_is_not_there_are_a_fault() -> None:
    with pytest.raises(ValueError, match="class 9"):
        statements(words={9: {5: "lung"}})


def test_bleu_counts_runs_of_words() -> None:
    reference = [["the", "cat", "is", "on", "the", "mat"]]
    assert bleu(reference, reference) == 1
    # The published example of a word said too often: 2 of 7.
    assert bleu([["the"] * 7], [["the", "cat", "is", "on", "the", "mat"]], 1) == pytest.approx(
        2 / 7
    )
    # Every run fits, but three words stand for four.
    said, wanted = [["a", "b"], ["c"]], [["a", "b"], ["c", "d"]]
    assert bleu(said, wanted, 2) == pytest.approx(np.exp(1 - 4 / 3))
    assert bleu([["x", "y"]], [["a", "b"]], 2) == 0
    assert np.isnan(bleu([["a"]], [["a"]], 2))
