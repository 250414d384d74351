"""A trial as the ledger knows it: where its values came from, its curve, what the scheduler said, how it ended."""

from datetime import datetime
from statistics import fmean
from typing import Any, Literal

import optuna
from optuna.trial import TrialState
from pydantic import Field, FiniteFloat

from ssl_core.config import Config
from study.record.journal_lines import TrialFacts
from study.spec.outcome import Outcome, better

OriginKind = Literal["base", "enqueued", "startup", "sampler", "repeat", "confirmation"]


class Origin(Config):
    """Who chose a trial's values, and what was known then."""

    # `base` the preset itself; `enqueued` given by hand; `startup` drawn at random because too little was known;
    # `sampler` suggested from what was known; `repeat` the values of an earlier trial with another seed; `confirmation`
    # trained at the end to compare with the winner
    kind: OriginKind
    sampler: str = ""  # kind of the study's sampler (`study.spec.sampler_spec`)
    seed: int = 0  # of the sampler for this suggestion
    # finished configurations the sampler had seen, by what it was told: COMPLETE, PRUNED, FAIL
    known: dict[str, int] = Field(default_factory=dict)
    running: tuple[int, ...] = ()  # numbers of the trials that were unfinished then
    warm: int = 0  # configurations it knew from earlier studies
    of: int | None = None  # the trial whose values these are (`repeat`), or that is confirmed
    note: str = ""  # for a person


class Verdict(Config):
    """Why a trial shall not simply go on; written to the ledger as it is."""

    # `stop` ends the trial; `exploit` lets it continue from a copy of another trial's checkpoint
    action: Literal["stop", "exploit"] = "stop"
    scheduler: str  # kind of the rule
    rung: int  # epoch of the comparison
    value: float  # what the trial was judged by
    bar: float  # what it was judged against, in the same unit
    among: int  # how many trials it was compared with, itself included
    reason: str  # the same for a person, in one sentence
    donor: int | None = None  # trial number whose checkpoint is taken (`exploit`)
    values: dict[str, Any] = Field(default_factory=dict)  # config values of the trial from here on (`exploit`)


STATE_OF = {
    Outcome.COMPLETE: TrialState.COMPLETE,
    Outcome.STOPPED: TrialState.PRUNED,
    Outcome.INFEASIBLE: TrialState.FAIL,
    Outcome.DIVERGED: TrialState.FAIL,
    Outcome.CRASHED: TrialState.FAIL,
}
"""How an outcome is told to Optuna. Failed trials do not teach the sampler; none is left RUNNING."""


class TrialRecord(Config):
    """One row of a study."""

    number: int  # from 0, continuous
    params: dict[str, Any] = Field(default_factory=dict)  # as Optuna stores them
    values: dict[str, Any] | None = None  # dotted config values that they mean
    outcome: Outcome | None = None  # None while unfinished
    told: bool = False  # Optuna knows the outcome too (False only if the driver died between the two writes)
    reason: str = ""
    curve: dict[int, float] = Field(default_factory=dict)  # epoch -> objective
    best_epoch: int | None = None
    best_value: float | None = None
    epoch: int = 0  # done
    epochs: int = 0  # planned
    crashes: int = 0  # failed attempts so far
    losses: int = 0  # attempts that went with their machine
    seconds: FiniteFloat = 0.0  # of training, over all attempts
    seed: int | None = None
    started: datetime | None = None
    ended: datetime | None = None
    configuration: int = -1  # number of the first trial with these values
    repeat: int = 0  # counts the trials with these values
    origin: Origin | None = None  # where the values came from
    verdicts: tuple[Verdict, ...] = ()  # of the scheduler, in order
    # metrics that objectives and constraints name, and costs (`cost/...`), at the best epoch; `trial/seconds` and
    # `trial/epochs` when it has ended
    vector: dict[str, FiniteFloat] = Field(default_factory=dict)
    held: FiniteFloat = 0.0  # slot seconds over all attempts, overhead included
    share: FiniteFloat = 1.0  # of resources, as a multiple of an ordinary trial's; above 1 after it ran out of memory

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
        return bool(self.exploits)

    @property
    def exploits(self) -> list[Verdict]:
        """Verdicts that made it go on from another trial's checkpoint."""
        return [verdict for verdict in self.verdicts if verdict.action == "exploit"]

    @property
    def confirms(self) -> bool:
        """Whether it was trained at the end to compare with the winner: no leader, unknown to the sampler."""
        return self.origin is not None and self.origin.kind == "confirmation"


def record_of(trial: TrialFacts, direction: str) -> TrialRecord:
    """Read a trial of the journal."""
    curve = dict(sorted(trial.curve.items()))
    best_epoch: int | None = None
    for epoch, value in curve.items():
        if best_epoch is None or better(value, curve[best_epoch], direction):
            best_epoch = epoch
    facts = {
        "configuration": trial.number,
        **{key: value for key, value in trial.attrs.items() if key in TrialRecord.model_fields},
        "number": trial.number,
        "params": dict(trial.params),
        "told": trial.state.is_finished(),
        "curve": curve,
        "best_epoch": best_epoch,
        "best_value": None if best_epoch is None else curve[best_epoch],
        "epoch": max(curve, default=0),
        "started": trial.started,
        "ended": trial.ended,
    }
    return TrialRecord.model_validate(facts)


_REPORTED = {"epochs": int, "seconds": float, "held": float}
ON_REPORT = frozenset(_REPORTED)
"""Attributes that a report may change."""


def with_report(record: TrialRecord, trial: TrialFacts, epochs: list[int], direction: str) -> TrialRecord:
    """What `record_of` gives where only reports came, without looking at the whole curve again.

    Args:
        epochs: that were reported since, rising, all after the record's last.
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
        if record.outcome is None or not record.outcome.has_value or record.best_value is None:
            return (2, 0.0, record.number)
        return (int(record.outcome is Outcome.STOPPED), sign * record.best_value, record.number)

    sign = -1.0 if direction == "maximize" else 1.0
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

    def key(number: int) -> tuple[int, float, int]:
        group = groups[number]
        complete = any(record.outcome is Outcome.COMPLETE for record in group)
        return (0 if complete else 1, sign * fmean(record.best_value or 0.0 for record in group), number)

    best = sorted(groups, key=key)[:count]
    return [
        min(groups[number], key=lambda record: (sign * (record.best_value or 0.0), record.number)) for number in best
    ]


# its warnings are about its own speed and about clocks that were set: they would break into the live view
optuna.logging.set_verbosity(optuna.logging.ERROR)
