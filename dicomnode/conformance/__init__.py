"""The tables of `docs/conformance.md`, from the code that does what they say.

`python -m dicomnode.conformance docs/conformance.md` writes them into the document; without a file
it prints them.
"""

from collections.abc import Mapping
from pathlib import Path

from dicomnode.conformance.objects import example_results, object_tables
from dicomnode.conformance.services import service_tables


def conformance_tables(scratch: Path) -> Mapping[str, str]:
    """Every table by name; example results are written to the folder `scratch`."""
    return {**service_tables(), **object_tables(example_results(scratch))}
