"""Trials of unequal length side by side: what each had reached after the same number of epochs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.engine.feature_groups import same_values
from study.record.trial_record import TrialRecord
from study.spec.outcome import better


@dataclass(frozen=True)
class FidelityRow:
    """One configuration.

    Attributes:
        values: dotted config values.
        value: mean over its trials of the best objective until the epoch of comparison.
        trials: numbers of its trials.
    """

    values: Mapping[str, Any]
    value: float
    trials: tuple[int, ...]


def searched(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Trials of the search that have a value: no confirmations, and none whose values changed under way."""
    return [
        record
        for record in records
        if record.outcome is not None
        and record.outcome.has_value
        and record.curve
        and record.values
        and not record.confirms
        and not any(verdict.action == "exploit" for verdict in record.verdicts)
    ]


def best_until(record: TrialRecord, epoch: int, direction: str) -> float | None:
    """The best objective up to an epoch; None before the first report."""
    best: float | None = None
    for at, value in record.curve.items():
        if at <= epoch and better(value, best, direction):
            best = value
    return best


def common_epoch(records: Sequence[TrialRecord]) -> int:
    """The last epoch that all of them reached; 0 without trials."""
    return min((record.epoch for record in records), default=0)


def rows(records: Sequence[TrialRecord], epoch: int, direction: str, merge: bool = True) -> list[FidelityRow]:
    """Configurations in the order of their first trial; repeats are averaged, or without `merge` stand alone."""
    found: dict[str, list[TrialRecord]] = {}
    for record in records:
        own = same_values(record.values or {}) if merge else str(record.number)
        found.setdefault(own, []).append(record)
    made = []
    for group in found.values():
        values = [value for r in group if (value := best_until(r, epoch, direction)) is not None]
        if values:
            made.append(FidelityRow(group[0].values or {}, sum(values) / len(values), tuple(r.number for r in group)))
    return made
