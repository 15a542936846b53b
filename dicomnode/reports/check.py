"""Run the sentences that lexicon files carry as their own tests."""

from dicomnode.domain.reports import Circumstance, Mention, Report, ReportLabels, ReportPart
from dicomnode.reports.aggregate import CASES
from dicomnode.reports.mining import Miner


def check_lexicon(miner: Miner) -> list[str]:
    """What does not come out as a lexicon's tests say, one line each; empty if all is well."""
    tests = miner.lexicon.tests
    reports = [
        Report(report_id=str(number), parts=(ReportPart(name="text", text=test.text),))
        for number, test in enumerate(tests)
    ]
    faults = []
    for test, mined in zip(tests, miner.mine(reports), strict=True):
        for name, expected in test.expect.items():
            if name not in miner.lexicon.findings and name not in miner.lexicon.labels:
                faults.append(f"{test.text!r}: no finding or label {name!r}")
            elif (actual := asserted(mined, name)) != expected:
                faults.append(f"{test.text!r}: {name} is {actual}, expected {expected}")
    return faults


def asserted(mined: ReportLabels, name: str) -> str:
    """What all current mentions of a finding or label come to: `present`, ... or `none`."""
    ours = [mention for mention in mined.mentions if _is(mention, name)]
    case = CASES[frozenset(mention.assertion for mention in ours)]
    return case.speaks.value if case.speaks is not None else "none"


def _is(mention: Mention, name: str) -> bool:
    current = mention.circumstance is Circumstance.CURRENT
    return current and name in {mention.concept, mention.label}
