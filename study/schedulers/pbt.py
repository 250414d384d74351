"""Population based training (Jaderberg et al., arXiv:1711.09846), asynchronous.

After every `every` epochs a trial is compared with all that reached the same epoch. One of the worst share takes over
the checkpoint and the values of one of the best share that still trains, and goes on from there with the searched keys
of `perturb` moved a little. It has the donor's epoch count from then on: its curve has a gap where the donor trained
for it, never goes back, and each model that comes out has trained its full number of epochs, one after the other.

Donors must be running or waiting to run, since only those keep a checkpoint that can be continued: a population lives
side by side, so run as many trials at a time as it shall have members. All that is random comes from (seed, trial,
epoch).
"""

from collections.abc import Iterable, Mapping
from random import Random
from typing import Any, Protocol

from search_spaces.parameter import Domain
from search_spaces.space import SearchSpace
from study.record.verdict import Verdict
from study.schedulers.perturb import perturbed
from study.schedulers.rung_order import Rung
from study.spec.outcome import better
from study.spec.scheduler_spec import PBT


class Population(Protocol):
    """What the rule must know of trials beside their curves."""

    def donor_values(self, number: int) -> Mapping[str, Any] | None:
        """Config values of a trial that has a checkpoint to be continued by others; None if it has none."""
        ...


class PopulationBased:
    """Scores of all trials at the epochs where they are compared.

    Args:
        spec: every, share, perturb, factor and resample.
        direction: of the objective.
        space: domains of the perturbed keys.
        seed: of the study.
        population: whom to take from.
    """

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

    def rebuild(self, curves: Iterable[tuple[int, Mapping[int, float]]]) -> None:
        """Forget all and observe every curve again."""
        self._scores.clear()
        for number, curve in curves:
            for epoch in sorted(curve):
                self.observe(number, epoch, curve[epoch])

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
