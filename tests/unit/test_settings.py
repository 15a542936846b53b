"""Settings: what may be written, what is refused, and that all faults are told at once."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.domain.errors import ConfigError
from dicomnode.settings import (
    AllowedPeer,
    Confirm,
    Settings,
    load_settings,
)

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "dicomnode.example.toml"

DESTINATION = """
[[destinations]]
name = "{name}"
ae_title = "PACS"
host = "127.0.0.1"
port = {port}
"""


def loaded(text: str, folder: Path, environ: Mapping[str, str] | None = None) -> Settings:
    path = folder / "dicomnode.toml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path, environ or {})


def faults_of(text: str, folder: Path, environ: Mapping[str, str] | None = None) -> list[str]:
    """The faults of a file, each without the file's name, which must stand first."""
    with pytest.raises(ConfigError) as caught:
        loaded(text, folder, environ)
    start = f"{folder / 'dicomnode.toml'}: "
    assert all(fault.startswith(start) for fault in caught.value.faults)
    return [fault.removeprefix(start) for fault in caught.value.faults]


def readme_block() -> str:
    blocks = re.findall(
        r"```toml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )
    return next(str(block) for block in blocks if "[receive]" in block)


class TestDefaults:
    def test_without_a_file_the_node_is_open_on_loopback_only(self) -> None:
        settings = load_settings(None, {})
        assert settings.receive.host == "127.0.0.1"
        assert settings.receive.allow == ()
        assert settings.destinations == ()

    def test_both_databases_are_sqlite_files_in_the_data_folder(self, tmp_path: Path) -> None:
        settings = loaded('data_dir = "kept"', tmp_path)
        assert settings.index_url == f"sqlite:///{tmp_path}/kept/index.sqlite"
        assert settings.flow_url == f"sqlite:///{tmp_path}/kept/flow.sqlite"

    def test_settings_cannot_be_changed_once_they_are_loaded(self) -> None:
        settings = load_settings(None, {})
        with pytest.raises(ValueError, match="frozen"):
            settings.ae_title = "OTHER"


class TestFaults:
    def test_every_fault_of_a_file_is_told_at_once(self, tmp_path: Path) -> None:
        text = """
            ae_title = "AN AE TITLE THAT IS TOO LONG"
            log_level = "loud"
            [receive]
            port = 70000
            [assembly]
            quiet_s = -1
            [flow]
            max_attempts = 0
        """
        text += DESTINATION.format(name="Upper Case", port=0)
        places = [fault.split(": ")[0] for fault in faults_of(text, tmp_path)]
        assert places == [
            "ae_title",
            "log_level",
            "receive.port",
            "assembly.quiet_s",
            "flow.max_attempts",
            "destinations.0.name",
            "destinations.0.port",
        ]

    def test_a_name_used_twice_does_not_hide_another_fault(self, tmp_path: Path) -> None:
        twice = DESTINATION.format(name="pacs", port=104) * 2
        assert faults_of("log_level = 'loud'\n" + twice, tmp_path)[1:] == [
            "destinations: defined more than once: pacs"
        ]

    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            ("ae_titel = 'X'", "ae_titel: there is no such setting; did you mean 'ae_title'?"),
            (
                "[receive]\nprot = 104",
                "receive.prot: there is no such setting; did you mean 'port'?",
            ),
            (
                DESTINATION.format(name="pacs", port=104) + "hots = 'x'",
                "destinations.0.hots: there is no such setting; did you mean 'host'?",
            ),
            (
                "[receive]\nallow = [{calling_ae = 'CT', adress = '10.0.0.1'}]",
                "receive.allow.0.adress: there is no such setting; did you mean 'address'?",
            ),
            ("[recieve]\nport = 104", "recieve: there is no such setting; did you mean 'receive'?"),
            ("zzzzzz = 1", "zzzzzz: there is no such setting"),
        ],
    )
    def test_an_unknown_key_is_refused_and_the_nearest_is_named(
        self, text: str, fault: str, tmp_path: Path
    ) -> None:
        assert faults_of(text, tmp_path) == [fault]

    @pytest.mark.parametrize("content", [b"ae_title = ", b"ae_title = '\xff\xfe'"])
    def test_a_file_that_is_no_toml_is_a_fault_that_names_it(
        self, content: bytes, tmp_path: Path
    ) -> None:
        path = tmp_path / "dicomnode.toml"
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=re.escape(str(path))):
            load_settings(path, {})

    def test_a_missing_file_is_a_fault_that_names_it(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"none\.toml"):
            load_settings(tmp_path / "none.toml", {})

    def test_waits_that_contradict_each_other_are_refused(self, tmp_path: Path) -> None:
        faults = faults_of("[assembly]\nquiet_s = 10\nreleased_s = 20", tmp_path)
        assert faults == ["assembly: released_s <= quiet_s <= hard_limit_s must hold"]

    def test_a_fault_does_not_tell_the_password_of_a_database(self, tmp_path: Path) -> None:
        environ = {"DICOMNODE_DATABASE_URL": "postgresql+psycopg://u:hunter2@db/x"}
        with pytest.raises(ConfigError) as caught:
            loaded("nonsense = 1", tmp_path, environ)
        assert "hunter2" not in str(caught.value)
        assert caught.value.__cause__ is None


class TestWhoMaySend:
    @pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
    def test_on_loopback_nobody_has_to_be_listed(self, host: str, tmp_path: Path) -> None:
        assert loaded(f"[receive]\nhost = '{host}'", tmp_path).receive.allow == ()

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "node.hospital.example"])
    def test_elsewhere_senders_must_be_listed(self, host: str, tmp_path: Path) -> None:
        (fault,) = faults_of(f"[receive]\nhost = '{host}'", tmp_path)
        assert "`allow` must list the senders" in fault

    def test_an_address_that_is_none_is_refused(self, tmp_path: Path) -> None:
        text = "[receive]\nallow = [{calling_ae = 'CT', address = '10.1.2.300'}]"
        (fault,) = faults_of(text, tmp_path)
        assert fault.startswith("receive.allow.0: ")
        assert "10.1.2.300" in fault

    @pytest.mark.parametrize(
        ("calling", "called", "address", "fits"),
        [
            ("CT1", "NODE", "10.1.7.9", True),
            ("CT2", "NODE", "10.1.7.9", False),
            ("CT1", "OTHER", "10.1.7.9", False),
            ("CT1", "NODE", "10.1.8.9", False),
            ("ct1", "NODE", "10.1.7.9", False),
        ],
    )
    def test_calling_title_called_title_and_address_all_have_to_fit(
        self, calling: str, called: str, address: str, fits: bool
    ) -> None:
        peer = AllowedPeer(calling_ae="CT1", address="10.1.7.0/24")
        given_peer = {"calling_ae": calling, "called_ae": called, "address": address}
        assert peer.fits(**given_peer, own_ae="NODE") is fits


class TestValues:
    @given(st.text(max_size=20))
    def test_an_ae_title_is_either_refused_or_fit_for_an_association(self, text: str) -> None:
        try:
            peer = AllowedPeer(calling_ae=text)
        except ValueError:
            return
        title = peer.calling_ae
        assert 1 <= len(title) <= 16
        assert title == title.strip()
        assert "\\" not in title
        # PS3.5 6.2: VR AE holds the default repertoire (ISO IR 6) without control characters.
        assert title.isascii()
        assert title.isprintable()

    def test_a_private_sop_class_that_is_no_uid_is_refused(self, tmp_path: Path) -> None:
        (fault,) = faults_of("[receive]\nprivate_sop_classes = ['1.2.x']", tmp_path)
        assert fault.startswith("receive.private_sop_classes.0: not a DICOM UID")

    @pytest.mark.parametrize("variable", ["DATABASE_URL", "FLOW_DATABASE_URL"])
    @pytest.mark.parametrize("url", ["postgres://u:hunter2@db/x", "nonsense", "mysql://db/x"])
    def test_a_database_that_is_not_supported_is_refused_without_quoting_its_password(
        self, variable: str, url: str, tmp_path: Path
    ) -> None:
        (fault,) = faults_of("", tmp_path, {f"DICOMNODE_{variable}": url})
        assert fault == (
            f"{variable.lower()}: a database URL begins with sqlite:/// or postgresql+psycopg://"
        )

    def test_a_destination_is_found_by_its_name(self, tmp_path: Path) -> None:
        settings = loaded(DESTINATION.format(name="pacs", port=104), tmp_path)
        found = settings.destination("pacs")
        assert found is not None
        assert (found.port, found.confirm) == (104, Confirm.READ_BACK)
        assert settings.destination("other") is None


class TestPlaces:
    def test_relative_paths_count_from_the_settings_file(self, tmp_path: Path) -> None:
        text = 'data_dir = "d"\nrules = "r.toml"\n[algorithms]\nroots = ["a", "/abs"]'
        settings = loaded(text, tmp_path)
        assert settings.data_dir == tmp_path / "d"
        assert settings.rules == tmp_path / "r.toml"
        assert settings.algorithms.roots == (tmp_path / "a", Path("/abs"))

    def test_without_a_file_they_count_from_the_present_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert load_settings(None, {}).data_dir == tmp_path / "dicomnode-data"

    def test_database_urls_come_from_the_environment_before_the_file(self, tmp_path: Path) -> None:
        environ = {
            "DICOMNODE_DATABASE_URL": "postgresql+psycopg://db/index",
            "DICOMNODE_FLOW_DATABASE_URL": "postgresql+psycopg://db/flow",
        }
        settings = loaded("database_url = 'sqlite:///other'", tmp_path, environ)
        assert settings.index_url == "postgresql+psycopg://db/index"
        assert settings.flow_url == "postgresql+psycopg://db/flow"

    def test_an_empty_variable_does_not_put_the_file_aside(self, tmp_path: Path) -> None:
        """Compose files and unit files set variables to nothing when nobody gave a value."""
        text = "database_url = 'postgresql+psycopg://db/index'"
        settings = loaded(text, tmp_path, {"DICOMNODE_DATABASE_URL": ""})
        assert settings.index_url == "postgresql+psycopg://db/index"

    def test_the_flow_shares_the_index_s_database_unless_told_otherwise(
        self, tmp_path: Path
    ) -> None:
        settings = loaded("database_url = 'postgresql+psycopg://db/index'", tmp_path)
        assert settings.flow_url == "postgresql+psycopg://db/index"


def uncommented(text: str) -> str:
    """The example with the settings switched on that it shows switched off."""
    return re.sub(r"^# ?(?=\[?\[?[a-z_.]+(\]|\s*=))", "", text, flags=re.MULTILINE)


SECTIONS = {
    "audit",
    "notices",
    "receive",
    "assembly",
    "keep",
    "files",
    "flow",
    "algorithms",
    "lesions",
    "output",
    "reports",
    "sql",
    "web",
    "destinations",
}


class TestExamples:
    def test_the_example_loads_as_it_is_shipped(self, tmp_path: Path) -> None:
        loaded(EXAMPLE.read_text(encoding="utf-8"), tmp_path)

    def test_the_example_loads_with_everything_switched_on(self, tmp_path: Path) -> None:
        settings = loaded(uncommented(EXAMPLE.read_text(encoding="utf-8")), tmp_path)
        assert settings.receive.allow
        assert settings.assembly.count_queries
        assert settings.destinations
        assert settings.rules is not None

    def test_the_example_names_every_section(self) -> None:
        plain = {
            name
            for name, field in Settings.model_fields.items()
            if field.annotation in (str, Path, Path | None)
        }
        assert set(Settings.model_fields) - plain == SECTIONS
        assert set(tomllib.loads(uncommented(EXAMPLE.read_text(encoding="utf-8")))) >= SECTIONS

    def test_what_the_readme_shows_loads(self, tmp_path: Path) -> None:
        settings = loaded(readme_block(), tmp_path)
        assert settings.destinations[0].confirm is Confirm.COMMITMENT
        assert len(settings.receive.allow) == 2
        assert settings.assembly.count_queries
