"""How a study searches: the `study` section of a space file, checked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ssl_core.config import Config, validated
from ssl_core.errors import ConfigError, SpaceError


class StudySpec(Config):
    """Settings of a study.

    The objective of a trial is the best value of `metric` over its epochs: that is the checkpoint which is kept
    as `best` and registered. The scheduler compares the best value up to a rung: the same language.

    Attributes:
        trials: how many to run. Configurations refused before they start cost nothing and are not counted.
        hours: start no new trial after this wall time of one invocation.
        metric, direction: the objective; it must be held out and comparable between trials.
        scheduler: `asha` stops the weak early; `none` lets all run to the end.
        grace: epochs before a trial may be stopped. Outlast the plateau of the objective's beginning.
        reduction: one of `reduction` trials survives each rung; rungs are grace * reduction^k epochs.
        seed: of the sampler; trial n trains with seed + n.
        startup_trials: random ones before the sampler learns; default a third of all, between 3 and 10.
        first_is_base: let trial 0 be the preset itself, so the search is never worse than not searching.
        top_k: how many of the best trials keep their checkpoint.
        concurrency: trials at a time; default what cores and GPUs allow.
        cpus_per_trial, gpus_per_trial: resources; GPUs default to one each where there are any.
        max_attempts: how often a crashing trial is started at most.
        max_refused: refused configurations in a row before the study gives up.
    """

    trials: int = 8
    hours: float | None = Field(default=None, gt=0)
    metric: str = "val/points_probe"
    direction: Literal["maximize", "minimize"] = "maximize"
    scheduler: Literal["asha", "none"] = "asha"
    grace: int = Field(default=3, ge=1)
    reduction: int = Field(default=3, ge=2)
    seed: int = Field(default=0, ge=0)
    startup_trials: int | None = Field(default=None, ge=1)
    first_is_base: bool = True
    top_k: int = Field(default=2, ge=1)
    concurrency: int | None = Field(default=None, ge=1)
    cpus_per_trial: float = Field(default=1.0, gt=0)
    gpus_per_trial: float | None = Field(default=None, ge=0)
    max_attempts: int = Field(default=2, ge=1)
    max_refused: int = Field(default=30, ge=1)

    @field_validator("trials")
    @classmethod
    def _some(cls, value: int) -> int:
        if value < 1:
            raise ValueError("a study needs at least one trial; set trials to 1 or more")
        return value

    @model_validator(mode="after")
    def _whole_gpus(self) -> Self:
        gpus = self.gpus_per_trial
        if gpus is not None and gpus > 1 and gpus != int(gpus):
            raise ValueError(f"gpus_per_trial must be a fraction of one or a whole number, not {gpus:g}")
        return self

    @property
    def startup(self) -> int:
        """Random trials before the sampler learns."""
        return self.startup_trials or min(10, max(3, self.trials // 3))


def study_spec(
    section: Mapping[str, Any], overrides: Mapping[str, Any] | None = None, source: Path | None = None
) -> StudySpec:
    """The spec of a space file's `study` section; overrides that are None do not count.

    Raises:
        SpaceError: unknown key or wrong value in the file (named). ConfigError: the same in an override.
    """
    where = f"{source}: section 'study'" if source else "section 'study'"
    try:
        validated(StudySpec, section)
    except ConfigError as error:
        raise SpaceError(f"{where}: {error}") from None
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    return validated(StudySpec, {**section, **given})
