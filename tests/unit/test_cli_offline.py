"""What `dicomnode run` prints of a finding."""

import pytest

from dicomnode.cli.offline import told
from dicomnode.domain.codes import ATTENUATION, HOUNSFIELD, LONG_AXIS, MEAN, MM, STANDARD_DEVIATION
from dicomnode.domain.findings import Measurement
from dicomnode.domain.outcomes import FindingRecord

HU = tuple(
    Measurement(name=ATTENUATION, value=value, unit=HOUNSFIELD, derivation=derivation)
    for value, derivation in ((48.0, MEAN), (9.0, STANDARD_DEVIATION))
)
LENGTH = (Measurement(name=LONG_AXIS, value=15.5, unit=MM),)


@pytest.mark.parametrize(
    ("finding", "words"),
    [
        (
            FindingRecord(kind="segment", name="liver", measurements=HU),
            (
                "Attenuation Coefficient (mean) 48.0 HU, "
                "Attenuation Coefficient (standard deviation) 9.0 HU"
            ),
        ),
        (
            FindingRecord(kind="lesion", name="lung nodule 1", score=0.57, measurements=LENGTH),
            "score 0.57, Long Axis 15.5 mm",
        ),
        (FindingRecord(kind="class", name="effusion", score=0.2, text="below"), "probability 0.20"),
        (FindingRecord(kind="caption", name="words", text="Large heart."), "Large heart."),
        (FindingRecord(kind="segment", name="spleen"), ""),
    ],
)
def test_two_numbers_of_one_name_are_told_apart(finding: FindingRecord, words: str) -> None:
    assert told(finding).startswith(words)
    assert bool(told(finding)) == bool(words)
