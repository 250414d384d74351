"""Trials side by side: what each had reached after the same number of epochs, and its other parameters as columns."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.engine.feature_groups import same_values
from study.record.trial_record import TrialRecord
from study.spec.outcome import better


@dataclass(frozen=True)
class FidelityRow:
    """One configuration."""

    values: Mapping[str, Any]  # dotted config values
    value: float  # mean over its trials of the best objective until the epoch of comparison
    trials: tuple[int, ...]  # numbers of its trials


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
        and not record.redirected
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


Array = NDArray[np.float64]


def columns_of(rows: Sequence[Mapping[str, Any]], space: Mapping[str, Any], without: set[str]) -> Array:
    """[n, p] of every searched key not in `without`, as far as it varies between the rows.

    Ranges become their number (or logarithm) and its square, choices a column per value; a key that took no part in a
    row has a column that says so.
    """
    columns: list[Array] = []
    for key, entry in space.get("space", {}).items():
        if key in without:
            continue
        given = [row.get(key) for row in rows]
        if entry["domain"]["kind"] == "choice":
            columns += _choices(given)
        else:
            columns += _numbers(given, entry["domain"]["kind"] == "log")
    varied = [column for column in columns if column.std() > 1e-9]
    if not varied:
        return np.zeros((len(rows), 0))
    stacked = np.column_stack(varied)
    return np.asarray((stacked - stacked.mean(axis=0)) / stacked.std(axis=0))


def _choices(given: Sequence[Any]) -> list[Array]:
    texts = [same_values({"": value}) for value in given]
    return [np.array([text == choice for text in texts], dtype=float) for choice in sorted(set(texts))]


def _numbers(given: Sequence[Any], logarithmic: bool) -> list[Array]:
    active = np.array([isinstance(value, (int, float)) for value in given])
    if not active.any():
        return []
    raw = [float(value) if there else math.nan for value, there in zip(given, active, strict=True)]
    numbers = np.log10(raw) if logarithmic else np.array(raw)
    spread = max(float(numbers[active].std()), 1e-12)
    centred = np.where(active, (numbers - numbers[active].mean()) / spread, 0.0)
    return [centred, centred**2, active.astype(float)]
