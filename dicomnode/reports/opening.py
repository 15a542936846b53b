"""A miner from a few choices; the same ones make the same miner in every process."""

from dataclasses import dataclass
from pathlib import Path

from dicomnode.reports.graph import GraphReader
from dicomnode.reports.lexicon_files import load_lexicon
from dicomnode.reports.mining import Miner
from dicomnode.reports.policy import load_policy


@dataclass(frozen=True, slots=True, kw_only=True)
class MinerSetup:
    """What to mine with."""

    policy: str = "strict"
    """`strict`, `chestxray8` or `openi`."""
    lexicons: tuple[Path, ...] = ()
    """Lexicon files besides the shipped ones."""
    graph: bool = True
    """False: scope windows only; spaCy is not needed then."""


def open_miner(setup: MinerSetup) -> Miner:
    """A miner with an empty memory. Cheap: the language model is loaded when first asked.

    Raises:
        ConfigError: a lexicon or the policy cannot be used.
    """
    lexicon = load_lexicon(setup.lexicons)
    graph = GraphReader(lexicon.rules) if setup.graph else None
    return Miner(lexicon, load_policy(setup.policy, lexicon), graph)
