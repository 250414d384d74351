"""An Optuna storage that holds what the sampler may know, and one trial that is being asked for."""

from collections.abc import Container, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from study.samplers.fidelity_order import Course, Courses

_STUDY, _NAME = 0, "view"
_START = datetime(2000, 1, 1)
"""Not a time: the view knows the order of things alone."""


class ViewStorage(BaseStorage):
    """One study, in memory. Entries are replaced as they are told; the trial asked for is the last and may vanish.

    Attributes:
        entries: finished and running trials; id and number of each are its position.
        asked: the trial that samplers are working on, or None.
        attrs: notes of samplers about the study.
        window: positions that `get_all_trials` gives beside the asked one; None for all.
    """

    def __init__(self, directions: Sequence[str]) -> None:
        self.entries: list[FrozenTrial] = []
        self._internal: list[dict[str, float]] = []
        self.asked: FrozenTrial | None = None
        self.attrs: dict[str, Any] = {}
        self.window: Sequence[int] | None = None
        self._courses, self._seen = Courses(), list[FrozenTrial]()
        self._directions = [StudyDirection[text.upper()] for text in directions]

    # ---- the study

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """There is one already."""
        raise NotImplementedError

    def delete_study(self, study_id: int) -> None:
        """Not of use here."""
        raise NotImplementedError

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Not of use here."""
        raise NotImplementedError

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """A sampler's note."""
        self.attrs[key] = value

    def get_study_id_from_name(self, study_name: str) -> int:
        """The only one."""
        return _STUDY

    def get_study_name_from_id(self, study_id: int) -> str:
        """The only one."""
        return _NAME

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """One for each objective."""
        return self._directions

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """None."""
        return {}

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Notes of samplers."""
        return dict(self.attrs)

    def get_all_studies(self) -> list[FrozenStudy]:
        """The only one."""
        return [FrozenStudy(_NAME, None, {}, {}, _STUDY, directions=self._directions)]

    # ---- trials

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
            self._courses.put(position, _course(trial, self._directions[0]))
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

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Entries are replaced instead."""
        raise NotImplementedError

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """Entries are replaced instead."""
        raise NotImplementedError

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Of the asked trial."""
        self.get_trial(trial_id).user_attrs[key] = value

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
