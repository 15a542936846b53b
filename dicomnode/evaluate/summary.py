"""The figures of an evaluation: what goes into the JSON, and what the page shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from sklearn.linear_model import LogisticRegression

from dicomnode.evaluate.scoring import Scored
from dicomnode.evaluate.truths import Labelled, key_of, truth_of
from dicomnode.evaluation.calibration import (
    Operating,
    calibration_error,
    fit_temperature,
    operating,
)
from dicomnode.evaluation.localisation import Localisation, localisation
from dicomnode.evaluation.prevalence import nih_weights
from dicomnode.evaluation.ranking import (
    Cases,
    Interval,
    Labels,
    Numbers,
    auc_gain,
    auc_interval,
    auc_within,
)
from dicomnode.pipeline.manifest import Classes, ImageClass

_FEWEST = 5
"""Positive images below which no figure is given."""
_FOLDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Subgroup:
    """Part of the images, by something a header says."""

    name: str
    images: int
    positive: int
    auc: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFigures:
    """One class; figures are None where there are fewer than five positive images."""

    name: str
    reported: bool
    known: int
    positive: int
    auc: Interval | None
    """Within sources, weighted."""
    without_image: float | None
    """The same of view, age and sex."""
    gain: Interval | None
    """How much more the image says than view, age and sex."""
    calibration_error: float | None
    temperature: float | None
    """By which logits would have to be divided here; above 1: too sure."""
    calibration_error_scaled: float | None
    """After temperature scaling, each image by a temperature fitted on other patients."""
    operating_point: float
    operating: Operating | None
    subgroups: tuple[Subgroup, ...]
    truth: Numbers
    likely: Numbers
    scaled: Numbers | None
    """Probabilities after temperature scaling, of the images whose truth is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Everything that was measured."""

    images: int
    patients: int
    refused: Mapping[str, str]
    """Image -> why it was not read."""
    classes: tuple[ClassFigures, ...]
    boxes: Mapping[str, Localisation]
    weights: Numbers
    seconds: tuple[float, ...]
    """Of each image that was read."""


def summarise(
    scored: Sequence[Scored],
    wanted: Classes,
    others: Sequence[Labelled],
    *,
    like_nih: bool,
    box_labels: Mapping[str, str],
    draws: int,
) -> Summary:
    """Score every class that the images say something of.

    Args:
        scored: what the bundle said.
        wanted: the bundle's classes.
        others: images that were not scored; what can be told without an image is learned there,
            or by cross-validation among the scored ones if they are too few.
        like_nih: weight images to the frequencies of ChestX-ray14.
        box_labels: class -> label under which its true boxes are.
        draws: of the bootstrap.
    """
    read = [one for one in scored if not one.refused]
    images = [one.image for one in read]
    truths = {one.name: _truths(images, one.name) for one in wanted.classes.values()}
    is_ap = np.array([float(image.view == "AP") for image in images])
    weights = np.ones(len(images))
    if like_nih:
        weights = nih_weights({_nih(name): value for name, value in truths.items()}, is_ap)
    cases = Cases(
        patients=_numbered([image.patient for image in images]),
        sources=_numbered([image.source for image in images]),
        weights=weights,
    )
    figures = []
    for one in wanted.classes.values():
        truth = truths[one.name]
        without = _WithoutImage(
            images=images,
            others=others,
            elsewhere=_truths(others, one.name),
            folds=cases.patients % _FOLDS,
        ).scores(truth)
        likely = np.array([each.likely[one.name] for each in read])
        found = _figures(one, truth=truth, likely=likely, without=without, cases=cases, draws=draws)
        groups = _subgroups(truth, likely, images, cases) if found.auc else ()
        figures.append(replace(found, subgroups=groups))
    return Summary(
        images=len(scored),
        patients=len({one.image.patient for one in scored}),
        refused={one.image.name: one.refused for one in scored if one.refused},
        classes=tuple(figures),
        boxes=_localised(read, box_labels),
        weights=weights,
        seconds=tuple(one.seconds for one in read),
    )


def _nih(name: str) -> str:
    return "_".join(word.capitalize() for word in key_of(name).split("_"))


def _truths(images: Sequence[Labelled], name: str) -> Numbers:
    return np.array([truth_of(image, key_of(name)) for image in images])


def _numbered(values: Sequence[str]) -> Labels:
    return np.asarray(np.unique(np.array(values), return_inverse=True)[1])


def _figures(
    one: ImageClass,
    *,
    truth: Numbers,
    likely: Numbers,
    without: Numbers,
    cases: Cases,
    draws: int,
) -> ClassFigures:
    known = ~np.isnan(truth)
    positive = int((truth == 1).sum())
    enough = min(positive, int((truth == 0).sum())) >= _FEWEST
    part, weights = cases.part(known), cases.weights[known]
    right, said, plain = truth[known], likely[known], without[known]
    scaled = _Scaled.of(right, said, part) if enough else None
    return ClassFigures(
        name=one.name,
        reported=one.reported,
        known=int(known.sum()),
        positive=positive,
        auc=auc_interval(right, said, part, draws) if enough else None,
        without_image=auc_within(right, plain, part) if enough else None,
        gain=auc_gain(right, said, plain, part, draws) if enough else None,
        calibration_error=calibration_error(right, said, weights) if enough else None,
        temperature=scaled.temperature if scaled else None,
        calibration_error_scaled=scaled.error if scaled else None,
        operating_point=one.operating_point,
        operating=operating(right, said, weights, one.operating_point) if enough else None,
        subgroups=(),
        truth=truth,
        likely=likely,
        scaled=scaled.likely if scaled else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scaled:
    """What temperature scaling would bring here."""

    temperature: float
    error: float
    likely: Numbers

    @classmethod
    def of(cls, truth: Numbers, likely: Numbers, cases: Cases) -> "_Scaled":
        sure = np.clip(likely, 1e-9, 1 - 1e-9)
        logits = np.log(sure / (1 - sure))
        scaled = np.empty_like(logits)
        folds, held = cases.patients % _FOLDS, 1.0
        for fold in np.unique(folds):
            asked, rows = folds == fold, folds != fold
            if rows.any():
                held = fit_temperature(logits[rows], truth[rows], cases.weights[rows])
            scaled[asked] = logits[asked] / held
        after = 1 / (1 + np.exp(-scaled))
        return cls(
            temperature=fit_temperature(logits, truth, cases.weights),
            error=calibration_error(truth, after, cases.weights),
            likely=after,
        )


def _subgroups(
    truth: Numbers, likely: Numbers, images: Sequence[Labelled], cases: Cases
) -> tuple[Subgroup, ...]:
    def group(name: str, rows: Numbers) -> Subgroup:
        mask = (rows > 0.5) & ~np.isnan(truth)
        return Subgroup(
            name=name,
            images=int(mask.sum()),
            positive=int((truth[mask] == 1).sum()),
            auc=auc_within(truth[mask], likely[mask], cases.part(mask)),
        )

    ages = [(0, 40), (40, 60), (60, 200)]
    return (
        *(group(f"view {v}", np.array([i.view == v for i in images], float)) for v in ("PA", "AP")),
        *(group(f"sex {s}", np.array([i.sex == s for i in images], float)) for s in ("F", "M")),
        *(
            group(
                f"age {low} to {high - 1}" if high < 200 else f"age {low} and above",
                np.array([i.age is not None and low <= i.age < high for i in images], float),
            )
            for low, high in ages
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _WithoutImage:
    """What view, age and sex alone say: a logistic regression that has not seen the row."""

    images: Sequence[Labelled]
    others: Sequence[Labelled]
    elsewhere: Numbers
    """Truth of `others`."""
    folds: Labels
    """Of `images`, by patient."""

    def scores(self, truth: Numbers) -> Numbers:
        """Of `images`; `truth` is used only if `others` are too few."""
        known = ~np.isnan(self.elsewhere)
        header = _header(self.images)
        if min((self.elsewhere == 1).sum(), (self.elsewhere == 0).sum()) >= _FEWEST:
            model = _fitted(_header(self.others)[known], self.elsewhere[known])
            return np.asarray(model.decision_function(header))
        said = np.zeros(len(self.images))
        for fold in range(_FOLDS):
            rows, asked = (self.folds != fold) & ~np.isnan(truth), self.folds == fold
            if asked.any() and 0 < truth[rows].sum() < rows.sum():
                model = _fitted(header[rows], truth[rows])
                said[asked] = model.decision_function(header[asked])
        return said


def _fitted(header: Numbers, truth: Numbers) -> LogisticRegression:
    return LogisticRegression(max_iter=500).fit(header, truth)


def _header(images: Sequence[Labelled]) -> Numbers:
    rows = []
    for image in images:
        age = ((50.0 if image.age is None else min(image.age, 95.0)) - 47) / 17
        ap, male = float(image.view == "AP"), float(image.sex == "M")
        rows.append([ap, male, age, age * age, ap * age, ap * male])
    return np.array(rows).reshape(len(rows), 6)


def _localised(read: Sequence[Scored], box_labels: Mapping[str, str]) -> dict[str, Localisation]:
    tables = {}
    for name, label in box_labels.items():
        true = {one.image.name: one.image.boxes.get(key_of(label), ()) for one in read}
        if any(true.values()):
            found = {one.image.name: one.boxes.get(name, ()) for one in read}
            tables[f"{name} on boxes of {label}"] = localisation(found, true)
    return tables
