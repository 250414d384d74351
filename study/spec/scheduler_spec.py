"""Which rule stops or redirects running trials: the `scheduler` of a space file's `study` section."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from ssl_core.config import Config


class ASHA(Config):
    """Asynchronous successive halving, the stopping variant (Li et al., MLSys 2020, arXiv:1810.05934)."""

    kind: Literal["asha"] = "asha"
    # epochs before a trial may be stopped. Outlast the plateau of the objective's beginning
    grace: int = Field(default=3, ge=1)
    # one of `reduction` trials survives each rung; rungs are grace * reduction^k epochs
    reduction: int = Field(default=3, ge=2)


class MedianRule(Config):
    """Stop a trial whose best so far is worse than the median of the others' running means (Golovin et al., KDD 2017).

    Attributes:
        grace: epochs before a trial may be stopped.
        least: other trials that must have reached the epoch.
        every: epochs between comparisons.
    """

    kind: Literal["median"] = "median"
    grace: int = Field(default=3, ge=1)
    least: int = Field(default=4, ge=1)
    every: int = Field(default=1, ge=1)


class PBT(Config):
    """Population based training (Jaderberg et al., arXiv:1711.09846): the weak continue from copies of the strong."""

    kind: Literal["pbt"] = "pbt"
    every: int = Field(default=2, ge=1)  # epochs between comparisons
    # of the population at either end that gives and takes, at most a half
    share: float = Field(default=0.25, gt=0, le=0.5)
    # searched keys that may change while a trial trains; their effect must not depend on the model's shape
    perturb: tuple[str, ...]
    factor: float = Field(default=1.2, gt=1)  # a number is multiplied or divided by this; a choice moves to a neighbour
    resample: float = Field(default=0.25, ge=0, le=1)  # chance that a key is drawn anew instead


class NoScheduler(Config):
    """Every trial trains to its last epoch."""

    kind: Literal["none"] = "none"


def _by_name(given: Any) -> Any:
    """`asha` is short for `{kind: asha}`."""
    return {"kind": given} if isinstance(given, str) else given


SchedulerSpec = Annotated[ASHA | MedianRule | PBT | NoScheduler, Field(discriminator="kind"), BeforeValidator(_by_name)]
