"""Which sampler suggests configurations, and what it starts from: parts of a space file's `study` section."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from ssl_core.config import Config


class TPE(Config):
    """Tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011; Watanabe, arXiv:2304.11127)."""

    kind: Literal["tpe"] = "tpe"
    # random configurations before it learns; default a third of the planned trials, between 3 and 10
    startup: int | None = Field(default=None, ge=1)
    multivariate: bool = False  # model parameters jointly where all trials have them


class GP(Config):
    """Gaussian process with expected improvement. Seconds per suggestion from a few hundred trials on."""

    kind: Literal["gp"] = "gp"
    startup: int | None = Field(default=None, ge=1)


class CMAES(Config):
    """Covariance matrix adaptation (Hansen, arXiv:1604.00772), over the numeric parameters that every trial has."""

    kind: Literal["cmaes"] = "cmaes"
    sigma: float = Field(default=0.2, gt=0, le=1)  # first step as a share of each range
    population: int | None = Field(default=None, ge=2)  # configurations of a generation; default 4 + floor(3 ln d)


class NSGA2(Config):
    """Non-dominated sorting genetic algorithm II (Deb et al., 2002), for several objectives."""

    kind: Literal["nsga2"] = "nsga2"
    population: int = Field(default=24, ge=2)


class NSGA3(Config):
    """NSGA-III (Deb and Jain, 2014), for four objectives and more."""

    kind: Literal["nsga3"] = "nsga3"
    population: int = Field(default=24, ge=2)


class RandomSearch(Config):
    """Independent draws."""

    kind: Literal["random"] = "random"


class GridSearch(Config):
    """Every combination once, in an order drawn from the seed."""

    kind: Literal["grid"] = "grid"
    steps: int = Field(default=4, ge=2)  # values taken from a range that names no step of its own


class QuasiRandom(Config):
    """A low-discrepancy sequence, scrambled by the seed; choices are drawn at random."""

    kind: Literal["qmc"] = "qmc"
    sequence: Literal["sobol", "halton"] = "sobol"


def _by_name(given: Any) -> Any:
    """`tpe` is short for `{kind: tpe}`."""
    return {"kind": given} if isinstance(given, str) else given


SamplerSpec = Annotated[
    TPE | GP | CMAES | NSGA2 | NSGA3 | RandomSearch | GridSearch | QuasiRandom,
    Field(discriminator="kind"),
    BeforeValidator(_by_name),
]


class WarmStart(Config):
    """Trials of an earlier study that the sampler knows from the start. They are not trials of this study."""

    study: str  # name beside this study, or path of its folder
    rename: dict[str, str] = Field(default_factory=dict)  # key there -> key here, for spaces that differ in names
    fixed: dict[str, Any] = Field(default_factory=dict)  # values here of keys the earlier study did not search
    at_most: int = Field(default=100, ge=1)  # the best so many of them
