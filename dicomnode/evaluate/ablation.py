"""What a bundle brings of the comparison of its poolings and losses: `docs/ablation.json`."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from dicomnode.domain.errors import StudyError
from dicomnode.evaluation.ranking import Interval

_Three = tuple[float, float, float]
"""Value, lower and upper end of its 95 % interval."""


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, strict=False, extra="ignore")


class AblationAbout(_Read):
    """How it was measured."""

    images: int
    patients: int
    folds: int
    reference: str
    """The head that the others are held against."""


class AblatedHead(_Read):
    """One pooling with one loss."""

    head: str
    mean_of_eight: _Three
    against_reference: _Three

    @property
    def level(self) -> Interval:
        """Mean AUC of ChestX-ray8's eight classes."""
        return _interval(self.mean_of_eight)

    @property
    def gain(self) -> Interval:
        """The same less the reference's."""
        return _interval(self.against_reference)


class Ablation(_Read):
    """The whole table."""

    about: AblationAbout
    heads: tuple[AblatedHead, ...]


def read_ablation(bundle: Path) -> Ablation | None:
    """What the bundle brings; None if nothing.

    Raises:
        StudyError: the file is there and is no such table.
    """
    path = bundle / "docs" / "ablation.json"
    if not path.is_file():
        return None
    try:
        return Ablation.model_validate_json(path.read_bytes())
    except ValidationError as exc:
        raise StudyError(f"{path} is no table of poolings and losses: {exc}") from exc


def _interval(three: _Three) -> Interval:
    value, low, high = three
    return Interval(value=value, low=low, high=high)
