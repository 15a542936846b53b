"""Documents name what exists: files, commands with their options, rules and settings that load."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from dicomnode.cli.main import app
from dicomnode.rules.loading import load_rules

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docker").glob("*.md")),
]
SHELL = re.compile(r"^```(?:sh|console|bash)\n(.*?)^```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`(dicomnode [^`\n]+)`")
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)(?:#[^)]*)?\)")
GENERATED = re.compile(r"<!-- begin ([a-z-]+) -->.*?<!-- end \1 -->", re.DOTALL)
RULE_BLOCK = re.compile(r"```toml\n((?:(?!```).)*?\[\[rule\]\].*?)```", re.DOTALL)


def name_of(document: object) -> str:
    return str(document.relative_to(ROOT)) if isinstance(document, Path) else ""


def commands_in(document: Path) -> Iterator[str]:
    """Every `dicomnode ...` that a reader could type."""
    # Parts written by code list values of attributes, one of which reads like a command.
    text = GENERATED.sub("", document.read_text(encoding="utf-8"))
    yield from INLINE.findall(text)
    for block in SHELL.findall(text):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            found = re.match(r"^(?:\$ )?(dicomnode .*?)\s*(?:#.*)?$", line.strip())
            if found:
                yield found[1]


def fault_of(typed: str) -> str | None:
    """What is wrong with a command line; None if it could be run."""
    command: Any = typer.main.get_command(app)
    words = shlex.split(typed)[1:]
    while words and hasattr(command, "commands"):
        if words[0].startswith("-"):
            break
        if words[0] not in command.commands:
            return f"there is no command {words[0]!r}"
        command = command.commands[words.pop(0)]
    known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
    used = {word.split("=")[0] for word in words if re.match(r"^--?[a-z]", word)}
    unknown = used - known - {"--help"}
    return f"there is no option {', '.join(sorted(unknown))}" if unknown else None


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_path_a_document_links_to_exists(document: Path) -> None:
    links = LINK.findall(document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_command_a_document_names_exists_with_its_options(document: Path) -> None:
    faults = {typed: fault_of(typed) for typed in commands_in(document)}
    assert {typed: fault for typed, fault in faults.items() if fault} == {}


def test_commands_are_found_in_the_readme() -> None:
    """So that the test above cannot pass by finding nothing."""
    found = list(commands_in(ROOT / "README.md"))
    assert "dicomnode check" in found
    assert any(typed.startswith("dicomnode run ") for typed in found)


@pytest.mark.parametrize(
    "typed", ["dicomnode dance", "dicomnode run x --nonsense 1", "dicomnode rules chekc"]
)
def test_a_command_that_is_none_would_be_found(typed: str) -> None:
    assert fault_of(typed)


def test_make_targets_the_readme_names_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"(?:^|`)make ([a-z]+)\b", text, re.MULTILINE)) <= targets


@pytest.mark.parametrize("document", [ROOT / "README.md", ROOT / "docs" / "rules.md"], ids=name_of)
def test_every_rule_a_document_shows_loads(document: Path) -> None:
    blocks = RULE_BLOCK.findall(document.read_text(encoding="utf-8"))
    assert blocks
    for block in blocks:
        rules = load_rules(block, file=name_of(document))
        assert rules.rules


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_settings_section_a_document_shows_is_one(document: Path) -> None:
    from dicomnode.settings import Settings

    shown = re.findall(r"`\[([a-z_]+)\] ", document.read_text(encoding="utf-8"))
    assert set(shown) <= set(Settings.model_fields)
