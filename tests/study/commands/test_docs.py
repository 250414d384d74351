"""What the documentation names is there: YAML that is accepted, links that lead to files, commands and options."""

import re
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import typer
import yaml

from search_spaces.space_file import read_space_file
from study.commands.cli import app
from study.spec.study_spec import study_spec
from tests.test_layers import ROOMS

ROOT = Path(__file__).parents[3]
PAGES = (
    "README.md", "CONTRIBUTING.md", "CHANGELOG.md",
    *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))),
    *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "ssl_core/recipes").rglob("*.md"))),
)  # fmt: skip
HISTORY = ("CHANGELOG.md", "docs/LOG.md", "docs/BENCHMARKS.md")
"""They name what there was."""
COMMANDS = typer.main.get_command(app)
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
OURS = ("benchmarks", "deploy", "docs", "examples", "registry", "search_spaces", "ssl_core", "study", "tests")


def blocks(page: str, language: str = "yaml") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)


def links(text: str) -> list[str]:
    """Targets of relative links, without what stands after `#`."""
    found = (target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text))
    return [unquote(target) for target in found if target and "://" not in target]


def paths(text: str) -> list[str]:
    """Files, folders and modules of ours that stand in backticks: `study/engine/`, `registry.pull.load`."""
    quoted = re.findall(r"`([\w./-]+)`", text)
    return [word for word in quoted if re.split(r"[./]", word)[0] in OURS and re.search(r"[./]", word)]


def is_there(word: str) -> bool:
    """A path that exists; a module, or something that one defines."""
    if "/" in word:
        return (ROOT / word).exists()
    parts = word.split(".")
    for length in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:length])
        if place.with_suffix(".py").is_file():
            named = parts[length : length + 1]
            return all(re.search(rf"\b{name}\b", place.with_suffix(".py").read_text()) for name in named)
        if place.is_dir():
            return length == len(parts)
    return False


def commands(text: str) -> list[list[str]]:
    """Words after `splatsweep` wherever a command stands in code: in blocks, and in backticks."""
    code = [
        line for block in re.findall(r"```(?:bash)?\n(.*?)```", text, flags=re.DOTALL) for line in block.splitlines()
    ]
    code += re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    found = (re.search(r"(?:^|[\s/])splatsweep ((?:[a-z]|--).*)", line) for line in code)
    return [shlex.split(match[1].replace("…", ""), comments=True) for match in found if match]


def unknown(words: list[str]) -> str | None:
    """The first word that the command line does not know."""
    command: Any = COMMANDS
    while words and not words[0].startswith("-") and (inner := getattr(command, "commands", None)):
        if words[0] not in inner:
            return words[0]
        command, words = inner[words[0]], words[1:]
    options = {"--help", *(name for one in command.params for name in (*one.opts, *one.secondary_opts))}
    return next((word for word in words if word.startswith("--") and word.partition("=")[0] not in options), None)


@pytest.mark.parametrize("text", blocks("docs/studies.md"))
def test_study_sections_of_the_documentation_are_accepted(text: str) -> None:
    study_spec(yaml.safe_load(text)["study"])


def test_the_readme_shows_a_space_that_loads(tmp_path: Path) -> None:
    (text,) = blocks("README.md")
    (tmp_path / "space.yaml").write_text(text)
    study_spec(read_space_file(tmp_path / "space.yaml")["study"])


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page: str) -> None:
    found = links((ROOT / page).read_text())
    assert [target for target in found if not (ROOT / page).parent.joinpath(target).exists()] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page not in HISTORY])
def test_paths_and_modules_that_are_named_exist(page: str) -> None:
    assert [word for word in paths((ROOT / page).read_text()) if not is_there(word)] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page not in HISTORY])
def test_commands_and_options_that_are_named_exist(page: str) -> None:
    found = commands((ROOT / page).read_text())
    assert [(words, word) for words in found if (word := unknown(words)) is not None] == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/operations.md"])
def test_make_targets_that_are_named_exist(page: str) -> None:
    code = [*blocks(page, "bash"), *re.findall(r"`[^`\n]+`", (ROOT / page).read_text())]
    named = {
        target for text in code for target in re.findall(r"(?:^|&& |`|=\S+ )make ([a-z][a-z-]*)", text, re.MULTILINE)
    }
    assert named - TARGETS == set()


def test_the_readme_names_every_command_that_people_begin_with() -> None:
    named = {words[0] for words in commands((ROOT / "README.md").read_text()) if words}
    text = (ROOT / "README.md").read_text()
    assert "make sweep" in text[: text.index("## Your data")]
    assert "make test" in text[: text.index("## Your data")]
    # by make, or in docs/operations.md and docs/data.md
    later = {"backup", "restore", "fetch", "sample", "serve", "ui", "part-scenes", "scene-from"}
    assert set(getattr(COMMANDS, "commands", ())) - named - later == set()


@pytest.mark.parametrize("package", ["ssl_core", "registry", "study"])
def test_contributors_read_of_the_rooms_in_their_order(package: str) -> None:
    _, _, rest = (ROOT / "CONTRIBUTING.md").read_text().partition(f"| room of `{package}/` |")
    rows = rest.partition("\n\n")[0].splitlines()[2:]
    assert tuple(name for row in rows for name in re.findall(r"`([a-z_]+)/?`", row.split("|")[1])) == ROOMS[package]


def test_the_checks_see_what_is_wrong() -> None:
    assert links("[a](gone.py) [b](https://x.y) [c](d.md#e) [f](#g)") == ["gone.py", "d.md"]
    assert [word for word in paths("`study/gone.py` `study.engine` `val/probe`") if not is_there(word)] == [
        "study/gone.py"
    ]
    assert not is_there("registry.pull.gone")
    assert is_there("registry.pull.load")
    assert commands("`splatsweep sweep x --pack y`\n```bash\n.venv/bin/splatsweep gone  # c\n```") == [
        ["gone"], ["sweep", "x", "--pack", "y"],
    ]  # fmt: skip
    assert unknown(["gone"]) == "gone"
    assert unknown(["sweep", "x", "--gone"]) == "--gone"
    assert unknown(["users", "add", "rita", "--role", "reader"]) is None
