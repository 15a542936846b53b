"""Coverage-guided fuzzing of one target, by libFuzzer (atheris): `make fuzz`.

    python -m tests.fuzz.fuzz TARGET --seconds 60 --out FOLDER

Starts from the kept corpus and leaves new inputs in FOLDER/TARGET, crashes beside them. Ends with
an error at the first finding.
"""

import argparse
import logging
import shutil
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["dicomnode", "pydicom", "pynetdicom"]):
    from tests.fuzz.targets import TARGETS, run

from tests.fuzz.guard import Guard, program_folders, scratch

CORPUS = Path(__file__).with_name("corpus")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("target", choices=list(TARGETS))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("fuzz_out"))
    parser.add_argument("--merge", action="store_true", help="only keep what adds coverage")
    asked = parser.parse_args()
    target = TARGETS[asked.target]
    logging.disable(logging.CRITICAL)
    new = asked.out / asked.target
    new.mkdir(parents=True, exist_ok=True)
    folder = scratch()
    guard = Guard(folder, program_folders())
    guard.install()

    def one_input(data: bytes) -> None:
        with guard.watch():
            run(target, data, folder)

    options = [
        f"-max_len={target.largest}",
        f"-max_total_time={asked.seconds}",
        "-rss_limit_mb=2048",
        "-timeout=20",
        f"-artifact_prefix={asked.out}/{asked.target}-",
        "-print_final_stats=1",
        *(["-merge=1"] if asked.merge else []),
    ]
    try:
        atheris.Setup([sys.argv[0], *options, str(new), str(CORPUS / asked.target)], one_input)
        atheris.Fuzz()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
