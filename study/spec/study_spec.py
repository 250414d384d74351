"""How a study searches: the `study` section of a space file, checked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ssl_core.config import Config, validated
from ssl_core.errors import ConfigError, SpaceError
from ssl_core.training.contract import Score
from study.spec.budget import AnyOf, Budget, Hours, Trials
from study.spec.sampler_spec import GP, TPE, SamplerSpec, WarmStart
from study.spec.scheduler_spec import ASHA, PBT, SchedulerSpec

OF_TRIALS = ("trial/seconds", "trial/epochs")
"""What every trial has as a whole, beside the metrics it reports."""


def _metric(name: str) -> str:
    if not name.strip():
        raise ValueError("name a metric that trials report, for example val/probe")
    if name.startswith("trial/") and name not in OF_TRIALS:
        raise ValueError(f"'{name}' is unknown; of a trial as a whole there are {', '.join(OF_TRIALS)}")
    return name


class ObjectiveMetric(Config):
    """One of several things to optimise: a metric of the trial's best epoch, or of the trial as a whole."""

    metric: str  # as reported by the trial, or `trial/seconds`, `trial/epochs`
    direction: Literal["maximize", "minimize"] = "maximize"

    @field_validator("metric")
    @classmethod
    def _known(cls, metric: str) -> str:
        return _metric(metric)


class Constraint(Config):
    """A bound that a useful trial keeps; the sampler is told by how much a trial broke it."""

    metric: str  # as in `ObjectiveMetric`
    # at_most and at_least: one of the two
    at_most: float | None = Field(default=None, allow_inf_nan=False)
    at_least: float | None = Field(default=None, allow_inf_nan=False)

    @field_validator("metric")
    @classmethod
    def _known(cls, metric: str) -> str:
        return _metric(metric)

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError(f"constraint on {self.metric}: give at_most or at_least")
        return self

    def violation(self, value: float) -> float:
        """Above zero: by how much the bound is broken; zero or below: kept."""
        return value - self.at_most if self.at_most is not None else (self.at_least or 0.0) - value


class StudySpec(Config):
    """Settings of a study.

    The objective of a trial is the best value of `metric` over its epochs: that is the checkpoint which is kept
    as `best` and registered. The scheduler compares the same metric at its rungs.
    """

    # how many to run; 8 unless a `budget` is given. Configurations refused before they start cost nothing and are not
    # counted. Each repeat of a configuration is a trial
    trials: int | None = None
    hours: float | None = Field(default=None, gt=0, allow_inf_nan=False)  # short for a budget of wall time
    budget: Budget | None = None  # further limits (`study.spec.budget`)
    # metric and direction: what trials are compared by; it must be held out and comparable between trials. Left out of
    # a space file, they are those of the recipe's first output
    metric: str = "val/score"
    direction: Literal["maximize", "minimize"] = "maximize"
    # what the sampler is told, if not `metric` alone; rungs and leaders still go by `metric`
    objectives: tuple[ObjectiveMetric, ...] = ()
    constraints: tuple[Constraint, ...] = ()  # told to the sampler beside the objectives
    sampler: SamplerSpec = TPE()  # what suggests configurations (`study.spec.sampler_spec`)
    scheduler: SchedulerSpec = ASHA()  # what stops or redirects running trials (`study.spec.scheduler_spec`)
    # trials of each configuration whose first one completes, over seeds, before new configurations. The sampler is told
    # their mean, and configurations are ranked by it; a repeat that the scheduler stops counts with what it had
    # reached. The checkpoint that is kept and registered is that of the best repeat
    repeats: int = Field(default=1, ge=1)
    enqueue: tuple[dict[str, Any], ...] = ()  # configurations to try first, as dotted values on top of the base
    warm_start: tuple[WarmStart, ...] = ()  # earlier studies the sampler learns from
    seed: int = Field(default=0, ge=0, lt=2**53)  # of the sampler; trial n trains with seed + n
    first_is_base: bool = True  # let trial 0 be the preset itself, so the search is never worse than not searching
    top_k: int = Field(default=2, ge=1)  # how many of the best trials keep their checkpoint
    confirm_features: bool = False  # trials at the end that train the winner without one of its feature groups each
    # trials at a time; default what cores and GPUs allow
    concurrency: int | None = Field(default=None, ge=1, le=10_000)
    # cpus_per_trial and gpus_per_trial: resources; GPUs default to one each where there are any, `auto` shares a GPU by
    # the memory that trials were measured to need
    cpus_per_trial: float = Field(default=1.0, gt=0, le=10_000, allow_inf_nan=False)
    gpus_per_trial: float | Literal["auto"] | None = None
    # CPU threads of a trial's process; default its CPUs, at least one
    threads_per_trial: int | None = Field(default=None, ge=1)
    # a trial that ran out of memory is refused as INFEASIBLE, or started again with twice the share
    on_oom: Literal["infeasible", "retry"] = "retry"
    max_attempts: int = Field(default=2, ge=1)  # how often a crashing trial is started at most
    max_refused: int = Field(default=30, ge=1)  # refused configurations in a row before the study gives up

    @field_validator("trials")
    @classmethod
    def _some(cls, value: int | None) -> int | None:
        if value is not None and value < 1:
            raise ValueError("a study needs at least one trial; set trials to 1 or more")
        return value

    @field_validator("metric")
    @classmethod
    def _reported(cls, name: str) -> str:
        if _metric(name) in OF_TRIALS:
            raise ValueError(f"'{name}' is known only when a trial has ended; name it under 'objectives'")
        return name

    @field_validator("gpus_per_trial")
    @classmethod
    def _whole_gpus(cls, gpus: float | str | None) -> float | str | None:
        if isinstance(gpus, float) and not (0 <= gpus <= 1 or (gpus > 1 and gpus.is_integer())):
            raise ValueError(f"gpus_per_trial must be a fraction of one or a whole number, not {gpus:g}")
        return gpus

    @model_validator(mode="after")
    def _repeatable(self) -> Self:
        if self.repeats > 1 and isinstance(self.scheduler, PBT):
            raise ValueError(
                "PBT changes a configuration while it trains, so there is nothing to repeat: set repeats to 1"
            )
        return self

    @model_validator(mode="after")
    def _no_contradictions(self) -> Self:
        named = [objective.metric for objective in self.objectives]
        for objective in self.objectives:
            if named.count(objective.metric) > 1:
                raise ValueError(f"objectives: '{objective.metric}' is named twice; keep one")
            if objective.metric == self.metric and objective.direction != self.direction:
                raise ValueError(
                    f"objectives: '{self.metric}' is to {objective.direction}, while the study's direction is to "
                    f"{self.direction} it; set both alike"
                )
        for low in (bound for bound in self.constraints if bound.at_least is not None):
            for high in (
                bound for bound in self.constraints if bound.metric == low.metric and bound.at_most is not None
            ):
                if high.violation(low.at_least or 0.0) > 0:
                    raise ValueError(
                        f"constraints: no value of '{low.metric}' is at least {low.at_least:g} and at most "
                        f"{high.at_most:g}; widen one"
                    )
        return self

    @property
    def limit(self) -> AnyOf:
        """All limits as one budget."""
        trials = self.trials if self.trials or self.budget or self.hours else 8
        parts = (
            Trials(trials=trials) if trials else None,
            Hours(hours=self.hours) if self.hours else None,
            self.budget,
        )
        return AnyOf(any=tuple(part for part in parts if part is not None))

    @property
    def planned(self) -> int | None:
        """Trials if nothing else ends the study earlier; None when only other limits are set."""
        return _fewest_trials(self.limit)

    @property
    def threads(self) -> int:
        """CPU threads of a trial's process."""
        return self.threads_per_trial or max(1, int(self.cpus_per_trial))

    @property
    def startup(self) -> int:
        """Random configurations before a sampler learns."""
        given = self.sampler.startup if isinstance(self.sampler, (TPE, GP)) else None
        return given or min(10, max(3, (self.planned or 30) // (3 * self.repeats)))

    @property
    def vector(self) -> tuple[ObjectiveMetric, ...]:
        """The objectives as told to the sampler; one unless several are named."""
        return self.objectives or (ObjectiveMetric(metric=self.metric, direction=self.direction),)


def _fewest_trials(budget: Budget) -> int | None:
    match budget:
        case Trials():
            return budget.trials
        case AnyOf():
            return min((n for part in budget.any if (n := _fewest_trials(part))), default=None)
        case _:
            return None


def study_spec(
    section: Mapping[str, Any],
    overrides: Mapping[str, Any] | None = None,
    source: Path | None = None,
    scores: Sequence[Score] = (),
) -> StudySpec:
    """The spec of a space file's `study` section; overrides that are None do not count.

    `scores` are those of the recipe's outputs: the first is the metric unless one is named; each knows its direction.

    Raises:
        SpaceError: unknown key or wrong value in the file (named). ConfigError: the same in an override.
    """
    where = f"{source}: section 'study'" if source else "section 'study'"
    try:
        validated(StudySpec, section)
    except ConfigError as error:
        raise SpaceError(f"{where}: {error}") from None
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    return validated(StudySpec, {**_scored(section, scores), **section, **given})


def _scored(section: Mapping[str, Any], scores: Sequence[Score]) -> dict[str, Any]:
    named = section.get("metric", scores[0].metric if scores else None)
    return next((score.model_dump() for score in scores if score.metric == named), {})
