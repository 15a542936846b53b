"""Short ways to ask the miner, for the tests of this room."""

from functools import cache

from dicomnode.domain.reports import Report, ReportLabels, ReportPart
from dicomnode.reports import Miner, MinerSetup, open_miner


@cache
def miner(policy: str = "strict", *, graph: bool = True) -> Miner:
    """One miner for all tests of a process: the language model takes a second to load."""
    return open_miner(MinerSetup(policy=policy, graph=graph))


def report(text: str, name: str = "text") -> Report:
    """A report of one part."""
    return Report(report_id="r", parts=(ReportPart(name=name, text=text),))


def mined(text: str, policy: str = "strict", *, graph: bool = True) -> ReportLabels:
    """What one text says."""
    (labels,) = miner(policy, graph=graph).mine([report(text)])
    return labels
