"""An Optuna storage that holds what the sampler may know, and one trial that is being asked for.

A scheduler lets configurations train for different numbers of epochs. Optuna's TPE ranks every complete trial above
every stopped one: what lost narrowly at a late rung counts among the bad, below the mediocre ones that were let through
while there was nothing to compare them with. Here two configurations are compared where both have been, by their best
values up to the last epoch that both reached; a complete one stays as it ended. A configuration's score is the share of
the others that it beats so (Copeland's method; ties count half). Complete ones among themselves have the order of their
values.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Course:
    """How far one configuration came."""

    losses: Mapping[int, float]  # epoch -> best loss up to there, rising epochs; empty if it never had one
    complete: bool  # it was trained to its end


class Courses:
    """Many of them as arrays: asked for scores again and again, with few changes in between."""

    def __init__(self) -> None:
        self._epochs = np.zeros(1, dtype=np.int64)  # that anything was said about, rising
        self._best = np.full((0, 1), np.inf)  # [configurations, epochs], the last one carried on
        self._ends = np.zeros(0, dtype=np.int64)
        self._complete = np.zeros(0, dtype=bool)

    def put(self, position: int, course: Course) -> None:
        """At a place of its own, or in place of what was there."""
        epochs = np.fromiter(course.losses, dtype=np.int64, count=len(course.losses))
        self._widen(epochs)
        self._lengthen(position + 1)
        row = self._best[position]
        row[:] = np.inf
        for column, loss in zip(np.searchsorted(self._epochs, epochs), course.losses.values(), strict=True):
            row[column:] = loss
        self._ends[position], self._complete[position] = max(course.losses, default=0), course.complete

    def scores(self, wanted: Sequence[int]) -> Floats:
        """[len(wanted)] between 0 and 1: the share of the other wanted ones that each beats.

        One without a loss beats none and is beaten by all. Takes about E n log n steps where stopped configurations
        have E different last epochs.
        """
        places: Positions = np.asarray(wanted, dtype=np.int64)
        wins = np.zeros(len(places))
        known = np.isfinite(self._best[places, -1]) if len(places) else np.zeros(0, dtype=bool)
        if known.any():
            wins[known] = self._wins(places[known]) + np.count_nonzero(~known)
        return wins / max(1, len(places) - 1)

    def _wins(self, places: Positions) -> Floats:
        beyond = int(self._epochs[-1]) + 1
        ends = np.where(self._complete[places], beyond, self._ends[places])
        wins = np.zeros(len(places))
        for level in np.unique(ends):
            here = self._best[places, np.searchsorted(self._epochs, level, side="right") - 1]
            ended, later = ends == level, ends > level
            # those that end here meet all that came so far, themselves left out; who went on meets those that end
            wins[ended] += _beaten(here[ended], here[ended | later]) - 0.5
            wins[later] += _beaten(here[later], here[ended])
        return wins

    def _widen(self, epochs: Positions) -> None:
        """Columns for epochs that are new; each begins as the one before it."""
        merged = np.union1d(self._epochs, epochs)
        if len(merged) > len(self._epochs):
            before = np.searchsorted(self._epochs, merged, side="right") - 1
            self._best = np.where(before >= 0, self._best[:, np.maximum(before, 0)], np.inf)
            self._epochs = merged

    def _lengthen(self, rows: int) -> None:
        more = 2 * rows - len(self._best) if rows > len(self._best) else 0
        if more:
            self._best = np.concatenate([self._best, np.full((more, self._best.shape[1]), np.inf)])
            self._ends = np.concatenate([self._ends, np.zeros(more, dtype=np.int64)])
            self._complete = np.concatenate([self._complete, np.zeros(more, dtype=bool)])


def _beaten(own: Floats, others: Floats) -> Floats:
    """For each of `own`, how many of `others` have a higher loss; equal ones count half."""
    order = np.sort(others)
    right, left = np.searchsorted(order, own, side="right"), np.searchsorted(order, own, side="left")
    return np.asarray(len(order) - right + 0.5 * (right - left), dtype=np.float64)


_START = datetime(2000, 1, 1)
"""Not a time: the view knows the order of things alone."""


class ViewStorage(InMemoryStorage):
    """One study. Entries are replaced as they are told; the trial asked for is the last and may vanish.

    Attributes:
        entries: finished and running trials; id and number of each are its position.
        asked: the trial that samplers are working on, or None.
        attrs: notes of samplers about the study.
        window: positions that `get_all_trials` gives beside the asked one; None for all.
    """

    def __init__(self, directions: Sequence[str]) -> None:
        super().__init__()
        self.create_new_study([StudyDirection[text.upper()] for text in directions], "view")
        self.entries: list[FrozenTrial] = []
        self.asked: FrozenTrial | None = None
        self.attrs: dict[str, Any] = {}
        self.window: Sequence[int] | None = None
        self._internal: list[dict[str, float]] = []
        self._courses, self._seen = Courses(), list[FrozenTrial]()

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """A sampler's note."""
        self.attrs[key] = value

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Notes of samplers."""
        return dict(self.attrs)

    def internal(self, position: int) -> dict[str, float]:
        """An entry's params as samplers calculate with them; an entry's params never change."""
        while len(self._internal) <= position:
            trial = self.entries[len(self._internal)]
            kinds = trial.distributions
            self._internal.append({key: kinds[key].to_internal_repr(value) for key, value in trial.params.items()})
        return self._internal[position]

    def scores(self, positions: Sequence[int]) -> NDArray[np.float64]:
        """How finished entries compare by the one objective, whatever their length: see `Courses.scores`."""
        del self._seen[len(self.entries) :]
        for position, trial in enumerate(self.entries):
            if position == len(self._seen):
                self._seen.append(trial)
            elif self._seen[position] is trial:
                continue
            self._seen[position] = trial
            self._courses.put(position, _course(trial, self.get_study_directions(0)[0]))
        return self._courses.scores(positions)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Begin to ask: the trial stays the asked one until it is taken."""
        position = len(self.entries)
        self.asked = template_trial or entry(position, TrialState.RUNNING)
        return position

    def take_asked(self) -> FrozenTrial:
        """The asked trial, which is forgotten here."""
        assert self.asked is not None
        trial, self.asked = self.asked, None
        return trial

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """Of the asked trial."""
        trial = self.get_trial(trial_id)
        trial.params[param_name] = distribution.to_external_repr(param_value_internal)
        trial.distributions[param_name] = distribution

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Of the asked trial."""
        self.get_trial(trial_id).system_attrs[key] = value

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Not a copy."""
        if self.asked is not None and trial_id == len(self.entries):
            return self.asked
        return self.entries[trial_id]

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Those in the window and the asked one, by number; no copies."""
        if states == (TrialState.WAITING,):
            return []
        seen = self.entries if self.window is None else [self.entries[position] for position in self.window]
        trials = [*seen, self.asked] if self.asked is not None else list(seen)
        return trials if states is None else [trial for trial in trials if trial.state in states]


def _course(trial: FrozenTrial, direction: StudyDirection) -> Course:
    sign = -1.0 if direction is StudyDirection.MAXIMIZE else 1.0
    complete = trial.state is TrialState.COMPLETE
    losses = {epoch: sign * value for epoch, value in trial.intermediate_values.items()}
    if complete and not losses and trial.value is not None:
        losses = {0: sign * trial.value}  # known by its end alone
    return Course(losses, complete)


def entry(number: int, state: TrialState, **fields: Any) -> FrozenTrial:
    """A trial of the view; `fields` as of FrozenTrial, empty where they are left out."""
    empty: dict[str, Any] = {
        "datetime_start": _START, "datetime_complete": None, "params": {}, "distributions": {},
        "user_attrs": {}, "system_attrs": {}, "intermediate_values": {},
    }  # fmt: skip
    return FrozenTrial(number=number, trial_id=number, state=state, value=None, **{**empty, **fields})
