"""What the sampler knows: one entry for each configuration, those of earlier studies first.

The view is a function of the journal: following a study line by line gives the same as reading it at once. What a
sampler notes down while it suggests (a generation, a place in a sequence) is stored with the trial for that reason.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import accumulate
from statistics import fmean
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState
from pydantic import Field

from ssl_core.config import Config
from study.record.trial_record import OriginKind, TrialRecord
from study.samplers.view_storage import ViewStorage, entry
from study.spec.outcome import Outcome
from study.spec.study_spec import StudySpec


class Observation(Config):
    """An entry of the sampler's view."""

    state: str  # COMPLETE, PRUNED, FAIL or RUNNING
    values: tuple[float, ...] = ()  # one for each objective (COMPLETE)
    # epoch -> best value so far, rising epochs, if there is a single objective (COMPLETE, PRUNED); over repeats the
    # mean, where one that ended earlier keeps its last
    progress: dict[int, float] = Field(default_factory=dict)
    # metric of a constraint -> by how much it is broken, zero or less when it is kept
    violations: dict[str, float] = Field(default_factory=dict)

    @property
    def trial_state(self) -> TrialState:
        """`state` as Optuna's."""
        return TrialState[self.state]


_OWN = (Outcome.COMPLETE, Outcome.STOPPED, Outcome.DIVERGED)
FAILED = Observation(state="FAIL")
RUNNING = Observation(state="RUNNING")


def told(trials: Sequence[TrialRecord], spec: StudySpec) -> Observation:
    """What a sampler is told about a configuration, whose first trial comes first: the mean over its repeats.

    | trials of the configuration                    | told as                                           |
    |------------------------------------------------|---------------------------------------------------|
    | one is COMPLETE                                | COMPLETE, each objective's mean                   |
    | stopped by the scheduler                       | PRUNED, its best value at the epoch it reached    |
    | diverged                                       | PRUNED without a value: worse than any other      |
    | refused, crashed, or changed while it trained  | FAIL: says nothing about the values that were set |
    | not finished                                   | RUNNING: keep away for now                        |

    Divergence is taught because it is the configuration's doing and each one costs a trial. Refusals are not: they cost
    nothing, so there can be many, and they would drown what the few trained trials say.
    """
    if any(trial.redirected for trial in trials):
        return RUNNING if trials[0].outcome is None else FAILED
    complete = [trial for trial in trials if trial.outcome is Outcome.COMPLETE]
    if complete:
        values = tuple(_mean(objective.metric, trials, complete, spec) for objective in spec.vector)
        broken: dict[str, float] = {}
        for constraint in spec.constraints:
            name = constraint.metric
            by = fmean(constraint.violation(metric(trial, name, spec)) for trial in complete)
            # a metric may have two bounds: the one that is broken, or nearer, counts
            broken[name] = max(by, broken.get(name, by))
        return Observation(state="COMPLETE", values=values, progress=_progress(trials, spec), violations=broken)
    first = trials[0]
    match first.outcome:
        case None:
            return RUNNING
        case Outcome.STOPPED if first.best_value is not None and len(spec.vector) == 1:
            return Observation(state="PRUNED", progress=_progress(trials[:1], spec))
        case Outcome.STOPPED | Outcome.DIVERGED:
            return Observation(state="PRUNED")
        case _:
            return FAILED


def metric(trial: TrialRecord, name: str, spec: StudySpec) -> float:
    """A metric of the vector. KeyError where the trial never reported it."""
    if name == spec.metric and trial.best_value is not None:
        return trial.best_value
    return trial.vector[name]


def missing(trial: TrialRecord, spec: StudySpec) -> list[str]:
    """Metrics that the study's objectives and constraints name and the trial never reported."""
    named = [objective.metric for objective in spec.vector] + [constraint.metric for constraint in spec.constraints]
    known = {spec.metric} if trial.best_value is not None else set[str]()
    return [name for name in named if name not in known and name not in trial.vector]


def _progress(trials: Sequence[TrialRecord], spec: StudySpec) -> dict[int, float]:
    if len(spec.vector) != 1:
        return {}
    best = max if spec.direction == "maximize" else min
    courses = [list(accumulate(trial.curve.items(), lambda a, b: (b[0], best(a[1], b[1])))) for trial in trials
               if trial.outcome in _OWN and trial.curve]  # fmt: skip
    if len(courses) == 1:
        return dict(courses[0])
    found: dict[int, float] = {}
    for epoch in sorted({epoch for course in courses for epoch, _ in course}):
        so_far = [[value for at, value in course if at <= epoch] for course in courses]
        if all(so_far):
            found[epoch] = fmean(values[-1] for values in so_far)
    return found


def _mean(name: str, trials: Sequence[TrialRecord], complete: Sequence[TrialRecord], spec: StudySpec) -> float:
    """Of the compared metric over all repeats that reported it, stopped and diverged ones too: else only luck stays."""
    if name == spec.metric:
        return fmean(trial.best_value for trial in trials if trial.outcome in _OWN and trial.best_value is not None)
    return fmean(metric(trial, name, spec) for trial in complete)


NOTE = "study:"
"""Prefix of a sampler's notes about the study where they are stored with a trial."""

_FIRST = datetime(2000, 1, 1)
"""Not a time: seconds from here are the order in which entries were finished."""


class WarmEntry(Config):
    """A configuration of an earlier study, in terms of this one."""

    source: str  # study and trial it comes from
    params: dict[str, Any]  # Optuna params in this study's space
    told: Observation  # what the sampler is told


class SamplerView:
    """The sampler's knowledge at one moment of the journal, `warm` known from the start.

    Objectives and constraints must not change during a study; the rest of the spec may.
    """

    def __init__(
        self, spec: StudySpec, warm: Sequence[WarmEntry], distributions: Mapping[str, BaseDistribution]
    ) -> None:
        self.storage = ViewStorage([objective.direction for objective in spec.vector])
        self.warm = len(warm)
        self.kinds: Counter[OriginKind] = Counter()
        self._spec = spec
        self._place: dict[int, int] = {}
        self._counts: Counter[TrialState] = Counter()
        self._running: dict[int, int] = {}
        self._finished = 0
        for number, earlier in enumerate(warm):
            self._enter(number, earlier.params, distributions, user_attrs={"from": earlier.source})
            self._tell(number, earlier.told)
        self._warm_counts = Counter(self._counts)

    def add(self, record: TrialRecord, distributions: Mapping[str, BaseDistribution], notes: Mapping[str, Any]) -> None:
        """A trial with values of its own was asked for; `notes` are what its sampler left."""
        position = len(self.storage.entries)
        self._place[record.number] = position
        own = {key: value for key, value in notes.items() if not key.startswith(NOTE)}
        self.storage.attrs.update({key[len(NOTE) :]: notes[key] for key in notes if key.startswith(NOTE)})
        self._enter(position, record.params, distributions, system_attrs=own, user_attrs={"number": record.number})
        self._running[position] = record.number
        if record.origin is not None:
            self.kinds[record.origin.kind] += 1

    def tell(self, trials: Sequence[TrialRecord]) -> None:
        """All trials of one configuration, after one of them ended."""
        position = self._place.get(trials[0].number)
        if position is not None:
            self._tell(position, told(trials, self._spec))

    def known(self) -> dict[str, int]:
        """Finished configurations of this study by what was told."""
        counts = self._counts - self._warm_counts
        return {state.name: counts[state] for state in sorted(counts, key=lambda state: state.name)}

    def running(self) -> tuple[int, ...]:
        """Numbers of the trials whose configurations are unfinished."""
        return tuple(self._running.values())

    def count(self, *states: TrialState) -> int:
        """Finished entries told as one of these, warm ones included."""
        return sum(self._counts[state] for state in states)

    def in_order(self) -> list[FrozenTrial]:
        """Finished entries that are not failures, as they were finished."""
        useful = (TrialState.COMPLETE, TrialState.PRUNED)
        done = [trial for trial in self.storage.entries if trial.state in useful]
        return sorted(done, key=lambda trial: trial.datetime_complete or _FIRST)

    def _enter(
        self, position: int, params: dict[str, Any], distributions: Mapping[str, BaseDistribution], **notes: Any
    ) -> None:
        kinds = {key: distributions[key] for key in params}
        asked = entry(position, TrialState.RUNNING, params=dict(params), distributions=kinds, **notes)
        self.storage.entries.append(asked)

    def _tell(self, position: int, news: Observation) -> None:
        old = self.storage.entries[position]
        ended = old.datetime_complete
        if ended is not None:
            self._counts[old.state] -= 1
        if news.trial_state.is_finished():
            self._counts[news.trial_state] += 1
            self._running.pop(position, None)
        if ended is None and news.trial_state.is_finished():
            ended = _FIRST + timedelta(seconds=self._finished)
            self._finished += 1
        broken = {f"constraints:{name}": value for name, value in news.violations.items()}
        self.storage.entries[position] = entry(
            position,
            news.trial_state,
            values=news.values or None,
            params=old.params,
            distributions=old.distributions,
            user_attrs=old.user_attrs,
            system_attrs={**old.system_attrs, **broken},
            intermediate_values=dict(news.progress),
            datetime_complete=ended,
        )
