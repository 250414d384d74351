"""The configuration a study would recommend, and the same without one of its groups."""

from collections.abc import Mapping, Sequence
from typing import Any

from study.record.trial_record import TrialRecord, leaders
from study.spec.outcome import Outcome


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
