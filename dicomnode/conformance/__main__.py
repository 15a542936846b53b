"""`python -m dicomnode.conformance [FILE]`."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from dicomnode.conformance import conformance_tables
from dicomnode.documents import rewrite

if __name__ == "__main__":
    with TemporaryDirectory() as scratch:
        rewrite(sys.argv[1:], conformance_tables(Path(scratch)))
