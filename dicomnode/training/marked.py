"""A site's marked volumes in three parts by patient, and bundles of lesions judged by one."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dicomnode.domain.errors import StudyError
from dicomnode.evaluate.lesion_figures import SIZE_RATES
from dicomnode.evaluate.run import Tick, report_lesions
from dicomnode.pipeline.bundle import BundleAlgorithm
from dicomnode.pipeline.manifest import Lesions
from dicomnode.training.judging import Asked, Division, Figure, Judged
from dicomnode.training.marked_links import link_volumes
from dicomnode.training.marks import Marked, SiteMarks, checked, rows_of_others
from dicomnode.training.patients import Sides, check_not_learned, sides_of
from dicomnode.training.points import AS_SHIPPED, DICOM, LEAST_VOLUMES, PointsFromDev

_TITLE = (
    "Sensitivity at so many false positives (FP) a volume on patients held out, with 95 % intervals"
)


def divide_marked(asked: Asked, algorithm: BundleAlgorithm, tick: Tick) -> Division:
    """Implements `judging.Divide`; links the parts into `learned`, `dev` and `held_out`."""
    pred = algorithm.manifest.outputs.pred
    assert isinstance(pred, Lesions)
    spec = next(iter(algorithm.needs.values()))
    marks = SiteMarks(asked.data, pred, asked.lesion_types, sorted(spec.modalities)[0])
    volumes = checked(marks, algorithm.needs, tick)
    sides = sides_of({one.case.patient for one in volumes}, held_out=asked.hold_out, dev=asked.dev)
    check_not_learned(asked.out, sides.held_out | sides.dev)
    parts = _parts(volumes, sides)
    _check_parts(parts)
    for name, part in parts.items():
        link_volumes(part, marks, asked.out / name, asked.lesion_types)
    learned, dev, held_out = (parts[name] for name in ("learned", "dev", "held_out"))
    enough = len(dev) >= LEAST_VOLUMES
    if not enough:
        # An earlier call's points are of other weights.
        (asked.out / "changed" / DICOM).unlink(missing_ok=True)
    said = (
        f"Trained further on {_lesions(learned)} marked lesions in {_people(learned)} of this site."
    )
    return Division(
        learned=asked.out / "learned",
        said=said if enough else f"{said} {AS_SHIPPED}",
        told=tuple(_told(parts, marks, volumes)),
        judge=MarksHeldOut(folder=asked.out / "held_out", asked=asked, tick=tick)
        if held_out
        else None,
        settle=PointsFromDev(
            folder=asked.out / "dev",
            people=_people(dev),
            marked=_marked([*learned, *dev]),
            device=asked.device,
            tick=tick,
        )
        if enough
        else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MarksHeldOut:
    """Sensitivity of every type that is marked. Implements `judging.Judge`."""

    folder: Path
    asked: Asked
    tick: Tick

    def __call__(self, algorithm: BundleAlgorithm, report: Path) -> Judged:
        """The figures; the whole report is written to `report`."""
        summary = report_lesions(
            algorithm,
            self.folder,
            report,
            named={},
            margin_mm=0.0,
            device=self.asked.device,
            draws=self.asked.draws,
            tick=self.tick,
        )
        figures = tuple(
            Figure(name=f"{one.name}, {rate:g} FP", cases=one.lesions, value=one.sensitivity[rate])
            for one in summary.types
            for rate in SIZE_RATES
        )
        return Judged(title=_TITLE, figures=figures)


def _parts(volumes: Sequence[Marked], sides: Sides) -> Mapping[str, Sequence[Marked]]:
    """By the side of the patient.

    Raises:
        StudyError: one study lies on two sides.
    """
    parts: dict[str, list[Marked]] = {"learned": [], "dev": [], "held_out": []}
    side_of: dict[str, tuple[str, Marked]] = {}
    for one in volumes:
        patient = one.case.patient
        name = (
            "held_out"
            if patient in sides.held_out
            else "dev"
            if patient in sides.dev
            else "learned"
        )
        before, other = side_of.setdefault(one.study_uid, (name, one))
        if before != name:
            raise StudyError(
                f"{other.case.name} and {one.case.name} are of one study, but of two patients "
                f"({other.case.patient}, {patient}), of whom one is learned from and the other "
                "not: mend patients.csv"
            )
        parts[name].append(one)
    return parts


def _check_parts(parts: Mapping[str, Sequence[Marked]]) -> None:
    if not _marked(parts["learned"]):
        raise StudyError(
            "nobody who is learned from has a lesion of a type that the bundle looks for: hold "
            "fewer patients out (--hold-out, --dev), or add marked volumes of others"
        )
    if parts["held_out"] and not any(
        one.counts for each in parts["held_out"] for one in each.lesions
    ):
        raise StudyError(
            f"no lesion is marked in the {_people(parts['held_out'])} held out, so nothing could "
            "be judged: hold more out (--hold-out), or none (--hold-out 0)"
        )


def _told(
    parts: Mapping[str, Sequence[Marked]], marks: SiteMarks, volumes: Sequence[Marked]
) -> Iterable[str]:
    names = ("learned from", "operating points from", "held out")
    for name, part in zip(names, parts.values(), strict=True):
        counted = Counter(
            one.kind or "without a type" for each in part for one in each.lesions if one.counts
        )
        listed = ", ".join(f"{count} {kind}" for kind, count in counted.most_common())
        yield f"{name}: {_people(part)}; lesions: {listed or 'none'}" if part else f"{name}: nobody"
    if 0 < len(parts["dev"]) < LEAST_VOLUMES:
        yield (
            f"operating points stay as shipped: fewer than {LEAST_VOLUMES} volumes are kept for "
            "them (--dev; with 0 those too are learned from)"
        )
    kinds = [one.name for one in marks.pred.types.values()]
    if missing := [kind for kind in kinds if kind not in _marked(parts["learned"])]:
        yield f"not marked there, so neither learned nor forbidden: {', '.join(missing)}"
    for kind, count in Counter(kind for one in volumes for kind in one.not_sought).most_common():
        yield f"left out: {count} lesions of the type {kind!r}, which the bundle does not look for"
    if others := rows_of_others(marks, volumes):
        yield (
            f"left out: {len(others)} rows about volumes that are not in the folder, the first "
            f"about {others[0]!r}"
        )


def _marked(volumes: Sequence[Marked]) -> frozenset[str]:
    """Types of which there is a lesion."""
    return frozenset(
        one.kind for each in volumes for one in each.lesions if one.counts and one.kind
    )


def _lesions(volumes: Sequence[Marked]) -> int:
    return sum(one.counts and bool(one.kind) for each in volumes for one in each.lesions)


def _people(volumes: Sequence[Marked]) -> str:
    """`3 volumes of 1 patient`."""
    counted = (
        (len(volumes), "volume"),
        (len({one.case.patient for one in volumes}), "patient"),
    )
    return " of ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in counted)
