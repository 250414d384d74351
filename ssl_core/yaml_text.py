"""YAML as people mean it: space files and `--set` values are read with this.

Only what JSON knows can be written: text, numbers, true, false, null, lists, and mappings with text for keys. Habits of
plain YAML that would hurt are mended: `1e-4` is a number (YAML 1.1 reads it as text), a date is text, a key written
twice is an error (the last one would win silently), and aliases cannot make a small file huge or endless.
"""

import re
from collections.abc import Hashable
from typing import Any

import yaml

from ssl_core.errors import ConfigError

LIMIT = 100_000
"""Values that a text may hold, each alias counted as what it stands for."""

_TAG = "tag:yaml.org,2002:"
_PLAIN = ("null", "bool", "int", "float", "str", "seq", "map")


class _Loader(yaml.SafeLoader):
    """SafeLoader that keeps to what JSON knows and says in which line it cannot."""

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep=deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            shown = str(node.value)[:40]
            raise ConfigError(f"{_line(node)}: '{shown}' cannot be read as {node.tag.removeprefix(_TAG)}") from None
        if isinstance(value, int) and abs(value) >= 2**63:
            raise ConfigError(f"{_line(node)}: a number of {len(str(abs(value)))} digits is too large")
        return value

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{_line(node)}: '{str(node.value)[:40]}' cannot be read as map")
        seen: set[str] = set()
        for key_node, _ in node.value:
            if key_node.tag == f"{_TAG}merge":
                continue
            key = key_node.value
            if key_node.tag != f"{_TAG}str":
                shown = f" (write '{key}' in quotes)" if isinstance(key, str) and key else ""
                raise ConfigError(f"{_line(key_node)}: a key must be plain text{shown}")
            if key in seen:
                raise ConfigError(f"{_line(key_node)}: '{key}' is written twice; keep one")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


# the library shares these tables between loaders: this one has its own, without sets, dates, bytes and pairs
_Loader.yaml_constructors = {
    tag: make
    for tag, make in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.removeprefix(_TAG) in _PLAIN
}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != f"{_TAG}timestamp"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    f"{_TAG}float", re.compile(r"^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)


def parse_yaml(text: str) -> Any:
    """The value of a text that holds one; None for an empty one.

    Raises ConfigError: not YAML, more than it looks, or something JSON does not know; the text names the line.
    """
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _size(node, {}, set())
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise ConfigError(f"not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ConfigError("not usable as YAML: nested too deeply") from None


def _size(node: Any, known: dict[int, int], above: set[int]) -> int:
    """Values in a node. Raises ConfigError for one that holds itself, or more than `LIMIT`."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    own = id(node)
    if own in above:
        raise ConfigError(f"{_line(node)}: a value holds itself by its alias; write it out")
    if own not in known:
        above.add(own)
        pairs = isinstance(node, yaml.MappingNode)
        children = [part for pair in node.value for part in pair] if pairs else node.value
        known[own] = 1 + sum(_size(child, known, above) for child in children)
        above.remove(own)
    if known[own] > LIMIT:
        raise ConfigError(f"{_line(node)}: its aliases stand for more than {LIMIT:,} values; write fewer")
    return known[own]


def _line(node: Any) -> str:
    return f"line {node.start_mark.line + 1}"
