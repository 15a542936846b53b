"""Radiology reports become labels that trace back to their words.

miner = open_miner(MinerSetup(policy="strict"))
labels = miner.mine([report])
print(explain("No pleural effusion.", miner))
"""

from dicomnode.reports.batch import BatchSummary, label_csv
from dicomnode.reports.check import check_lexicon
from dicomnode.reports.explain import Explanation, explain
from dicomnode.reports.mining import Miner
from dicomnode.reports.opening import MinerSetup, open_miner

__all__ = [
    "BatchSummary",
    "Explanation",
    "Miner",
    "MinerSetup",
    "check_lexicon",
    "explain",
    "label_csv",
    "open_miner",
]
