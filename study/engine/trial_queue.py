"""Which trial comes into being next: a repeat that is due, a new configuration, at the end a confirmation."""

import heapq
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from search_spaces.space import SearchSpace
from ssl_core.errors import ConfigError
from study.engine.feature_groups import feature_keys, same_values, winner, without_group
from study.engine.ledger import Ledger
from study.record.trial_record import Origin, TrialRecord, configuration_of
from study.samplers.proposal import SpaceExhaustedError
from study.spec.budget import LimitReached
from study.spec.outcome import Outcome
from study.spec.study_spec import StudySpec
from study.spec.trial_request import CheckValues

LEAST_REPEATS = 3


def confirmations(space: SearchSpace, spec: StudySpec, records: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    """Values of the trials left to confirm what each feature group of the winner is worth, in the order to run.

    The winner is trained anew, and without one group each; a group that every choice has, whose absence leaves nothing
    or which the recipe needs is kept. The winner was chosen for its value, so comparing with its own trial would favour
    it. Every arm is run once before any is run again, over several seeds; a confirmation that failed counts as run.
    """
    best = winner(records, spec.direction)
    if best is None or best.values is None:
        return []
    arms = [dict(best.values)]
    for key in feature_keys(json.loads(space.to_json())):
        for group in best.values.get(key.key, ()):
            values = None if group in key.always else without_group(best.values, key.key, group)
            if values is not None and refusal(space, values) is None:
                arms.append(values)
    if len(arms) == 1:
        return []
    have = Counter(same_values(record.values or {}) for record in records if record.confirms)
    times = range(max(spec.repeats, LEAST_REPEATS))
    return [values for repeat in times for values in arms if have[same_values(values)] <= repeat]


def refusal(space: SearchSpace, values: Mapping[str, Any], check: CheckValues | None = None) -> str | None:
    """Why a configuration cannot be trained, by the recipe's config and what is checked before a worker; else None."""
    try:
        space.configure(values)
        if check is not None:
            check(values)
    except ConfigError as error:
        return str(error)
    return None


class TrialQueue:
    """New trials, each written to the ledger when it is handed out.

    A configuration is repeated, over seeds, once its first trial has completed: what the scheduler stopped or what
    failed is not worth more. Repeats come before new configurations, so that the sampler learns means early.
    """

    def __init__(self, ledger: Ledger, space: SearchSpace, records: Iterable[TrialRecord]) -> None:
        self._ledger, self._space, self._spec = ledger, space, ledger.spec
        self._repeats: list[int] = []
        self._missing: list[dict[str, Any]] | None = None
        self.exhausted: LimitReached | None = None
        """Why the search has nothing new to suggest."""
        known = [record for record in records if not record.confirms]
        begun = Counter(configuration_of(record) for record in known)
        for record in known:
            self._due(record, begun[record.number])

    @property
    def has_repeats(self) -> bool:
        """Whether a completed configuration waits for a repeat."""
        return bool(self._repeats)

    def next(self) -> TrialRecord | None:
        """A repeat that is due, else what the sampler suggests; None when it has nothing new."""
        if self._repeats:
            return self._ledger.repeat_of(heapq.heappop(self._repeats))
        try:
            return self._ledger.ask(self._space)
        except SpaceExhaustedError as error:
            self.exhausted = LimitReached(str(error), False)
            return None

    def ended(self, record: TrialRecord) -> None:
        """A trial has its outcome."""
        if not record.confirms:
            self._missing = None
            self._due(record, 1)

    def has_confirmations(self) -> bool:
        """Whether some are left to run. Asked when nothing but confirmations runs: the winner is known then."""
        if self._missing is None:
            self._missing = confirmations(self._space, self._spec, self._ledger.records())
        return bool(self._missing)

    def next_confirmation(self) -> TrialRecord | None:
        """The next of them."""
        if not self.has_confirmations() or self._missing is None:
            return None
        best = winner(self._ledger.records(), self._spec.direction)
        return self._ledger.add(self._missing.pop(0), Origin(kind="confirmation", of=best.number if best else None))

    def _due(self, record: TrialRecord, begun: int) -> None:
        if record.outcome is Outcome.COMPLETE and record.repeat == 0:
            for _ in range(self._spec.repeats - begun):
                heapq.heappush(self._repeats, record.number)
