"""Optuna's TPE for studies that stop trials, at a cost that does not grow with the study.

With one objective, good and bad are told apart by `study.samplers.view_storage`, which compares trials of different
length fairly; the stock sampler puts every complete trial before every stopped one.

Two things make the stock sampler slow in a wide space: it sorts and translates all trials anew for each parameter,
and it builds its densities from every trial there ever was. Here that is done once for a suggestion, and no more
than `WINDOW` trials are looked at: the best, and the most recent of the rest.

What that leaves out is little. TPE's good group has at most 25 members however long the study is, the best tenth of
up to 250 trials; they are all kept, so with one objective the good density is exactly the stock sampler's. Of the
bad group the oldest are left out, which the stock sampler weights least. Up to `WINDOW` trials of which none was
stopped, every suggestion is the stock sampler's own (a test holds it to that).
"""

from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe.sampler import _split_trials, default_gamma
from optuna.study import Study, StudyDirection
from optuna.study._multi_objective import _fast_non_domination_rank
from optuna.trial import FrozenTrial, TrialState

from study.samplers.view_storage import ViewStorage

WINDOW = 250
BEST = default_gamma(WINDOW)


class StudyTPE(TPESampler):
    """TPE for one suggestion: made, used once and thrown away, because it remembers how it sorted the trials."""

    def __init__(self, *, seed: int, startup: int, multivariate: bool, known: ViewStorage) -> None:
        super().__init__(seed=seed, n_startup_trials=startup, multivariate=multivariate, constant_liar=True)
        self._known = known
        self._rows: dict[int, list[dict[str, float]]] = {}  # of either group, which live as long as this
        self._groups: tuple[list[FrozenTrial], list[FrozenTrial]] | None = None

    def _sample(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        below, above = self._sorted(study, trial)
        good = self._build_parzen_estimator(study, search_space, below, handle_below=True)
        bad = self._build_parzen_estimator(study, search_space, above, handle_below=False)
        candidates = good.sample(self._rng.rng, self._n_ei_candidates)
        chosen = self._compare(candidates, self._compute_acquisition_func(candidates, good, bad))
        return {key: kind.to_external_repr(chosen[key]) for key, kind in search_space.items()}

    def _get_internal_repr(
        self, trials: list[FrozenTrial], search_space: dict[str, BaseDistribution], study: Study
    ) -> dict[str, np.ndarray]:
        rows = self._rows.get(id(trials))
        if rows is None:
            rows = self._rows[id(trials)] = [self._known.internal(trial.number) for trial in trials]
        if len(search_space) == 1:
            (only,) = search_space
            return {only: np.asarray([row[only] for row in rows if only in row])}
        rows = [row for row in rows if search_space.keys() <= row.keys()]
        return {key: np.asarray([row[key] for row in rows]) for key in search_space}

    def _sorted(self, study: Study, asked: FrozenTrial) -> tuple[list[FrozenTrial], list[FrozenTrial]]:
        if self._groups is None:
            states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
            trials = [t for t in study.get_trials(deepcopy=False, states=states) if t.number != asked.number]
            finished = sum(t.state is not TrialState.RUNNING for t in trials)
            if len(study.directions) == 1:
                self._groups = self._split(trials, default_gamma(finished))
            else:
                self._groups = _split_trials(study, trials, int(np.ceil(0.1 * finished)))
        return self._groups

    def _split(self, trials: list[FrozenTrial], good: int) -> tuple[list[FrozenTrial], list[FrozenTrial]]:
        """The `good` best of one objective, and the others, running ones among them; both by number."""
        finished = [trial.number for trial in trials if trial.state is not TrialState.RUNNING]
        chosen = set(in_order(self._known, finished)[:good])
        return [t for t in trials if t.number in chosen], [t for t in trials if t.number not in chosen]


def window(known: ViewStorage) -> list[int] | None:
    """Positions of the trials that TPE looks at, ascending; None for all.

    Running trials are always among them; of the finished ones the best `BEST` and the most recent others, together
    `WINDOW`. Failed ones do not count.
    """
    trials = known.entries
    if len(trials) <= WINDOW:
        return None
    states = [trial.state for trial in trials]
    running = [i for i, state in enumerate(states) if state is TrialState.RUNNING]
    finished = [i for i, state in enumerate(states) if state is TrialState.COMPLETE or state is TrialState.PRUNED]
    if len(finished) <= WINDOW:
        return None
    best = set(in_order(known, finished)[:BEST])
    others = [i for i in finished if i not in best]
    return sorted([*best, *others[len(best) - WINDOW :], *running])


def in_order(known: ViewStorage, finished: list[int]) -> list[int]:
    """Positions of finished trials, best first; those that break bounds come last, by how much."""
    directions = known.get_study_directions(0)
    trials = [known.entries[position] for position in finished]
    broken = np.array([_broken(trial) for trial in trials])
    if len(directions) == 1:
        keys = -known.scores(finished)
    else:
        keys = np.full(len(trials), np.inf)
        signs = [-1.0 if direction is StudyDirection.MAXIMIZE else 1.0 for direction in directions]
        usable = [i for i, trial in enumerate(trials) if trial.state is TrialState.COMPLETE and broken[i] <= 0]
        losses = np.array([trials[i].values for i in usable]).reshape(len(usable), len(signs)) * signs
        keys[usable] = _fast_non_domination_rank(losses) if usable else []
    order = np.lexsort((np.where(broken > 0, broken, keys), broken > 0))
    return [finished[i] for i in order.tolist()]


def _broken(trial: FrozenTrial) -> float:
    notes = trial.system_attrs
    return sum(value for value in trial.constraints.values() if value > 0) if notes else 0.0
