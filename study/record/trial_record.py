"""A trial as the ledger knows it: a frozen copy, independent of Optuna."""

from collections.abc import Mapping
from datetime import datetime
from statistics import fmean
from typing import Any

import optuna
from optuna.trial import TrialState
from pydantic import Field, FiniteFloat

from ssl_core.config import Config
from study.record.origin import Origin
from study.record.study_state import TrialFacts
from study.record.verdict import Verdict
from study.spec.outcome import Outcome, better

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
        losses: attempts that went with their machine.
        seconds: of training, over all attempts.
        configuration: number of the first trial with these values; `repeat` counts them from 0.
        origin: where the values came from.
        verdicts: of the scheduler, in order.
        vector: metrics that objectives and constraints name, and costs (`cost/...`), at the best epoch;
            `trial/seconds` and `trial/epochs` when it has ended.
        held: slot seconds over all attempts, overhead included.
        share: of resources, as a multiple of an ordinary trial's; above 1 after it ran out of memory.
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
    losses: int = 0
    seconds: FiniteFloat = 0.0
    seed: int | None = None
    started: datetime | None = None
    ended: datetime | None = None
    configuration: int = -1
    repeat: int = 0
    origin: Origin | None = None
    verdicts: tuple[Verdict, ...] = ()
    vector: dict[str, FiniteFloat] = Field(default_factory=dict)
    held: FiniteFloat = 0.0
    share: FiniteFloat = 1.0

    @property
    def state(self) -> str:
        """The outcome's name, or UNFINISHED."""
        return self.outcome.value if self.outcome else "UNFINISHED"

    @property
    def spends_budget(self) -> bool:
        """Whether it counts as one of the study's trials: all do but those refused and confirmations."""
        return self.outcome is not Outcome.INFEASIBLE and not self.confirms

    @property
    def redirected(self) -> bool:
        """Whether it went on from another trial's checkpoint, with other values than it was suggested."""
        return any(verdict.action == "exploit" for verdict in self.verdicts)

    @property
    def confirms(self) -> bool:
        """Whether it was trained at the end to compare with the winner: no leader, unknown to the sampler."""
        return self.origin is not None and self.origin.kind == "confirmation"


def record_of(trial: TrialFacts, direction: str) -> TrialRecord:
    """Read a trial of the journal."""
    attrs: Mapping[str, Any] = trial.attrs
    curve = dict(sorted(trial.curve.items()))
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
        losses=attrs.get("losses", 0),
        seconds=attrs.get("seconds", 0.0),
        seed=attrs.get("seed"),
        started=trial.started,
        ended=trial.ended,
        configuration=attrs.get("configuration", trial.number),
        repeat=attrs.get("repeat", 0),
        origin=Origin.model_validate(attrs["origin"]) if "origin" in attrs else None,
        verdicts=tuple(Verdict.model_validate(verdict) for verdict in attrs.get("verdicts", ())),
        vector=attrs.get("vector", {}),
        held=attrs.get("held", 0.0),
        share=attrs.get("share", 1.0),
    )


_REPORTED = {"epochs": int, "seconds": float, "held": float}
ON_REPORT = frozenset(_REPORTED)
"""Attributes that a report may change."""


def with_report(record: TrialRecord, trial: TrialFacts, epochs: list[int], direction: str) -> TrialRecord:
    """The record of a trial of which nothing has changed but what reports change.

    Args:
        record: of it, before the reports.
        trial: as it is now.
        epochs: that were reported since, rising, all after the record's last.
        direction: of the metric.

    Returns:
        What `record_of` gives, without looking at the whole curve again.
    """
    if trial.state.is_finished():
        epochs = []  # Optuna's rule: what comes after the end does not count
    best_epoch, best_value = record.best_epoch, record.best_value
    for epoch in epochs:
        if better(trial.curve[epoch], best_value, direction):
            best_epoch, best_value = epoch, trial.curve[epoch]
    news = {
        "curve": record.curve | {epoch: trial.curve[epoch] for epoch in epochs},
        "best_epoch": best_epoch,
        "best_value": best_value,
        "epoch": epochs[-1] if epochs else record.epoch,
        **{key: kind(trial.attrs[key]) for key, kind in _REPORTED.items() if key in trial.attrs},
    }
    return record.model_copy(update=news)


def ranked(records: list[TrialRecord], direction: str) -> list[TrialRecord]:
    """Best first: COMPLETE by value, then STOPPED by value, then the rest by number."""

    def key(record: TrialRecord) -> tuple[int, float, int]:
        place = {Outcome.COMPLETE: 0, Outcome.STOPPED: 1}.get(record.outcome, 2) if record.outcome else 2
        if place == 2 or record.best_value is None:
            return (2, 0.0, record.number)
        return (place, -record.best_value if direction == "maximize" else record.best_value, record.number)

    return sorted(records, key=key)


def configuration_of(record: TrialRecord) -> int:
    """Number of the first trial with these values; a record that does not say stands for itself."""
    return record.configuration if record.configuration >= 0 else record.number


def leaders(records: list[TrialRecord], direction: str, count: int) -> list[TrialRecord]:
    """The best trial of each of the best `count` configurations, whose checkpoints are kept and registered.

    A configuration counts by the mean over its trials that have a value, those with a trial that completed before
    others; confirmations do not take part.
    """
    groups: dict[int, list[TrialRecord]] = {}
    for record in records:
        if record.outcome and record.outcome.has_value and record.best_value is not None and not record.confirms:
            groups.setdefault(configuration_of(record), []).append(record)
    sign = -1.0 if direction == "maximize" else 1.0

    def loss(record: TrialRecord) -> float:
        return sign * (record.best_value or 0.0)

    def key(number: int) -> tuple[int, float, int]:
        group = groups[number]
        complete = any(record.outcome is Outcome.COMPLETE for record in group)
        return (0 if complete else 1, sign * fmean(record.best_value or 0.0 for record in group), number)

    best = sorted(groups, key=key)[:count]
    return [min(groups[number], key=lambda record: (loss(record), record.number)) for number in best]


# its warnings are about its own speed and about clocks that were set: they would break into the live view
optuna.logging.set_verbosity(optuna.logging.ERROR)
