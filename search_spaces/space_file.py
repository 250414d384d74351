"""Reading a search-space file: YAML (`ssl_core.yaml_text`), checked top-level shape."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssl_core.config import nearest
from ssl_core.errors import ConfigError, SpaceError
from ssl_core.yaml_text import parse_yaml

SECTIONS = ("recipe", "preset", "base", "study", "space")


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


def _checked_sections(path: Path, document: dict[str, Any]) -> dict[str, Any]:
    for key in document:
        if key not in SECTIONS:
            raise SpaceError(
                f"{path}: unknown section '{key}'{nearest(str(key), list(SECTIONS))}; known are {', '.join(SECTIONS)}"
            )
    for key in ("recipe", "preset"):
        if not isinstance(document.get(key), str):
            raise SpaceError(f"{path}: section '{key}' is missing; write for example '{key}: {_EXAMPLE[key]}'")
    for key in ("base", "study", "space"):
        section = document.get(key)
        document[key] = {} if section is None else section
        if not isinstance(document[key], Mapping):
            raise SpaceError(f"{path}: section '{key}' must hold key: value pairs, not {type(section).__name__}")
    if not document["space"]:
        raise SpaceError(f"{path}: section 'space' is empty; name a key, for example 'loss.beta: {{log: [0.3, 10]}}'")
    return document


_EXAMPLE = {"recipe": "cross_modal", "preset": "quick"}


def recipe_at(written: str, space: Path) -> tuple[str, str]:
    """(name, place) of a space file's recipe. One in a file, `folder/my_recipe.py:RECIPE`, is named without its folder:
    moved together, space and recipe stay the same study.
    """
    where, colon, attribute = written.rpartition(":")
    if not colon or not where.endswith(".py"):
        return written, written
    file = (space.parent / where).absolute()
    return f"{file.name}:{attribute}", f"{file}:{attribute}"
