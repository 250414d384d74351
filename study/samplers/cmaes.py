"""CMA-ES over the ranges that every trial has; the rest is drawn at random.

Nothing is stored but the generation a trial was suggested in: the distribution is worked out anew for each
suggestion, from the configurations in the order they were finished. A generation is complete when `population` of
its configurations are; those that finish later, in a parallel study, are left out. Stopped configurations rank below
complete ones, diverged ones below these, and those that break a constraint last. When a distribution has shrunk to
nothing, the next generation starts wide again.
"""

from typing import TYPE_CHECKING

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from search_spaces.space import SearchSpace
from ssl_core.errors import SpaceError
from study.samplers.proposal import Proposal
from study.samplers.sampler_view import SamplerView
from study.samplers.tpe import in_order
from study.samplers.unit import Numeric, always_numeric, from_unit, numeric, to_unit
from study.spec.sampler_spec import CMAES

if TYPE_CHECKING:
    from cmaes import CMA

MARK = "cmaes:generation"


def check_cmaes(space: SearchSpace) -> None:
    """Raises SpaceError naming the keys when fewer than two ranges are in every trial."""
    found = [parameter.key for parameter in always_numeric(space)]
    if len(found) < 2:
        others = sorted({parameter.key for parameter in space.parameters} - set(found))
        has = f"only '{found[0]}' is" if found else "none is"
        why = f" ({', '.join(others)} are choices or have conditions)" if others else ""
        raise SpaceError(
            f"{space.source}: CMA-ES needs two or more ranges that every trial has; {has} one{why}. Use the sampler tpe"
        )


def next_point(space: SearchSpace, spec: CMAES, seed: int, view: SamplerView) -> Proposal:
    """A draw from the distribution that the finished generations lead to."""
    ranges = [(parameter.key, domain) for parameter in always_numeric(space) if (domain := numeric(parameter))]
    optimiser, generation = _fresh(spec, ranges, view, seed), 0
    done: list[FrozenTrial] = []
    for trial in view.in_order():
        if trial.system_attrs.get(MARK) != generation:
            continue
        done.append(trial)
        if len(done) == optimiser.population_size:
            ranks = _ranks(done, view)
            optimiser.tell([(_place(t, ranges), rank) for t, rank in zip(done, ranks, strict=True)])
            generation, done = generation + 1, []
            if optimiser.should_stop():
                optimiser = _fresh(spec, ranges, view, seed)
    point = optimiser.ask()
    params = {key: from_unit(domain, float(at)) for (key, domain), at in zip(ranges, point, strict=True)}
    return Proposal(params, {MARK: generation}, f"generation {generation} of CMA-ES")


def _fresh(spec: CMAES, ranges: list[tuple[str, Numeric]], view: SamplerView, seed: int) -> "CMA":
    """The first distribution: around the best configuration of earlier studies, else the middle."""
    from cmaes import CMA  # brings scipy.stats, seconds that other samplers need not pay

    warm = [t for t in view.storage.entries[: view.warm] if t.state is TrialState.COMPLETE]
    middle = np.full(len(ranges), 0.5)
    if warm:
        ranks = _ranks(warm, view)
        middle = _place(warm[ranks.index(0.0)], ranges)
    bounds = np.tile([0.0, 1.0], (len(ranges), 1))
    return CMA(middle, spec.sigma, bounds=bounds, seed=seed, population_size=spec.population)


def _place(trial: FrozenTrial, ranges: list[tuple[str, Numeric]]) -> np.ndarray:
    return np.array([to_unit(domain, trial.params[key]) for key, domain in ranges])


def _ranks(trials: list[FrozenTrial], view: SamplerView) -> list[float]:
    """0 for the best: CMA-ES uses the order alone."""
    order = in_order(view.storage, [trial.number for trial in trials])
    rank = {number: float(place) for place, number in enumerate(order)}
    return [rank[trial.number] for trial in trials]
