"""Population based training (Jaderberg et al., arXiv:1711.09846), asynchronous.

After every `every` epochs a trial is compared with all that reached the same epoch. One of the worst share takes over
the checkpoint and the values of one of the best share that still trains, and goes on from there with the searched keys
of `perturb` moved a little. It has the donor's epoch count from then on: its curve has a gap where the donor trained
for it, never goes back, and each model that comes out has trained its full number of epochs, one after the other.

Donors must be running or waiting to run, since only those keep a checkpoint that can be continued: a population lives
side by side, so run as many trials at a time as it shall have members. All that is random comes from (seed, trial,
epoch).
"""

import math
from collections.abc import Mapping
from random import Random
from typing import Any, Protocol, assert_never

from search_spaces.parameter import Choice, Domain, FloatRange, IntRange, Parameter, encode
from search_spaces.space import SearchSpace
from ssl_core.config import nearest
from ssl_core.config_roles import changeable
from ssl_core.errors import SpaceError
from study.record.trial_record import Verdict
from study.schedulers.rung_order import Rule, Rung
from study.spec.outcome import better
from study.spec.scheduler_spec import PBT, SchedulerSpec


def perturbed(domain: Domain, value: Any, factor: float, resample: float, rng: Random) -> Any:
    """A number times or divided by `factor`, a choice's neighbour; with chance `resample` a new draw.

    What comes out lies in the domain, on its steps.
    """
    if rng.random() < resample:
        return drawn(domain, rng)
    up = rng.random() < 0.5
    match domain:
        case Choice():
            places = [encode(choice) for choice in domain.values]
            place = places.index(encode(value)) + (1 if up else -1)
            return domain.values[min(max(place, 0), len(places) - 1)]
        case FloatRange():
            return _on_steps(domain, value * factor if up else value / factor)
        case IntRange():
            moved = value * factor if up else value / factor
            least = value + domain.step if up else value - domain.step
            return _whole(domain, max(moved, least) if up else min(moved, least))
        case _:
            assert_never(domain)


def drawn(domain: Domain, rng: Random) -> Any:
    """A value of the domain, uniform (in the logarithm where it says so)."""
    match domain:
        case Choice():
            return rng.choice(domain.values)
        case FloatRange():
            if domain.kind == "log":
                return _on_steps(domain, math.exp(rng.uniform(math.log(domain.low), math.log(domain.high))))
            return _on_steps(domain, rng.uniform(domain.low, domain.high))
        case IntRange():
            return domain.low + domain.step * rng.randint(0, (domain.high - domain.low) // domain.step)
        case _:
            assert_never(domain)


def _on_steps(domain: FloatRange, value: float) -> float:
    value = min(max(value, domain.low), domain.high)
    if domain.step is None:
        return value
    return min(domain.low + domain.step * round((value - domain.low) / domain.step), domain.high)


def _whole(domain: IntRange, value: float) -> int:
    value = min(max(value, domain.low), domain.high)
    return min(domain.low + domain.step * round((value - domain.low) / domain.step), domain.high)


class Population(Protocol):
    """What the rule must know of trials beside their curves."""

    def donor_values(self, number: int) -> Mapping[str, Any] | None:
        """Config values of a trial that has a checkpoint to be continued by others; None if it has none."""
        ...


class PopulationBased(Rule):
    """Scores of all trials at the epochs where they are compared."""

    def __init__(self, spec: PBT, direction: str, space: SearchSpace, seed: int, population: Population) -> None:
        self._spec, self._direction, self._seed, self._population = spec, direction, seed, population
        self._domains: dict[str, Domain] = {p.key: p.domain for p in space.parameters if p.key in spec.perturb}
        self._scores: dict[int, Rung] = {}

    def observe(self, number: int, epoch: int, value: float) -> None:
        """A trial reported this objective."""
        if epoch % self._spec.every == 0:
            self._scores.setdefault(epoch, Rung(self._direction)).put(number, value)

    def verdict(self, number: int, epoch: int) -> Verdict | None:
        """Let one of the worst continue from one of the best; None to go on as it is."""
        scores = self._scores.get(epoch)
        if scores is None or number not in scores or len(scores) * self._spec.share < 2:
            return None
        among, share = len(scores), int(len(scores) * self._spec.share)
        bar, own = scores.place(among - share), scores.values[number]
        if not better(bar, own, self._direction):
            return None
        rng = Random(f"{self._seed} {number} {epoch}")
        donor = self._donor(scores, share, rng)
        if donor is None:
            return None
        return Verdict(
            action="exploit",
            scheduler="pbt",
            rung=epoch,
            value=own,
            bar=bar,
            among=among,
            donor=donor,
            values=self._explored(self._population.donor_values(donor) or {}, rng),
            reason=f"PBT after {epoch} epochs: {own:.4g} is among the worst {share} of {among} (the next has "
            f"{bar:.4g}); it goes on from trial {donor}, which had {scores.values[donor]:.4g}",
        )

    def _donor(self, scores: Rung, share: int, rng: Random) -> int | None:
        least = scores.place(share)
        best = sorted(
            number
            for number, value in scores.values.items()
            if not better(least, value, self._direction) and self._population.donor_values(number) is not None
        )
        return rng.choice(best) if best else None

    def _explored(self, values: Mapping[str, Any], rng: Random) -> dict[str, Any]:
        moved = {
            key: perturbed(self._domains[key], values[key], self._spec.factor, self._spec.resample, rng)
            for key in sorted(self._domains)
            if key in values
        }
        return {**values, **moved}


def check_perturbed(space: SearchSpace, scheduler: SchedulerSpec) -> None:
    """Refuse keys in `perturb` that a trial cannot take on halfway.

    Raises:
        SpaceError: a key is not searched, decides about shapes, chooses among kinds, or others depend on it; or the
            space chooses the recipe.
    """
    if not isinstance(scheduler, PBT):
        return
    if space.recipes.chooses:
        raise SpaceError(
            f"{space.source}: study.scheduler: PBT lets a trial go on from another's weights, and those of "
            f"{space.recipe} do not fit each other; name one recipe, or use asha"
        )
    where = f"{space.source}: study.scheduler.perturb"
    if not scheduler.perturb:
        raise SpaceError(f"{where}: name at least one searched key; without any, PBT only copies")
    searched = {parameter.key: parameter for parameter in space.parameters}
    for key in scheduler.perturb:
        if key not in searched:
            raise SpaceError(f"{where}: '{key}' is not searched{nearest(key, list(searched))}")
        _check(where, key, space, searched)


def _check(where: str, key: str, space: SearchSpace, searched: dict[str, Parameter]) -> None:
    config = type(space.base_config)
    if not changeable(config, key):
        can = ", ".join(other for other in searched if changeable(config, other)) or "none"
        raise SpaceError(
            f"{where}: '{key}' cannot change while a trial trains; of the searched keys, {can} can: "
            "single values that the recipe's config marks as LIVE"
        )
    dependent = sorted(other for other, parameter in searched.items() if key in parameter.when)
    if dependent:
        raise SpaceError(f"{where}: '{key}' cannot change while a trial trains: '{dependent[0]}' depends on it")
