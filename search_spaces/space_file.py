"""The sections of a space file, read and checked for their shape; `search_spaces.space` says what they mean."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search_spaces.space_recipes import section_name
from ssl_core.config import nearest
from ssl_core.errors import ConfigError, SpaceError
from ssl_core.yaml_text import parse_yaml

SECTIONS = ("recipe", "preset", "base", "study", "space")
_EXAMPLE = {"recipe": "cross_modal", "preset": "quick"}


def read_space_file(path: Path) -> dict[str, Any]:
    """The sections of a space file; every section is present afterwards, `base` and `study` possibly empty.

    Raises:
        SpaceError: no such file, not YAML, an unknown or repeated key, a section of the wrong shape.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpaceError(f"{path}: cannot be read as a search space ({error}); check the path") from None
    try:
        document = parse_yaml(text)
    except ConfigError as error:
        raise SpaceError(f"{path}: {error}") from None
    if not isinstance(document, Mapping):
        raise SpaceError(
            f"{path}: expected the sections {', '.join(SECTIONS)}; the file holds {type(document).__name__}"
        )
    return _checked_sections(path, dict(document))


def recipes_written(document: Mapping[str, Any]) -> dict[str, str]:
    """The recipes of a space file as written, by section; a single one that is not chosen under the empty name."""
    written = document["recipe"]
    return {"": written} if isinstance(written, str) else {section_name(each): each for each in written["choice"]}


def recipe_at(written: str, space: Path) -> tuple[str, str]:
    """(name, place) of a space file's recipe. One in a file, `folder/my_recipe.py:RECIPE`, is named without its folder:
    moved together, space and recipe stay the same study.
    """
    where, colon, attribute = written.rpartition(":")
    if not colon or not where.endswith(".py"):
        return written, written
    file = (space.parent / where).absolute()
    return f"{file.name}:{attribute}", f"{file}:{attribute}"


def _checked_sections(path: Path, document: dict[str, Any]) -> dict[str, Any]:
    for key in document:
        if key not in SECTIONS:
            raise SpaceError(
                f"{path}: unknown section '{key}'{nearest(str(key), list(SECTIONS))}; known are {', '.join(SECTIONS)}"
            )
    chooses = isinstance(document.get("recipe"), Mapping)
    if chooses:
        _check_choice(path, document)
    for key in ("recipe", "preset"):
        if not isinstance(document.get(key), str) and not chooses:
            raise SpaceError(f"{path}: section '{key}' is missing; write for example '{key}: {_EXAMPLE[key]}'")
    for key in ("base", "study", "space"):
        section = document.get(key)
        document[key] = {} if section is None else section
        if not isinstance(document[key], Mapping):
            raise SpaceError(f"{path}: section '{key}' must hold key: value pairs, not {type(section).__name__}")
    if not document["space"]:
        raise SpaceError(f"{path}: section 'space' is empty; name a key, for example 'loss.beta: {{log: [0.3, 10]}}'")
    return document


def _check_choice(path: Path, document: Mapping[str, Any]) -> None:
    """A choice among recipes, and a preset for each of them."""
    choice = document["recipe"]
    written = choice.get("choice")
    named = isinstance(written, list) and bool(written) and all(isinstance(one, str) and one for one in written)
    if set(choice) != {"choice"} or not named:
        raise SpaceError(f"{path}: section 'recipe' needs a name, or {{choice: [name, name]}}; it is {dict(choice)!r}")
    sections = [section_name(one) for one in written]
    for place, section in enumerate(sections):
        if section in sections[:place]:
            raise SpaceError(f"{path}: section 'recipe': two of the choice are called '{section}'; keep or rename one")
        if not section.isidentifier():
            raise SpaceError(f"{path}: section 'recipe': '{section}' must be of letters, digits and _ to be a section")
    preset = document.get("preset")
    if isinstance(preset, str):
        return
    if not isinstance(preset, Mapping):
        raise SpaceError(f"{path}: section 'preset' is missing; write 'preset: quick', or a name for each recipe")
    for section in preset:
        if section not in sections:
            raise SpaceError(
                f"{path}: section 'preset' names '{section}'{nearest(str(section), sections)}; "
                f"the choice is {', '.join(sections)}"
            )
    for section in sections:
        if not isinstance(preset.get(section), str):
            raise SpaceError(f"{path}: section 'preset' has none for {section}; add '{section}: quick'")
