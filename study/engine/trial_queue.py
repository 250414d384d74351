"""Which trial comes into being next: a repeat that is due, a new configuration, at the end a confirmation."""

import heapq
from collections import Counter
from collections.abc import Iterable
from typing import Any

from search_spaces.space import SearchSpace
from study.engine.confirmations import confirmation_plan, confirmations
from study.engine.ledger import Ledger
from study.record.origin import Origin
from study.record.trial_record import TrialRecord, configuration_of
from study.samplers.exhausted import SpaceExhaustedError
from study.spec.budget import LimitReached
from study.spec.outcome import Outcome


class TrialQueue:
    """New trials, each written to the ledger when it is handed out.

    A configuration is repeated, over seeds, once its first trial has completed: what the scheduler stopped or what
    failed is not worth more. Repeats come before new configurations, so that the sampler learns means early.

    Args:
        ledger: open for writing.
        space: what may be tried.
        records: trials so far.
    """

    def __init__(self, ledger: Ledger, space: SearchSpace, records: Iterable[TrialRecord]) -> None:
        self._ledger, self._space, self._spec = ledger, space, ledger.spec
        self._repeats: list[int] = []
        self._missing: list[dict[str, Any]] | None = None
        self._winner: int | None = None
        self.exhausted: LimitReached | None = None
        """Why the search has nothing new to suggest."""
        known = [record for record in records if not record.confirms]
        begun = Counter(configuration_of(record) for record in known)
        for record in known:
            if self._is_repeated(record):
                self._due(record.number, self._spec.repeats - begun[record.number])

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
        if record.confirms:
            return
        self._missing = None
        if self._is_repeated(record):
            self._due(record.number, self._spec.repeats - 1)

    def has_confirmations(self) -> bool:
        """Whether some are left to run. Asked when nothing but confirmations runs: the winner is known then."""
        if self._missing is None:
            records = self._ledger.records()
            self._missing = confirmations(self._space, self._spec, records)
            self._winner = confirmation_plan(self._space, self._spec, records).winner
        return bool(self._missing)

    def next_confirmation(self) -> TrialRecord | None:
        """The next of them."""
        if not self.has_confirmations() or self._missing is None:
            return None
        origin = Origin(kind="confirmation", of=self._winner)
        return self._ledger.add(self._missing.pop(0), origin)

    def _is_repeated(self, record: TrialRecord) -> bool:
        return record.outcome is Outcome.COMPLETE and record.repeat == 0

    def _due(self, number: int, times: int) -> None:
        for _ in range(times):
            heapq.heappush(self._repeats, number)
