"""The parameters that a comparison has to allow for, as columns of unit variance."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.engine.feature_groups import same_values

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
