"""What is remembered of the sentences read so far, and what the language model brings along."""

import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st

from dicomnode.reports import Miner
from dicomnode.reports.memory import Recent
from tests.unit.reports_reading import miner, report

TEXTS = st.lists(
    st.sampled_from(
        [
            "No effusion. Possible nodule.",
            "Heart size is normal.",
            "No effusion.",
            "Cardiomegaly. Small left effusion.",
            "Old fracture of the left fifth rib.",
            "",
        ]
    ),
    max_size=12,
)


def test_what_was_not_asked_for_longest_is_forgotten() -> None:
    memory: Recent[str, int] = Recent(2)
    memory.keep({"a": 1, "b": 2})
    assert memory.known(["a"]) == {"a": 1}
    memory.keep({"c": 3})
    assert memory.known(["a", "b", "c"]) == {"a": 1, "c": 3}
    assert len(memory) == 2


def test_more_at_once_than_it_holds_are_kept_as_far_as_it_goes() -> None:
    memory: Recent[int, int] = Recent(3)
    memory.keep({number: number for number in range(10)})
    assert memory.known(range(10)) == {7: 7, 8: 8, 9: 9}


@settings(max_examples=30, deadline=None, derandomize=True)
@given(TEXTS, st.sampled_from([1, 2, 3]), st.booleans())
def test_labels_do_not_depend_on_what_is_remembered(
    texts: list[str], remembered: int, values_first: bool
) -> None:
    whole = miner(graph=False)
    short = Miner(whole.lexicon, whole.policy, None, remembered=remembered)
    reports = [report(text) for text in texts]
    if values_first:
        assert short.values(reports) == whole.values(reports)
    for one in reports:
        assert short.mine([one]) == whole.mine([one])
    assert short.mine(reports) == whole.mine(reports)
    assert short.values(reports) == whole.values(reports)


def test_the_language_model_comes_without_torch() -> None:
    code = (
        "import sys; from dicomnode.reports.graph import language; language();"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
