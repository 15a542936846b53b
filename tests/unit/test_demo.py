"""A demonstration that stays up notices the end of its node."""

import subprocess
import sys

from dicomnode.demo import _end_of


def test_the_end_of_a_process_is_noticed_and_not_before() -> None:
    command = [sys.executable, "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        ended = _end_of(process)
        assert not ended.is_set()
        process.kill()
        assert ended.wait(30)
