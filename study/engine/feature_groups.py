"""Which searched keys choose among sets of groups, such as the feature groups of a point encoder."""

import json
from collections.abc import Mapping
from typing import Any

from ssl_core.config import Config


class GroupKey(Config):
    """A searched key whose choices are lists of names.

    Attributes:
        key: dotted, of the recipe's config.
        groups: that some choices have and others lack, in order of first appearance.
        always: in every choice; they are given, not searched.
    """

    key: str
    groups: tuple[str, ...]
    always: tuple[str, ...] = ()


def feature_keys(space: Mapping[str, Any]) -> tuple[GroupKey, ...]:
    """The keys of a space that choose among sets of groups.

    Args:
        space: as `json.loads(SearchSpace.to_json())` gives it.
    """
    found = []
    for key, entry in space.get("space", {}).items():
        domain = entry["domain"]
        choices = domain["values"] if domain["kind"] == "choice" else []
        if not choices or not all(_is_names(choice) for choice in choices):
            continue
        every = list(dict.fromkeys(name for choice in choices for name in choice))
        always = tuple(name for name in every if all(name in choice for choice in choices))
        groups = tuple(name for name in every if name not in always)
        if groups:
            found.append(GroupKey(key=key, groups=groups, always=always))
    return tuple(found)


def same_values(values: Mapping[str, Any]) -> str:
    """Text that is equal for equal configurations, whether lists are lists or tuples."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), default=list)


def _is_names(choice: Any) -> bool:
    return isinstance(choice, (list, tuple)) and len(choice) > 0 and all(isinstance(name, str) for name in choice)
