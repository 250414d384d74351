"""A trial as the ledger knows it: a frozen copy, independent of Optuna."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from pydantic import Field

from ssl_core.config import Config
from study.outcome import Outcome, better

STATE_OF = {
    Outcome.COMPLETE: TrialState.COMPLETE,
    Outcome.STOPPED: TrialState.PRUNED,
    Outcome.INFEASIBLE: TrialState.FAIL,
    Outcome.DIVERGED: TrialState.FAIL,
    Outcome.CRASHED: TrialState.FAIL,
}
"""How an outcome is told to Optuna. Failed trials do not teach the sampler; none is left RUNNING."""


class TrialRecord(Config):
    """One row of a study.

    Attributes:
        number: from 0, continuous.
        params: Optuna's stored parameters; `values` the dotted config values they mean.
        outcome: None while unfinished.
        told: Optuna knows the outcome too (False only if the driver died between the two writes).
        curve: epoch -> objective.
        best_epoch, best_value: of the curve.
        epoch, epochs: done and planned.
        crashes: failed attempts so far.
        seconds: of training, over all attempts.
        run_id: MLflow run.
    """

    number: int
    params: dict[str, Any] = Field(default_factory=dict)
    values: dict[str, Any] | None = None
    outcome: Outcome | None = None
    told: bool = False
    reason: str = ""
    curve: dict[int, float] = Field(default_factory=dict)
    best_epoch: int | None = None
    best_value: float | None = None
    epoch: int = 0
    epochs: int = 0
    crashes: int = 0
    seconds: float = 0.0
    seed: int | None = None
    run_id: str | None = None
    started: datetime | None = None
    ended: datetime | None = None

    @property
    def state(self) -> str:
        """The outcome's name, or UNFINISHED."""
        return self.outcome.value if self.outcome else "UNFINISHED"

    @property
    def spends_budget(self) -> bool:
        """Whether it counts as one of the study's trials: all do but those refused."""
        return self.outcome is not Outcome.INFEASIBLE


def record_of(trial: FrozenTrial, direction: str) -> TrialRecord:
    """Read a trial of the journal."""
    attrs: Mapping[str, Any] = trial.user_attrs
    curve = {int(epoch): float(value) for epoch, value in sorted(trial.intermediate_values.items())}
    best_epoch: int | None = None
    for epoch, value in curve.items():
        if best_epoch is None or better(value, curve[best_epoch], direction):
            best_epoch = epoch
    outcome = attrs.get("outcome")
    return TrialRecord(
        number=trial.number,
        params=dict(trial.params),
        values=attrs.get("values"),
        outcome=Outcome(outcome) if outcome else None,
        told=trial.state.is_finished(),
        reason=attrs.get("reason", ""),
        curve=curve,
        best_epoch=best_epoch,
        best_value=None if best_epoch is None else curve[best_epoch],
        epoch=max(curve, default=0),
        epochs=attrs.get("epochs", 0),
        crashes=attrs.get("crashes", 0),
        seconds=attrs.get("seconds", 0.0),
        seed=attrs.get("seed"),
        run_id=attrs.get("run_id"),
        started=trial.datetime_start,
        ended=trial.datetime_complete,
    )


def ranked(records: list[TrialRecord], direction: str) -> list[TrialRecord]:
    """Best first: COMPLETE by value, then STOPPED by value, then the rest by number."""

    def key(record: TrialRecord) -> tuple[int, float, int]:
        place = {Outcome.COMPLETE: 0, Outcome.STOPPED: 1}.get(record.outcome, 2) if record.outcome else 2
        if place == 2 or record.best_value is None:
            return (2, 0.0, record.number)
        return (place, -record.best_value if direction == "maximize" else record.best_value, record.number)

    return sorted(records, key=key)


def leaders(records: list[TrialRecord], direction: str, count: int) -> list[TrialRecord]:
    """The best `count` trials that have a value: those whose checkpoints are kept and registered."""
    comparable = [r for r in records if r.outcome and r.outcome.has_value and r.best_value is not None]
    return ranked(comparable, direction)[:count]


optuna.logging.set_verbosity(optuna.logging.WARNING)
