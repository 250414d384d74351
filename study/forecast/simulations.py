"""The study, simulated many times with made-up learning curves and the pace that the pilot run found.

Searcher, scheduler, budget and ledger are those of real studies. How good configurations turn out is not known, so
every simulation draws a landscape of its own (`study.forecast.landscapes`); what they have in common, such as how many
trials pass a rung, is what is predicted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from search_spaces.space import SearchSpace
from ssl_core.config_roles import epochs_of
from study.engine.trial_manager import TrialManager
from study.forecast.columns import Columns
from study.forecast.curve_families import PowerLaw
from study.forecast.landscapes import Landscapes, longest
from study.forecast.learning_curve import Curve, draws
from study.forecast.pace import Guess, fit_pace
from study.forecast.pilot import Pilot
from study.forecast.resources import Capacity
from study.forecast.simulated_study import simulate
from study.forecast.simulated_worker import Timing
from study.forecast.simulation import SimulatedPoint, Simulation
from study.spec.budget import AllOf, AnyOf, Budget, Target, Trials
from study.spec.sampler_spec import TPE, RandomSearch
from study.spec.scheduler_spec import PBT, NoScheduler
from study.spec.study_spec import StudySpec
from study.spec.trial_request import CheckValues

MOST_TRIALS = 2000
"""A study that has not ended after so many is cut off; its prediction is a lower bound."""

_LEARNING_UP_TO = 50
"""Trials. In larger studies configurations are drawn at random, which takes less time than a sampler that learns.

In smaller ones every second simulation draws at random, too: whether a sampler finds anything better in so few trials,
so that more of them pass a rung, is luck (of two real studies of 16 trials that differed by their seed, one let 8 of
its 10 suggestions pass the first rung, the other 2 at most).
"""


@dataclass(frozen=True)
class Outlook:
    """One simulated study.

    Attributes:
        seconds: wall time, from the command to its end.
        slot_seconds: held by all slots, from the first worker to the last.
        trials, epochs: run and trained.
        ended: whether its budget ended it.
        mean_epoch_seconds: of its epochs.
    """

    seconds: float
    slot_seconds: float
    trials: int
    epochs: int
    ended: bool
    mean_epoch_seconds: float


@dataclass(frozen=True)
class PilotCurves:
    """A `CurveSource`: objectives of a made-up landscape, seconds of a guessed pace."""

    space: SearchSpace
    landscape: PowerLaw
    columns: Columns
    guess: Guess
    epochs: int
    maximize: bool

    def curve(self, values: Mapping[str, Any], seed: int) -> Curve:
        """See `CurveSource`."""
        found = self.landscape.curve(values, seed)
        epochs = epochs_of(self.space.configure(values)) or self.epochs
        sign = 1.0 if self.maximize else -1.0
        metrics = tuple({name: sign * value for name, value in one.items()} for one in found.metrics[:epochs])
        scatter = self.guess.noise * float(draws(values, seed, "pace").standard_normal())
        seconds = self.guess.seconds(self.columns.row(values)) * float(np.exp(scatter))
        return Curve(metrics, (seconds,) * epochs)


def forecasts(
    space: SearchSpace, spec: StudySpec, pilot: Pilot, room: Capacity, check: CheckValues | None = None
) -> list[Outlook]:
    """Simulate the study; the same arguments give the same outlooks.

    Args:
        space, spec: what is searched and how.
        pilot: run of it.
        room: what it runs on.
        check: refuses configurations before they start, as in the study.
    """
    columns = Columns(space)
    measured = pilot.configurations
    pace = fit_pace(columns.rows([one.values for one in measured]), [one.epoch_seconds for one in measured],
                    columns.scales)  # fmt: skip
    rng = np.random.default_rng(spec.seed)
    landscapes = Landscapes(space, spec, longest(space, measured[0].epochs))
    found = []
    for number in range(_simulations(spec)):
        guess = pace.draw(rng)
        curves = PilotCurves(
            space=space,
            landscape=landscapes.draw(number, rng),
            columns=columns,
            guess=guess,
            epochs=measured[0].epochs,
            maximize=spec.direction == "maximize",
        )
        scene = Simulation(
            space=space,
            spec=_simulated(spec, number),
            curves=curves,
            slots=room.slots,
            gpus_per_slot=room.gpus_per_slot,
            timing=Timing(opening=pilot.trial_overhead),
            check=check,
            until=_cut_off,
        )
        found.append(_outlook(scene, pilot.start_seconds))
    return found


def _outlook(scene: Simulation, start: float) -> Outlook:
    result = simulate(scene)
    training = sum(record.seconds for record in result.records)
    return Outlook(
        seconds=result.seconds + start,
        slot_seconds=result.seconds * scene.slots,
        trials=sum(record.spends_budget for record in result.records),
        epochs=result.epochs,
        ended=result.finished and len(result.records) < MOST_TRIALS,
        mean_epoch_seconds=training / max(1, result.epochs),
    )


def _simulations(spec: StudySpec) -> int:
    """Fewer of larger studies: their luck evens out."""
    return int(np.clip(960 // (spec.planned or 40), 12, 48))


def _simulated(spec: StudySpec, number: int) -> StudySpec:
    """The study without what made-up curves cannot tell: its vector, earlier studies, a target."""
    learns = (spec.planned or MOST_TRIALS) <= _LEARNING_UP_TO and number % 2 == 0
    limit = without_targets(spec.limit) or Trials(trials=MOST_TRIALS)
    return spec.model_copy(
        update={
            "sampler": TPE() if learns else RandomSearch(),
            "objectives": (),
            "constraints": (),
            "warm_start": (),
            # a population gives and takes, and everyone trains to the end
            "scheduler": NoScheduler() if isinstance(spec.scheduler, PBT) else spec.scheduler,
            "trials": None,
            "hours": None,
            "budget": limit,
            "seed": spec.seed + number,
        }
    )


def without_targets(budget: Budget) -> Budget | None:
    """The budget if its targets are never reached; None when it has no other limit."""
    match budget:
        case Target():
            return None
        case AnyOf():
            parts = [part for each in budget.any if (part := without_targets(each)) is not None]
            return AnyOf(any=tuple(parts)) if parts else None
        case AllOf():
            # one part that never holds is enough
            whole = [without_targets(each) for each in budget.all]
            return None if any(part is None for part in whole) else budget
        case _:
            return budget


def _cut_off(manager: TrialManager, point: SimulatedPoint) -> bool:
    return len(manager.ledger.records()) >= MOST_TRIALS
