"""Every kept input of one target once more, with bounds: `python -m tests.fuzz.replay TARGET`.

Prints how many there were, and how many were refused by a documented error.
"""

import logging
import os
import resource
import shutil
import sys
from pathlib import Path

from tests.fuzz.guard import Guard, program_folders, scratch
from tests.fuzz.targets import TARGETS, run

CORPUS = Path(__file__).with_name("corpus")
MOST_MB = 256
"""Memory that all inputs together may add to a process."""


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(name: str) -> None:
    target = TARGETS[name]
    logging.disable(logging.CRITICAL)
    inputs = sorted((CORPUS / name).iterdir())
    folder = scratch()
    guard = Guard(folder, program_folders())
    guard.install()
    refused = 0
    try:
        # What is made once, such as a receiver or a lexicon, is not the inputs' memory.
        run(target, b"", folder)
        before = peak_mb()
        # Python's own maps reach further than what is used: this stops what would run away.
        resource.setrlimit(resource.RLIMIT_DATA, (4 << 30, 4 << 30))
        for path in inputs:
            data = path.read_bytes()
            with guard.watch():
                refused += run(target, data, folder) is not None
        added = peak_mb() - before
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.write(f"{len(inputs)} inputs, {refused} refused, {added:.0f} MB\n")
    sys.stdout.flush()
    # Not sys.exit: the receiver's threads listen on.
    os._exit(added > MOST_MB)


if __name__ == "__main__":
    main(sys.argv[1])
