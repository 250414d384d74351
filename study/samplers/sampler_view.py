"""What the sampler knows: one entry for each configuration, those of earlier studies first.

The view is a function of the journal: following a study line by line gives the same as reading it at once. What a
sampler notes down while it suggests (a generation, a place in a sequence) is stored with the trial for that reason.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from ssl_core.config import Config
from study.record.origin import OriginKind
from study.record.trial_record import TrialRecord
from study.samplers.observation import Observation, told
from study.samplers.view_storage import ViewStorage, entry
from study.spec.study_spec import StudySpec

NOTE = "study:"
"""Prefix of a sampler's notes about the study where they are stored with a trial."""

_FIRST = datetime(2000, 1, 1)
"""Not a time: seconds from here are the order in which entries were finished."""


class WarmEntry(Config):
    """A configuration of an earlier study, in terms of this one.

    Attributes:
        source: study and trial it comes from.
        params: Optuna params in this study's space.
        told: what the sampler is told.
    """

    source: str
    params: dict[str, Any]
    told: Observation


class SamplerView:
    """The sampler's knowledge at one moment of the journal.

    Args:
        spec: objectives and constraints must not change during a study; the rest may.
        warm: known from the start.
        distributions: of the space's parameters.
    """

    def __init__(
        self, spec: StudySpec, warm: Sequence[WarmEntry], distributions: Mapping[str, BaseDistribution]
    ) -> None:
        self.storage = ViewStorage([objective.direction for objective in spec.vector])
        self.warm = len(warm)
        self.kinds: Counter[OriginKind] = Counter()
        self._spec = spec
        self._place: dict[int, int] = {}
        self._counts: Counter[TrialState] = Counter()
        self._running: dict[int, int] = {}
        self._finished = 0
        for number, earlier in enumerate(warm):
            kinds = {key: distributions[key] for key in earlier.params}
            state = TrialState[earlier.told.state]
            asked = entry(
                number, state, params=earlier.params, distributions=kinds, user_attrs={"from": earlier.source}
            )
            self.storage.entries.append(asked)
            self._tell(number, earlier.told)
        self._warm_counts = Counter(self._counts)

    def add(self, record: TrialRecord, distributions: Mapping[str, BaseDistribution], notes: Mapping[str, Any]) -> None:
        """A trial with values of its own was asked for; `notes` are what its sampler left."""
        position = len(self.storage.entries)
        self._place[record.number] = position
        own = {key: value for key, value in notes.items() if not key.startswith(NOTE)}
        self.storage.attrs.update({key[len(NOTE) :]: notes[key] for key in notes if key.startswith(NOTE)})
        self.storage.entries.append(
            entry(
                position,
                TrialState.RUNNING,
                params=dict(record.params),
                distributions=dict(distributions),
                system_attrs=own,
                user_attrs={"number": record.number},
            )
        )
        self._running[position] = record.number
        if record.origin is not None:
            self.kinds[record.origin.kind] += 1

    def tell(self, trials: Sequence[TrialRecord]) -> None:
        """All trials of one configuration, after one of them ended."""
        position = self._place.get(trials[0].number)
        if position is not None:
            self._tell(position, told(trials, self._spec))

    def known(self) -> dict[str, int]:
        """Finished configurations of this study by what was told."""
        counts = self._counts - self._warm_counts
        return {state.name: counts[state] for state in sorted(counts, key=lambda state: state.name)}

    def running(self) -> tuple[int, ...]:
        """Numbers of the trials whose configurations are unfinished."""
        return tuple(self._running.values())

    def count(self, *states: TrialState) -> int:
        """Finished entries told as one of these, warm ones included."""
        return sum(self._counts[state] for state in states)

    def in_order(self) -> list[FrozenTrial]:
        """Finished entries that are not failures, as they were finished."""
        useful = (TrialState.COMPLETE, TrialState.PRUNED)
        done = [trial for trial in self.storage.entries if trial.state in useful]
        return sorted(done, key=lambda trial: trial.datetime_complete or _FIRST)

    def _tell(self, position: int, news: Observation) -> None:
        old = self.storage.entries[position]
        ended = old.datetime_complete
        if ended is not None:
            self._counts[old.state] -= 1
        if news.trial_state.is_finished():
            self._counts[news.trial_state] += 1
            self._running.pop(position, None)
        if ended is None and news.trial_state.is_finished():
            ended = _FIRST + timedelta(seconds=self._finished)
            self._finished += 1
        broken = {f"constraints:{name}": value for name, value in news.violations.items()}
        self.storage.entries[position] = entry(
            position,
            news.trial_state,
            values=news.values or None,
            params=old.params,
            distributions=old.distributions,
            user_attrs=old.user_attrs,
            system_attrs={**old.system_attrs, **broken},
            intermediate_values=dict(news.progress),
            datetime_complete=ended,
        )
