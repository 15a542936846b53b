"""Judges the cascade in five folds over patients, learns it anew from all of them, tests it once.

python -m scripts.fit NIH nih.npz JSRT jsrt.npz judge      docs/cross_validation.json
python -m scripts.fit NIH nih.npz JSRT jsrt.npz learn      models/model.safetensors, docs/test.json

The folders are those of cxr_thorax's `scripts.prepare`, the features those of its
`scripts.features`.
"""

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch.nn import functional

from dicomnode.evaluation.ranking import Interval, over_patients
from dicomnode.evaluation.sequences import bleu_of, run_counts
from dicomnode.networks.description import DescriptionReader
from dicomnode.networks.thorax import Seen
from dicomnode.networks.thorax_geometry import Place
from scripts import cascade, words
from scripts.targets import JSRT, Array, Images, Sequences, load

Rows = NDArray[np.int_]
FOLDS, DRAWS = 5, 1000
LEVELS = (0.5, 0.6, 0.7, 0.8)
"""Of certainty, from which on a word might be written."""
THORAX = Path("../cxr_thorax/models/model.safetensors")
JUDGED = ("Lung_Opacity", "Nodule", "Cardiomegaly")


def spoken(sequence: Rows) -> list[str]:
    """Return the words of what follows the disease, up to the end."""
    return [words.VOCABULARY[n] for n in sequence if n]


def template(sequences: Rows, disease: int) -> list[str]:
    """Return the most frequent sequence of a disease: what needs no image."""
    known = Counter(tuple(spoken(row[1:])) for row in sequences if row[0] == disease)
    return list(max(known, key=lambda one: (known[one], one))) if known else []


def note(said: dict[str, list[list[str]]], name: str, found: Rows, sure: Array) -> None:
    """Add what was written under `name`, and under `name, LEVEL` the words that were as sure."""
    said.setdefault(name, []).extend(spoken(row) for row in found)
    for level in LEVELS:
        kept = np.where(sure >= level, found, 0)
        said.setdefault(f"{name}, {level}", []).extend(spoken(row) for row in kept)


def judge(images: Images, sequences: Sequences) -> dict[str, object]:
    """Return the figures of five folds over the patients that are not in the test part."""
    fold = cascade.folds_of(images.patients, FOLDS, 0)
    known = np.flatnonzero(~images.test)
    said: dict[str, list[list[str]]] = {}
    wanted: list[list[str]] = []
    rows: list[int] = []
    for k in range(FOLDS):
        seen = known[fold[known] != k]
        learned = cascade.learn(images, sequences, seen)
        tried = np.flatnonzero(np.isin(sequences.image, known[fold[known] == k]))
        taught = sequences.words[np.isin(sequences.image, seen)]
        rows.extend(tried.tolist())
        wanted.extend(spoken(row[1:]) for row in sequences.words[tried])
        said.setdefault("template", []).extend(
            template(taught, row[0]) for row in sequences.words[tried]
        )
        pairs = zip(("round 1", "round 2"), (learned.first, learned.second), strict=True)
        for (name, writer), embedding in zip(pairs, learned.embeddings, strict=True):
            found, sure = writer.write(
                embedding[sequences.image[tried]], sequences.words[tried, 0].copy()
            )
            note(said, name, found, sure)
        print(f"fold {k}: {len(set(learned.labels))} clusters", flush=True)
    return figures(np.array(rows), wanted, said, images, sequences)


def figures(
    rows: Rows,
    wanted: list[list[str]],
    said: dict[str, list[list[str]]],
    images: Images,
    sequences: Sequences,
) -> dict[str, object]:
    """Return BLEU and the accuracy of each attribute, with intervals over patients."""
    disease = np.array([words.VOCABULARY[n] for n in sequences.words[rows, 0]])
    patients = images.patients[sequences.image[rows]]
    plain = [name for name in said if "," not in name]
    result: dict[str, object] = {
        "sequences": len(rows),
        "patients": len(np.unique(patients)),
        "bleu": {
            group: {
                name: [_bleu(said[name], wanted, patients, chosen, n) for n in (1, 2, 3, 4)]
                for name in plain
            }
            for group, chosen in (
                ("all", np.arange(len(rows))),
                *((one, np.flatnonzero(disease == one)) for one in JUDGED),
            )
            if len(chosen)
        },
    }
    attributes = []
    for one in JUDGED:
        for slot, vocabulary in words.SLOTS.items():
            chosen = np.flatnonzero(disease == one)
            truths = [_slot(wanted[n], vocabulary) for n in chosen]
            if any(truths):
                attributes.append(_attribute(one, slot, chosen, truths, said, patients))
    result["attributes"] = attributes
    return result


def _bleu(
    said: list[list[str]], wanted: list[list[str]], patients: Rows, chosen: Rows, longest: int
) -> list[float | None]:
    counts = run_counts([said[n] for n in chosen], [wanted[n] for n in chosen], longest)
    return rounded(over_patients(lambda rows: bleu_of(counts[rows]), patients[chosen], draws=DRAWS))


def _slot(sequence: list[str], vocabulary: tuple[str, ...]) -> str:
    return next((word for word in sequence if word in vocabulary), "")


def _attribute(
    disease: str,
    slot: str,
    chosen: Rows,
    truths: list[str],
    said: dict[str, list[list[str]]],
    patients: Rows,
) -> dict[str, object]:
    right = {
        name: np.array(
            [
                float(_slot(said[name][n], words.SLOTS[slot]) == truth)
                for n, truth in zip(chosen, truths, strict=True)
            ]
        )
        for name in said
    }
    who = patients[chosen]
    line: dict[str, object] = {"disease": disease, "attribute": slot, "n": len(chosen)}
    line["template"] = rounded(_mean(right["template"], who))
    for name in (one for one in said if one.startswith("round") and "," not in one):
        line[name] = rounded(_mean(right[name], who))
        line[f"{name}, gain"] = rounded(_mean(right[name] - right["template"], who))
        line[f"{name}, written"] = {
            str(level): _written(said[f"{name}, {level}"], chosen, right[f"{name}, {level}"], slot)
            for level in LEVELS
        }
    return line


def _written(said: list[list[str]], chosen: Rows, right: Array, slot: str) -> list[int]:
    """Return how many words of a slot were right, and how many were written."""
    written = np.array([bool(_slot(said[n], words.SLOTS[slot])) for n in chosen])
    return [int(right[written].sum()), int(written.sum())]


def _mean(values: Array, patients: Rows) -> Interval:
    return over_patients(lambda rows: float(values[rows].mean()), patients, draws=DRAWS)


def rounded(value: Interval) -> list[float | None]:
    return [
        None if np.isnan(v) else round(float(v), 3) for v in (value.value, value.low, value.high)
    ]


def final_reader(images: Images, sequences: Sequences) -> DescriptionReader:
    """Return the network, learned from all but the test part, on cxr_thorax's own weights."""
    seen = np.flatnonzero(~images.test)
    rows = np.flatnonzero(np.isin(sequences.image, seen))
    said, which = sequences.words[rows], sequences.image[rows]
    one = cascade.first_embedding(images, seen)
    first = cascade.learn_to_write(one[which], said)
    labels = cascade.clustered(first.joint(one[which], said))
    reader = DescriptionReader(
        classes=images.truth.shape[1],
        words=len(words.VOCABULARY),
        diseases=[words.NUMBER[name] for name in words.DISEASES],
        context=int(labels.max()) + 1,
        bases_for=list(words.DISEASES).index("Effusion"),
    ).eval()
    reader.reader.load_state_dict(load_file(THORAX))
    put_context(reader, images, seen, which, labels)
    as_shipped = embeddings(reader, images)
    # Scores of images that were learned from are out of fold; here they get the shipped heads'
    # units, which JSRT's images tell, because no head has seen them.
    two = np.concatenate([one, cascade.context_scores(images, seen, which, labels, 0)], 1)
    told = np.flatnonzero(images.sources == JSRT)
    for column in range(two.shape[1]):
        if two[told, column].std() > 1e-6:
            slope, offset = np.polyfit(two[told, column], as_shipped[told, column], 1)
            two[:, column] = slope * two[:, column] + offset
    writer = cascade.learn_to_write(two[which], said)
    reader.writer.load_state_dict(writer.network.state_dict())
    with torch.no_grad():
        reader.middle.copy_(torch.from_numpy(writer.middle))
        reader.spread.copy_(torch.from_numpy(writer.spread))
    print(f"{labels.max() + 1} clusters")
    for label in range(labels.max() + 1):
        common = Counter(" / ".join(spoken(row)) for row in said[labels == label])
        print(label, common.most_common(3))
    return reader


def put_context(
    reader: DescriptionReader, images: Images, seen: Rows, which: Rows, labels: Rows
) -> None:
    """Fold the scale of pooled features into the head that the second round learns."""
    targets = cascade.context_targets(images, which, labels)
    x = cascade.context_inputs(images, seen)
    weights = cascade.ridge(x[seen], targets[seen], images.sources[seen], cascade.CONTEXT_PENALTY)
    pooled = cascade.Scale(images.pooled[seen], None)
    shape = cascade.Scale(images.geometry[seen], 4.0)
    many, few = images.pooled.shape[1], images.geometry.shape[1]
    own = reader.reader.scaled(torch.from_numpy(images.geometry).float()).numpy()
    # Geometry reaches the head as the reader scales it: near enough to the median and spread here.
    w = weights[:many] / np.sqrt(many) / pooled.spread[:, None]
    g = (
        weights[many:]
        / np.sqrt(few)
        * (reader.reader.geometry_spread.numpy() / shape.spread)[:, None]
    )
    bias = -(images.pooled[seen].mean(0) @ w) - own[seen].mean(0) @ g
    with torch.no_grad():
        reader.context.weight.copy_(torch.from_numpy(np.concatenate([w, g]).T))
        reader.context.bias.copy_(torch.from_numpy(bias))


def seen_by(reader: DescriptionReader, images: Images, rows: Rows) -> Seen:
    """Return what the network has seen of some cached images."""
    features = torch.from_numpy(images.maps[rows].astype(np.float32))
    organs = torch.from_numpy(images.organs[rows].astype(np.float32))
    place = torch.from_numpy(images.place[rows]).float()
    return Seen(
        bases=None,
        organs=organs,
        place=Place(place[:, :2], place[:, 2]),
        features=features,
        cut_organs=organs,
        geometry=torch.from_numpy(images.geometry[rows]).float(),
        opacity=reader.reader.focus(features, organs),
    )


def embeddings(reader: DescriptionReader, images: Images) -> Array:
    """Return what the shipped heads make of all images, before it is scaled."""
    parts = []
    with torch.inference_mode():
        for rows in np.array_split(np.arange(len(images.names)), 20):
            seen = seen_by(reader, images, rows)
            geometry = reader.reader.scaled(seen.geometry)
            coarse = functional.adaptive_avg_pool2d(seen.opacity, reader.grid).flatten(1)
            pooled = torch.cat([reader.pooling(seen.features), geometry], 1)
            logits = reader.reader.head_logits(seen)
            parts.append(torch.cat([logits, geometry, coarse, reader.context(pooled)], 1))
    return np.asarray(torch.cat(parts).numpy().astype(np.float64))


def test(reader: DescriptionReader, images: Images, sequences: Sequences) -> dict[str, object]:
    """Return the figures of the shipped network on the test part."""
    rows = np.flatnonzero(images.test[sequences.image])
    taught = sequences.words[~images.test[sequences.image]]
    found, sure = [], []
    with torch.inference_mode():
        for n in rows:
            seen = seen_by(reader, images, sequences.image[n : n + 1])
            embedding = reader.embedding(seen, reader.reader.head_logits(seen))
            disease = torch.from_numpy(sequences.words[n : n + 1, 0])
            written, certainty = reader.writer.write(embedding, disease, reader.length)
            found.append(written[0].numpy())
            sure.append(certainty[0].numpy())
    said = {"template": [template(taught, row[0]) for row in sequences.words[rows]]}
    note(said, "round 2", np.array(found), np.array(sure))
    return figures(
        rows, [spoken(row[1:]) for row in sequences.words[rows]], said, images, sequences
    )


def main(asked: list[str]) -> None:
    torch.set_num_threads(1)
    nih, nih_features, jsrt, jsrt_features = (Path(word) for word in asked[:4])
    images, sequences = load((nih, nih_features), (jsrt, jsrt_features))
    if asked[4] == "judge":
        out = Path("docs/cross_validation.json")
        out.write_text(json.dumps(judge(images, sequences), indent=1) + "\n")
        return
    reader = final_reader(images, sequences)
    weights = {
        # The trunk and the organs' network as cxr_thorax ships them, in half precision.
        k: (
            v.half()
            if k.startswith(("reader.backbone", "reader.organs")) and v.is_floating_point()
            else v
        )
        for k, v in reader.state_dict().items()
    }
    save_file({k: v.contiguous() for k, v in weights.items()}, "models/model.safetensors")
    figures_of_test = {"clusters": reader.context.out_features, **test(reader, images, sequences)}
    Path("docs/test.json").write_text(json.dumps(figures_of_test, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
