"""The one who decides: which trial runs next, when one stops, what is kept. Knows nothing of Ray.

Workers and Tune only carry messages. Every decision is written to the ledger before it is acted on, then told to
the run log, then shown. So at any moment the ledger says at least as much as anyone else, and a study that died is
continued from it alone.
"""

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from search_spaces.space import SearchSpace
from ssl_core.errors import ConfigError, StudyError
from study.asha import SuccessiveHalving
from study.budget import Spending
from study.ledger import Ledger
from study.outcome import EpochReport, Outcome
from study.schedule.spec import ASHA
from study.session import CheckValues, TrialRequest
from study.trial_folder import TrialFolder
from study.trial_record import TrialRecord, leaders


class Witness(Protocol):
    """Someone who is told what happened, after it was written down."""

    def started(self, record: TrialRecord) -> None: ...

    def reported(self, record: TrialRecord, report: EpochReport) -> None: ...

    def ended(self, record: TrialRecord) -> None: ...


@dataclass(frozen=True)
class Ruling:
    """What is not to be changed by the search: limits and where things lie."""

    folder: Path
    concurrency: int
    check: CheckValues | None = None
    launched: float = field(default_factory=time.monotonic)


class Director:
    """Runs one study's trials through `next_request`, `on_report` and `on_death`.

    Args:
        ledger: open for writing.
        space: what may be tried.
        ruling: limits of this invocation.
        witnesses: told of everything, in order; the one that gives trials their run comes first.
    """

    def __init__(self, ledger: Ledger, space: SearchSpace, ruling: Ruling, witnesses: list[Witness]) -> None:
        self.ledger, self.space, self.ruling, self.witnesses = ledger, space, ruling, witnesses
        self.spec = ledger.spec
        self.live: dict[int, TrialRecord] = {}
        self.fatal: Exception | None = None
        self.stop_reason: str | None = None
        self._seconds: dict[int, float] = {}
        self._emptied: set[int] = set()
        self._refused_in_a_row = 0
        self._budget = self.spec.limit
        scheduler = self.spec.scheduler if isinstance(self.spec.scheduler, ASHA) else ASHA()
        self._halving = SuccessiveHalving(scheduler.grace, scheduler.reduction, self.spec.direction)
        self._waiting = deque(self._recover())

    # ---- what runs next

    def next_request(self) -> TrialRequest | None:
        """The next trial to start, or None: all slots are taken (`finished` is False) or nothing is left."""
        if self.fatal or len(self.live) >= self.ruling.concurrency:
            return None
        if self._waiting:
            return self._launch(self._waiting.popleft())
        while not self._spent():
            record = self.ledger.ask(self.space)
            request = self._launch(record.number)
            if request is not None:
                return request
        return None

    @property
    def finished(self) -> bool:
        """Nothing runs, nothing waits, and no more may be started; or nothing can."""
        return self.fatal is not None or (not self.live and not self._waiting and self._spent())

    def _spent(self) -> bool:
        if self.stop_reason is None:
            count = sum(record.spends_budget for record in self.ledger.records())
            spent = self._budget.spent(Spending(count, time.monotonic() - self.ruling.launched))
            self.stop_reason = spent.reason if spent else None
        return self.stop_reason is not None

    def _launch(self, number: int) -> TrialRequest | None:
        record = self.ledger.record(number)
        if record.values is None:
            record = self.ledger.complete_values(number, self.space)
        for witness in self.witnesses:
            witness.started(record)
        record = self.ledger.record(number)
        values = record.values or {}
        if (refusal := self._refusal(values)) is not None:
            self._end(number, Outcome.INFEASIBLE, refusal)
            self._count_refusal(refusal)
            return None
        self.live[number] = record
        self._seconds[number] = record.seconds
        return TrialRequest(
            number=number,
            attempt=record.crashes + 1,
            values=values,
            seed=self.spec.seed + number if record.seed is None else record.seed,
            folder=str(self.folder_of(number).path),
            reported_epoch=record.epoch,
        )

    def _refusal(self, values: Mapping[str, Any]) -> str | None:
        try:
            self.space.configure(values)
            if self.ruling.check is not None:
                self.ruling.check(values)
        except ConfigError as error:
            return str(error)
        return None

    def _count_refusal(self, reason: str) -> None:
        """A space whose every corner is refused must not be asked for ever."""
        self._refused_in_a_row += 1
        if self._refused_in_a_row >= self.spec.max_refused:
            self.stop_reason = f"{self._refused_in_a_row} configurations in a row were refused, the last: {reason}"

    # ---- what became of it

    def on_report(self, report: EpochReport) -> bool:
        """Take an epoch's report; True when the trial shall go on."""
        number = report.number
        record = self._write(report)
        if report.end is not None:
            self._end(number, report.end, report.reason)
            if report.end is Outcome.INFEASIBLE:
                self._count_refusal(report.reason)
            else:
                self._refused_in_a_row = 0
            return False
        if isinstance(self.spec.scheduler, ASHA) and record.best_value is not None:
            self._halving.record(number, report.epoch, record.best_value)
            verdict = self._halving.verdict(number, report.epoch)
            if verdict is not None:
                self._end(number, Outcome.STOPPED, verdict)
                return False
        return True

    def _write(self, report: EpochReport) -> TrialRecord:
        number = report.number
        self._seconds[number] = self._seconds.get(number, 0.0) + report.seconds
        value = report.metrics.get(self.spec.metric)
        if value is None or report.end in (Outcome.DIVERGED, Outcome.INFEASIBLE):
            # no objective in it: the time spent is all there is to remember
            self.ledger.note(number, seconds=round(self._seconds[number], 3), epochs=report.epochs)
        else:
            self.ledger.report(report, value, self._seconds[number])
        record = self.ledger.record(number)
        if number in self.live:
            self.live[number] = record
        if report.metrics:
            for witness in self.witnesses:
                witness.reported(record, report)
        return record

    def on_death(self, number: int, reason: str) -> None:
        """An attempt ended without a report: retry it from its checkpoint, or give it up."""
        record = self.ledger.record(number)
        self.live.pop(number, None)
        crashes = record.crashes + 1
        self.ledger.note(number, crashes=crashes)
        known = self.folder_of(number).crash_reason(crashes)
        if known is None:
            self.folder_of(number).write_crash(crashes, reason, "")
        reason = known or reason
        if crashes < self.spec.max_attempts:
            self._waiting.append(number)
            return
        self._end(number, Outcome.CRASHED, f"{reason} ({crashes} attempts; see crash-{crashes}.txt)")

    def on_fatal(self, error: Exception) -> None:
        """Something that would end every trial the same way. Running ones stay unfinished, to be continued."""
        self.fatal = self.fatal or error

    def _end(self, number: int, outcome: Outcome, reason: str) -> None:
        record = self.ledger.close(number, outcome, reason)
        self.live.pop(number, None)
        self._prune()
        for witness in self.witnesses:
            witness.ended(record)

    # ---- upkeep

    def folder_of(self, number: int) -> TrialFolder:
        """A trial's folder."""
        return TrialFolder(trial_path(self.ruling.folder, number))

    def _prune(self) -> None:
        """Checkpoints stay for the best `top_k` and for unfinished trials only."""
        records = self.ledger.records()
        kept = {record.number for record in leaders(records, self.spec.direction, self.spec.top_k)}
        for record in records:
            if record.outcome is None or record.number in self._emptied:
                continue
            self.folder_of(record.number).prune(keep_best=record.number in kept)
            if record.number not in kept:
                # who is not among the best now never will be: others only get in before it
                self._emptied.add(record.number)

    def _recover(self) -> list[int]:
        """Make the ledger consistent and return the trials that were not finished, oldest first."""
        records = self.ledger.records()
        for record in records:
            if record.outcome is not None and not record.told:
                self.ledger.close(record.number, record.outcome, record.reason)
            elif record.outcome is None and record.told:
                raise StudyError(f"trial {record.number} was ended by another program; use another study name")
        self._halving.rebuild((record.number, record.curve) for record in records)
        self._prune()
        return [record.number for record in records if record.outcome is None]


def trial_path(folder: Path, number: int) -> Path:
    """Where a trial of a study keeps its files."""
    return folder / "trials" / f"{number:04d}"
