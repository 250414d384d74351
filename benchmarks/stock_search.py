"""Searches without this project's engine, on the same curves: what Ray Tune and Optuna do when put together plainly.

Ray's own `AsyncHyperBandScheduler` decides with its defaults (grace period 1, reduction 4, one bracket), Optuna's own
sampler suggests. Only Ray's loop is replaced, by the same fake time that simulated studies run in.
"""

import heapq
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import optuna
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from search_spaces.space import SearchSpace
from study.forecast.learning_curve import CurveSource
from study.forecast.simulated_driver import Simulation

Wanted = Callable[[Mapping[str, Any]], bool]


class StockSearch:
    """Asynchronous successive halving over random configurations.

    Args:
        space, curves, metric: what is searched; the metric is maximised.
        slots: trials at a time.
        seed: of everything random.
    """

    def __init__(self, space: SearchSpace, curves: CurveSource, metric: str, slots: int, seed: int) -> None:
        self._space, self._curves, self._metric, self._slots, self._seed = space, curves, metric, slots, seed
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=seed))
        self._asha = AsyncHyperBandScheduler(metric=metric, mode="max")

    def epochs_until(self, wanted: Wanted, most: int) -> int | None:
        """Epochs trained by all trials until one of the wanted has run to its end; None if `most` were spent before."""
        events: list[tuple[float, int, int]] = []
        running: dict[int, tuple[Any, Mapping[str, Any], Any]] = {}
        now, epochs, begun, order = 0.0, 0, 0, 0
        done: dict[int, int] = {}
        while True:
            while epochs < most and len(events) < self._slots:
                values: Mapping[str, Any] = self._space.suggest(self._study.ask())
                curve = self._curves.curve(values, self._seed + begun)
                trial = SimpleNamespace(trial_id=str(begun))
                self._asha.on_trial_add(None, trial)
                running[begun], done[begun], order = (trial, values, curve), 0, order + 1
                heapq.heappush(events, (now + Simulation.opening + curve.seconds[0], order, begun))
                begun += 1
            if not events:
                return None
            now, _, number = heapq.heappop(events)
            trial, values, curve = running[number]
            done[number], epochs, order = done[number] + 1, epochs + 1, order + 1
            if done[number] == curve.epochs:
                if wanted(values):
                    return epochs
            elif self._goes_on(trial, done[number], curve.metrics[done[number] - 1][self._metric]):
                heapq.heappush(events, (now + curve.seconds[done[number]], order, number))

    def _goes_on(self, trial: Any, epoch: int, value: float) -> bool:
        result = {"training_iteration": epoch, self._metric: value}
        return bool(self._asha.on_trial_result(None, trial, result) == TrialScheduler.CONTINUE)
