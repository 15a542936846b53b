"""The command that a person at the machine types works on the service's node."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "dicomnode.sh"


def test_a_model_that_takes_all_memory_does_not_end_the_service() -> None:
    lines = (SCRIPT.parent / "dicomnode.service").read_text(encoding="utf-8").splitlines()
    assert lines.index("[Service]") < lines.index("OOMPolicy=continue") < lines.index("[Install]")


@pytest.mark.parametrize("quote", ["", '"', "'"])
def test_the_service_s_settings_and_secrets_reach_the_command(tmp_path: Path, quote: str) -> None:
    url = "postgresql+psycopg://node:pa$(touch x)&s=@db/dicomnode"
    secrets = tmp_path / "environment"
    secrets.write_text(
        f"# secrets\nPATH=/nowhere\nDICOMNODE_DATABASE_URL={quote}{url}{quote}", encoding="utf-8"
    )
    program = tmp_path / "program"
    program.write_text(
        '#!/bin/sh\nprintf "%s\\n" "$DICOMNODE_SETTINGS" "$DICOMNODE_DATABASE_URL" "$@"'
    )
    program.chmod(0o755)
    done = subprocess.run(
        [SCRIPT, "status", "--json"],
        env={
            "PATH": os.environ["PATH"],
            "DICOMNODE_PROGRAM": str(program),
            "DICOMNODE_ENVIRONMENT": str(secrets),
        },
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    told = done.stdout.splitlines()
    assert told == ["/etc/dicomnode/dicomnode.toml", url, "status", "--json"]
    assert not (tmp_path / "x").exists()
