"""What a sampler is told about a configuration: the mean over its repeats, not the luck of one.

| trials of the configuration                    | told as                                           |
|------------------------------------------------|---------------------------------------------------|
| one is COMPLETE                                | COMPLETE, each objective's mean                   |
| stopped by the scheduler                       | PRUNED, its best value at the epoch it reached    |
| diverged                                       | PRUNED without a value: worse than any other      |
| refused, crashed, or changed while it trained  | FAIL: says nothing about the values that were set |
| not finished                                   | RUNNING: keep away for now                        |

Divergence is taught because it is the configuration's doing and each one costs a trial: a sampler that is not told
goes on proposing the learning rates next to it. Refusals are not, although they are the configuration's doing too:
they cost nothing, so there can be many, and they would drown what the few trained trials say. Crashes are the
machine's doing. A trial that took over another's weights has a result that its first values do not explain.
"""

from collections.abc import Sequence
from itertools import accumulate
from statistics import fmean

from optuna.trial import TrialState
from pydantic import Field

from ssl_core.config import Config
from study.record.trial_record import TrialRecord
from study.spec.outcome import Outcome
from study.spec.study_spec import StudySpec


class Observation(Config):
    """An entry of the sampler's view.

    Attributes:
        state: COMPLETE, PRUNED, FAIL or RUNNING.
        values: one for each objective (COMPLETE).
        progress: epoch -> best value so far, rising epochs, if there is a single objective (COMPLETE, PRUNED); over
            repeats the mean, where one that ended earlier keeps its last.
        violations: metric of a constraint -> by how much it is broken, zero or less when it is kept.
    """

    state: str
    values: tuple[float, ...] = ()
    progress: dict[int, float] = Field(default_factory=dict)
    violations: dict[str, float] = Field(default_factory=dict)

    @property
    def trial_state(self) -> TrialState:
        """`state` as Optuna's."""
        return TrialState[self.state]


_OWN = (Outcome.COMPLETE, Outcome.STOPPED, Outcome.DIVERGED)
FAILED = Observation(state="FAIL")
RUNNING = Observation(state="RUNNING")


def told(trials: Sequence[TrialRecord], spec: StudySpec) -> Observation:
    """What to tell about the trials of one configuration, the first of them first."""
    if any(verdict.action == "exploit" for trial in trials for verdict in trial.verdicts):
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
    epochs = sorted({epoch for course in courses for epoch, _ in course})
    found: dict[int, float] = {}
    for epoch in epochs:
        so_far = [[value for at, value in course if at <= epoch] for course in courses]
        if all(so_far):
            found[epoch] = fmean(values[-1] for values in so_far)
    return found


def _mean(name: str, trials: Sequence[TrialRecord], complete: Sequence[TrialRecord], spec: StudySpec) -> float:
    """Of the compared metric over all repeats that reported it, stopped and diverged ones too: else only luck stays."""
    if name == spec.metric:
        return fmean(trial.best_value for trial in trials if trial.outcome in _OWN and trial.best_value is not None)
    return fmean(metric(trial, name, spec) for trial in complete)
