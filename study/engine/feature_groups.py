"""Searched keys that choose among sets of groups, such as feature groups; the winner, and the winner without one."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ssl_core.config import Config
from study.record.trial_record import TrialRecord, leaders
from study.spec.outcome import Outcome


class GroupKey(Config):
    """A searched key whose choices are lists of names."""

    key: str  # dotted, of the recipe's config
    groups: tuple[str, ...]  # that some choices have and others lack, in order of first appearance
    always: tuple[str, ...] = ()  # in every choice; they are given, not searched


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


def winner(records: Sequence[TrialRecord], direction: str) -> TrialRecord | None:
    """The best trial of the best configuration; None before a trial of the search has completed."""
    if not any(record.outcome is Outcome.COMPLETE and not record.confirms for record in records):
        return None
    best = leaders(list(records), direction, 1)
    return best[0] if best else None


def without_group(values: Mapping[str, Any], key: str, group: str) -> dict[str, Any] | None:
    """A copy of the values without one group of a feature key; None where it has no such group, or no other."""
    names = values.get(key)
    if not isinstance(names, (list, tuple)) or group not in names or len(names) < 2:
        return None
    return {**values, key: [name for name in names if name != group]}
