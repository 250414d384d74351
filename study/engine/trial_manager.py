"""The one who decides: which trial runs next, when one stops, what is kept. Knows nothing of Ray.

Workers and Tune only carry messages. Every decision is written to the ledger before it is acted on, then passed
to the callbacks. So at any moment the ledger says at least as much as anyone else, and a study that died is
continued from it alone. What a message costs does not depend on how many trials there are.
"""

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search_spaces.space import SearchSpace
from study.engine.checkpoint_retention import BestMetrics, CheckpointRetention
from study.engine.ledger import Ledger
from study.engine.limits import Limits, RunContext, StudyCallback, UsageCounters
from study.engine.recovery import MAX_LOSSES, Again, after_death, already_failed, recover
from study.engine.trial_queue import TrialQueue, refusal
from study.record.trial_record import TrialRecord, Verdict
from study.schedulers.rules import build_rule
from study.spec.outcome import EpochReport, Outcome
from study.spec.trial_request import TrialRequest
from study.workers.trial_folder import TrialFolder


class TrialManager:
    """Runs one study's trials through `next_request`, `on_report` and `on_death`.

    Args:
        witnesses: told of everything, in order; the one that gives trials their run comes first.
    """

    def __init__(self, ledger: Ledger, space: SearchSpace, context: RunContext, callbacks: list[StudyCallback]) -> None:
        self.ledger, self.space, self.context, self.callbacks = ledger, space, context, callbacks
        self.spec = spec = ledger.spec
        self.live: dict[int, TrialRecord] = {}
        self.fatal: Exception | None = None
        self.rule = build_rule(spec.scheduler, spec.direction, space, spec.seed, self)
        self._best = BestMetrics(spec, context.folder)
        found = recover(ledger, context.folder)
        self.rule.rebuild((record.number, record.curve) for record in found.records if not record.confirms)
        self._counters = UsageCounters(spec.direction, found.records)
        self._retention = CheckpointRetention(spec.direction, spec.top_k, spec.repeats)
        for record in found.records:
            if record.outcome is not None:
                self._prune(record)
        self._queue = TrialQueue(ledger, space, found.records)
        self._waiting = deque(record.number for record in found.unfinished)
        self._callbacks_pending, self._decision_pending = found.callbacks_pending, found.decision_pending
        self._limits = Limits(spec, self._counters, context.meter, self._queue)

    # ---- what runs next

    def next_request(self) -> TrialRequest | None:
        """The next trial to start, or None: all slots are taken (`finished` is False) or nothing is left."""
        while self.fatal is None and (number := self._next()) is not None:
            request = self._launch(number)
            if request is not None:
                return request
        return None

    @property
    def finished(self) -> bool:
        """Nothing runs, nothing waits, and no more may be started; or nothing can."""
        if self.fatal is not None:
            return True
        return not self.live and not self._waiting and self._limits.over() is not None and not self._limits.confirming()

    @property
    def stop_reason(self) -> str | None:
        """Why no more trials are started; None while more are."""
        over = self._limits.over()
        return over.reason if over else None

    def _next(self) -> int | None:
        """Unfinished trials first, then repeats, then new configurations; confirmations when all else is over."""
        while self._waiting and self._has_room(self.ledger.record(self._waiting[0]).share):
            number = self._waiting.popleft()
            if self._goes_on(self.ledger.record(number)):
                return number
        if self._waiting or not self._has_room(1.0):
            return None
        if self._limits.over() is None:
            record = self._queue.next()
        elif all(running.confirms for running in self.live.values()) and self._limits.confirming():
            record = self._queue.next_confirmation()
        else:
            record = None
        if record is None:
            return None
        self._counters.asked(record)
        return record.number

    def _has_room(self, share: float) -> bool:
        taken = sum(record.share for record in self.live.values())
        return not self.live or taken + share <= self.context.concurrency + 1e-9

    def _goes_on(self, record: TrialRecord) -> bool:
        """Whether an unfinished trial is started again. A death may have cut short what was to become of it."""
        number = record.number
        # what only needs to be told again trains nothing; then it is judged as it would have been
        to_tell = number in self._callbacks_pending or 0 < record.epochs <= record.epoch
        if not to_tell and (spent := self._limits.cut(record)) is not None:
            self._end(number, Outcome.STOPPED, spent.reason)
            return False
        known = self.folder_of(number).crash_reason(record.crashes)
        if (failed := already_failed(record, self.spec, known)) is not None:
            self._end(number, failed.outcome, failed.reason)
            return False
        if number in self._decision_pending:
            self._decision_pending.discard(number)
            return self._judge(record, record.epoch)
        return True

    def _launch(self, number: int) -> TrialRequest | None:
        record = self.ledger.record(number)
        for callback in self.callbacks:
            callback.started(record)
        record = self.ledger.record(number)
        exploits = record.exploits
        values = exploits[-1].values if exploits else record.values or {}
        if (reason := refusal(self.space, values, self.context.check)) is not None:
            self._end(number, Outcome.INFEASIBLE, reason)
            return None
        if exploits:
            self.folder_of(number).adopt(len(exploits))
        self.live[number] = record
        self.context.meter.launched(number, record.share)
        return TrialRequest(
            number=number,
            attempt=record.crashes + 1,
            losses=record.losses,
            share=record.share,
            values=values,
            seed=self.spec.seed + number if record.seed is None else record.seed,
            folder=str(self.folder_of(number).path),
            reported_epoch=record.epoch - (number in self._callbacks_pending),
            transfer=bool(exploits),
        )

    # ---- what became of it

    def on_report(self, report: EpochReport) -> bool:
        """Take an epoch's report; True when the trial shall go on."""
        before = self.live.get(report.number)
        if before is None:
            return False
        self.context.meter.reported(report.number, report.seconds)
        record = self._write(report, before)
        if report.end is not None:
            self._end(report.number, report.end, report.reason)
            return False
        if (spent := self._limits.cut(record)) is not None:
            self._end(report.number, Outcome.STOPPED, spent.reason)
            return False
        return self._judge(record, report.epoch)

    def _write(self, report: EpochReport, before: TrialRecord) -> TrialRecord:
        number, seconds = report.number, before.seconds
        if not (number in self._callbacks_pending and report.epoch in before.curve):
            seconds += report.seconds
        self._callbacks_pending.discard(number)
        value = report.metrics.get(self.spec.metric)
        if value is None or report.end in (Outcome.DIVERGED, Outcome.INFEASIBLE):
            # no objective in it: the time spent is all there is to remember
            self.ledger.note(number, seconds=round(seconds, 3), epochs=report.epochs or before.epochs)
        else:
            self._best.check(report.metrics)
            self.ledger.report(report, value, seconds, self.context.meter.held(number))
            self._counters.reported(before, report.epoch, value)
            if not before.confirms:
                self.rule.observe(number, report.epoch, value)
        record = self.live[number] = self.ledger.record(number)
        self._best.reported(record, report)
        if report.metrics:
            for callback in self.callbacks:
                callback.reported(record, report)
        return record

    def _judge(self, record: TrialRecord, epoch: int) -> bool:
        """Ask the scheduler, and do what it says; True when the trial goes on as it is."""
        if record.confirms or any(verdict.rung == epoch for verdict in record.verdicts):
            return True
        verdict = self.rule.verdict(record.number, epoch)
        if verdict is None or (verdict.action == "exploit" and not self._prepare(record, verdict)):
            return True
        if verdict.action == "stop":
            self._end(record.number, Outcome.STOPPED, verdict.reason, verdict)
            return False
        self.ledger.redirect(record.number, verdict)
        self._leave(record.number)
        self._waiting.appendleft(record.number)
        return False

    def _prepare(self, record: TrialRecord, verdict: Verdict) -> bool:
        """Lay the donor's checkpoint aside for the trial: before the ledger says that it was taken over."""
        if verdict.donor is None or refusal(self.space, verdict.values, self.context.check) is not None:
            return False
        own = EpochReport(
            number=record.number, epochs=record.epochs, best_epoch=record.best_epoch, best_value=record.best_value
        )
        return self.folder_of(record.number).stage(self.folder_of(verdict.donor), 1 + len(record.exploits), own)

    def donor_values(self, number: int) -> Mapping[str, Any] | None:
        """For `study.schedulers.pbt`: values of a running trial that has a checkpoint."""
        record = self.live.get(number)
        return record.values if record is not None and record.epoch > 0 and not record.confirms else None

    def on_death(self, number: int, reason: str, out_of_memory: bool = False, blame: bool = True) -> None:
        """An attempt ended without a report: start it again from its checkpoint, or give it up.

        Without `blame` its machine went away: that is no crash of the trial's, unless it happens again and again.
        """
        record = self.live.get(number)
        if record is None:
            return
        self._leave(number, lost=True)
        if not blame and record.losses < MAX_LOSSES:
            self.ledger.note(number, losses=record.losses + 1)
            self._waiting.append(number)
            return
        crashes, folder = record.crashes + 1, self.folder_of(number)
        known = folder.crash_reason(crashes)
        if known is None:
            folder.write_crash(crashes, reason, "")
        answer = after_death(record, self.spec, self.context.largest_share, known or reason, out_of_memory)
        if isinstance(answer, Again):
            larger = {"share": answer.share} if answer.share != record.share else {}
            self.ledger.note(number, **larger, crashes=crashes)
            self._waiting.append(number)
        else:
            self.ledger.note(number, crashes=crashes)
            self._end(number, answer.outcome, answer.reason)

    def on_fatal(self, error: Exception) -> None:
        """Something that would end every trial the same way. Running ones stay unfinished, to be continued."""
        self.fatal = self.fatal or error

    def _end(self, number: int, outcome: Outcome, reason: str, verdict: Verdict | None = None) -> None:
        self._leave(number)
        vector = self._best.vector(self.ledger.record(number)) if outcome.has_value else None
        record = self.ledger.close(number, outcome, reason, vector, verdict)
        self._counters.ended(record)
        self._queue.ended(record)
        self._prune(record)
        for callback in self.callbacks:
            callback.ended(record)

    # ---- upkeep

    def folder_of(self, number: int) -> TrialFolder:
        """A trial's folder."""
        return TrialFolder(trial_path(self.context.folder, number))

    def _leave(self, number: int, lost: bool = False) -> None:
        if self.live.pop(number, None) is not None:
            self.context.meter.left(number, lost)

    def _prune(self, record: TrialRecord) -> None:
        """An ended trial: checkpoints stay for the best `top_k` configurations and for unfinished trials only."""
        dropped = self._retention.ended(record)
        if record.number not in dropped:
            self.folder_of(record.number).prune(keep_best=True)
        for number in dropped:
            self.folder_of(number).prune(keep_best=False)


def trial_path(folder: Path, number: int) -> Path:
    """Where a trial of a study keeps its files."""
    return folder / "trials" / f"{number:04d}"
