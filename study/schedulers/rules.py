"""From the `scheduler` section to the rule that decides."""

from collections.abc import Iterable, Mapping
from typing import Any, assert_never

from search_spaces.space import SearchSpace
from study.record.verdict import Rule, Verdict
from study.schedulers.asha import SuccessiveHalving
from study.schedulers.median import MedianStopping
from study.schedulers.pbt import Population, PopulationBased
from study.spec.scheduler_spec import ASHA, PBT, MedianRule, NoScheduler, SchedulerSpec


class NoRule:
    """Everyone goes on."""

    def observe(self, number: int, epoch: int, value: float) -> None:
        """Nothing to remember."""

    def verdict(self, number: int, epoch: int) -> Verdict | None:
        """None."""
        return None

    def rebuild(self, curves: Iterable[tuple[int, Mapping[int, float]]]) -> None:
        """Nothing to forget."""


class NoPopulation:
    """A population in which nobody gives."""

    def donor_values(self, number: int) -> Mapping[str, Any] | None:
        """None."""
        return None


def build_rule(
    spec: SchedulerSpec, direction: str, space: SearchSpace, seed: int, population: Population | None = None
) -> Rule:
    """The rule of a study.

    Args:
        spec: which, and its settings.
        direction: of the objective.
        space: of the study.
        seed: of the study.
        population: whom PBT takes checkpoints from; without it nobody takes any.
    """
    match spec:
        case ASHA():
            return SuccessiveHalving(spec, direction)
        case MedianRule():
            return MedianStopping(spec, direction)
        case PBT():
            return PopulationBased(spec, direction, space, seed, population or NoPopulation())
        case NoScheduler():
            return NoRule()
        case _:
            assert_never(spec)
