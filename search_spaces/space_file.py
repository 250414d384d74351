"""Reading a search-space file: strict YAML, checked top-level shape.

Two habits of plain YAML would hurt here and are mended: `1e-4` is a number (YAML 1.1 reads it as a string),
and a key written twice is an error (the last one would win silently).
"""

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from ssl_core.config import nearest
from ssl_core.errors import SpaceError

SECTIONS = ("recipe", "preset", "base", "study", "space")


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses repeated keys and reads `1e-4` as a float."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise SpaceError(f"line {key_node.start_mark.line + 1}: a key must be plain text")
            if key in seen:
                raise SpaceError(f"line {key_node.start_mark.line + 1}: '{key}' is written twice; keep one")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+[eE][-+]?[0-9]+$|^[-+]?[0-9]*\.[0-9]+[eE][0-9]+$"),
    list("-+.0123456789"),
)


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
        document = yaml.load(text, Loader=_StrictLoader)  # a SafeLoader underneath
    except SpaceError as error:
        raise SpaceError(f"{path}: {error}") from None
    except yaml.YAMLError as error:
        raise SpaceError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
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
