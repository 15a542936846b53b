"""What the labels of a folder mean to a bundle: its own segments, under its names or others'."""

from collections.abc import Collection, Mapping, Sequence
from itertools import product

from dicomnode.domain.errors import StudyError

_SAME = {
    "kidney_right": "right kidney",
    "kidney_left": "left kidney",
    "lung_right": "right lung",
    "lung_left": "left lung",
    **{f"lung_{lobe}_lobe_right": "right lung" for lobe in ("upper", "middle", "lower")},
    **{f"lung_{lobe}_lobe_left": "left lung" for lobe in ("upper", "lower")},
}
"""TotalSegmentator's names of what shipped bundles give under another name."""
_SINGLE_BONES = frozenset(
    (
        *("sacrum", "sternum", "skull"),
        *(f"vertebrae_{level}" for level in ("S1", *map("".join, product("L", "12345")))),
        *(f"vertebrae_T{number}" for number in range(1, 13)),
        *(f"vertebrae_C{number}" for number in range(1, 8)),
        *(f"rib_{side}_{number}" for side in ("left", "right") for number in range(1, 13)),
        *(
            f"{bone}_{side}"
            for bone in ("hip", "femur", "humerus", "scapula", "clavicula")
            for side in ("left", "right")
        ),
    )
)


def meanings_for(labels: Mapping[int, str], segments: Collection[str]) -> dict[int, str]:
    """Label number -> segment, of the labels that mean one; several may mean the same.

    Single bones are bone where ribs and vertebrae are both named; a folder in which the spine
    alone was outlined has no truth for all bone.

    Raises:
        StudyError: no label means any of `segments`.
    """
    names = labels.values()
    whole = all(any(name.startswith(part) for name in names) for part in ("rib_", "vertebrae_"))
    meant = {}
    for number, name in labels.items():
        segment = "bone" if whole and name in _SINGLE_BONES else _SAME.get(name, name)
        if segment in segments:
            meant[number] = segment
    if not meant:
        raise StudyError(
            f"labels.json names none of the bundle's segments: {', '.join(sorted(segments))}"
        )
    return meant


def unmeant(labels: Mapping[int, str], meant: Mapping[int, str]) -> Sequence[str]:
    """Names of the labels that mean none of the bundle's segments."""
    return sorted({name for number, name in labels.items() if number not in meant})
