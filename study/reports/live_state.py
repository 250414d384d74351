"""How a study stands, kept up to date by single events: use of its budget, running trials, rungs, best, time left."""

from collections import Counter, deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import assert_never

from ssl_core.config import Config
from ssl_core.errors import ConfigError
from study.analysis.fidelity import RungSummary, rung_epochs, rungs
from study.engine.ledger import Ledger
from study.engine.limits import UsageCounters
from study.engine.meter import TOTALS, MeterTotals
from study.record.trial_record import TrialRecord
from study.spec.budget import AllOf, AnyOf, Budget, Epochs, GpuHours, Hours, NoImprovement, Target, Trials, Usage
from study.spec.clock import Clock
from study.spec.outcome import EpochReport, Outcome, better

RECENT = 200
"""Reports over which the pace is taken."""


class Use(Config):
    """One limit of a study."""

    name: str  # of the limit, as in the spec
    # so far, in the limit's unit: trials that have ended, hours, GPU-hours, epochs, trials since the best; of a target
    # the best objective, None before the first
    used: float | None
    limit: float  # where it ends
    share: float | None  # used, in [0, 1]; None for a target, which has no beginning


@dataclass(frozen=True)
class UsagePace:
    """How fast a study goes."""

    rate: float = 0.0  # epochs per second over all slots; 0 when not known yet
    under_way: float = 0.0  # epochs left of running trials
    running: int = 0  # trials that are
    usual: float = 0.0  # epochs of a trial that has ended, on average
    gpus: float = 0.0  # held at present


def budget_use(budget: Budget, usage: Usage) -> list[Use]:
    """Every limit in a budget, in the order written; `usage.trials` counts those that have ended."""
    match budget:
        case Trials():
            return [_use("trials", usage.trials, budget.trials)]
        case Hours():
            return [_use("hours", usage.seconds / 3600, budget.hours)]
        case GpuHours():
            return [_use("gpu_hours", usage.gpu_seconds / 3600, budget.gpu_hours)]
        case Epochs():
            return [_use("epochs", usage.epochs, budget.epochs)]
        case NoImprovement():
            return [_use("no_improvement", usage.since_best, budget.no_improvement)]
        case Target():
            return [Use(name="target", used=usage.best, limit=budget.target, share=None)]
        case AnyOf():
            return [use for part in budget.any for use in budget_use(part, usage)]
        case AllOf():
            return [use for part in budget.all for use in budget_use(part, usage)]
        case _:
            assert_never(budget)


def _use(name: str, used: float, limit: float) -> Use:
    return Use(name=name, used=used, limit=limit, share=min(1.0, used / limit))


def seconds_left(budget: Budget, usage: Usage, pace: UsagePace) -> float | None:
    """An estimate from the present pace; None where nothing is known."""
    match budget:
        case Trials():
            waiting = max(0, budget.trials - usage.trials - pace.running)
            return _at(pace.rate, pace.under_way + waiting * pace.usual)
        case Hours():
            return max(0.0, 3600 * budget.hours - usage.seconds)
        case GpuHours():
            return _at(pace.gpus, 3600 * budget.gpu_hours - usage.gpu_seconds)
        case Epochs():
            return _at(pace.rate, budget.epochs - usage.epochs)
        case NoImprovement() | Target():
            return None
        case AnyOf():
            known = [left for part in budget.any if (left := seconds_left(part, usage, pace)) is not None]
            return min(known, default=None)
        case AllOf():
            every = [seconds_left(part, usage, pace) for part in budget.all]
            known = [left for left in every if left is not None]
            return max(known) if len(known) == len(every) else None
        case _:
            assert_never(budget)


def _at(rate: float, amount: float) -> float | None:
    return max(0.0, amount) / rate if rate > 0 else None


@dataclass
class RunningTrial:
    """A trial that holds a slot."""

    record: TrialRecord  # as last seen
    since: float  # `clock.monotonic()` when this invocation started it
    latest: float | None = None  # objective of the last epoch, None before the first
    seconds: float | None = None  # of the last epoch


class LiveState:
    """Counts, running trials, rungs, the best so far and the pace of one study.

    Args:
        ledger: of the study; read once, here.
        slots: trials at a time.
        clock: of this invocation.
    """

    def __init__(self, ledger: Ledger, slots: int, clock: Clock) -> None:
        self.spec, self.name, self.slots = ledger.spec, ledger.name, slots
        self.clock, self.began = clock, clock.monotonic()
        records = ledger.records()
        self.running: dict[int, RunningTrial] = {}
        self.rungs: dict[int, RungSummary] = {rung.epoch: rung for rung in rungs(records, self.spec.scheduler)}
        self.ends: Counter[Outcome] = Counter()
        self.confirmed = 0
        self.best: TrialRecord | None = None
        self.reports: deque[float] = deque(maxlen=RECENT)
        self._folder = ledger.folder
        self._meter = read_totals(ledger.folder)
        self._before = self._meter.seconds
        self._counters = UsageCounters(self.spec.direction, records)
        self._open = {record.number for record in records if record.outcome is None and record.spends_budget}
        self._ended_epochs = self._ended_trials = self._longest = 0
        for record in records:
            self._see_end(record)

    # ---- events

    def started(self, record: TrialRecord) -> None:
        """A trial takes a slot; again after a crash or a restart."""
        if record.number not in self._open and record.spends_budget:
            self._open.add(record.number)
            self._counters.asked(record)
        self.running[record.number] = RunningTrial(record, self.clock.monotonic())

    def reported(self, record: TrialRecord, report: EpochReport) -> None:
        """An epoch is done; one told again counts once."""
        trial = self.running.setdefault(record.number, RunningTrial(record, self.clock.monotonic()))
        value = report.metrics.get(self.spec.metric)
        if value is not None:
            self._counters.reported(trial.record, report.epoch, value)
            trial.latest = value
        new = report.epoch > trial.record.epoch
        self._see_rung(trial.record, record, report)
        # a record without the epochs that its report knows is one of a study kept elsewhere
        trial.record = record.model_copy(
            update={"epoch": max(record.epoch, report.epoch), "epochs": report.epochs or record.epochs}
        )
        trial.seconds = report.seconds or trial.seconds
        self._longest = max(self._longest, report.epochs)
        if new:
            self.reports.append(self.clock.monotonic())
        self._see_best(record)

    def ended(self, record: TrialRecord) -> None:
        """A trial is over."""
        self.running.pop(record.number, None)
        if record.number in self._open:
            self._open.discard(record.number)
            self._counters.ended(record)
        if record.verdicts and record.verdicts[-1].action == "stop":
            verdict = record.verdicts[-1]
            rung = self.rungs.get(verdict.rung, RungSummary(epoch=verdict.rung, reached=1, passed=1))
            self._change(rung, stopped=rung.stopped + 1, passed=rung.passed - 1, bar=verdict.bar)
        self._see_end(record)

    # ---- what they add up to

    @property
    def done(self) -> int:
        """Trials of the budget that have ended."""
        return sum(self.ends.values()) - self.ends[Outcome.INFEASIBLE]

    def look(self) -> None:
        """Read again what the meter has written down; called when something is about to be shown."""
        self._meter = read_totals(self._folder)

    def usage(self) -> Usage:
        """Used so far; trials count when they have ended, GPU-hours as far as they were written down."""
        seconds = max(self._before + self.clock.monotonic() - self.began, self._meter.seconds)
        return replace(self._counters.usage(seconds, self._meter.gpu_seconds), trials=self.done)

    def pace(self) -> UsagePace:
        """How fast it goes."""
        usual = self._ended_epochs / self._ended_trials if self._ended_trials else float(self._longest)
        searching = [trial.record for trial in self.running.values() if not trial.record.confirms]
        left = sum(max(0.0, (record.epochs or usual) - record.epoch) for record in searching)
        return UsagePace(self.rate(), left, len(searching), usual, self.slots * self._meter.gpus)

    def rate(self) -> float:
        """Epochs per second over the last reports."""
        if len(self.reports) < 3:
            return 0.0
        return (len(self.reports) - 1) / max(self.clock.monotonic() - self.reports[0], 1e-9)

    # ---- bookkeeping

    def _see_end(self, record: TrialRecord) -> None:
        if record.outcome is None:
            return
        if record.confirms:
            self.confirmed += 1
            return
        self.ends[record.outcome] += 1
        if record.outcome is not Outcome.INFEASIBLE:
            self._ended_trials += 1
            self._ended_epochs += record.epoch
        self._longest = max(self._longest, record.epochs)
        if record.outcome.has_value:
            self._see_best(record)

    def _see_best(self, record: TrialRecord) -> None:
        value = record.best_value
        if value is None or record.confirms:
            return
        same = self.best is not None and self.best.number == record.number
        if same or better(value, self.best.best_value if self.best else None, self.spec.direction):
            self.best = record

    def _see_rung(self, before: TrialRecord, record: TrialRecord, report: EpochReport) -> None:
        if before.confirms or report.epoch <= before.epoch:
            return
        # an epoch without a value is not compared
        if report.epoch in record.curve and report.epoch in rung_epochs(self.spec.scheduler, report.epochs):
            rung = self.rungs.get(report.epoch, RungSummary(epoch=report.epoch))
            self._change(rung, reached=rung.reached + 1, passed=rung.passed + 1)
        for verdict in record.verdicts[len(before.verdicts) :]:
            if verdict.action == "exploit" and verdict.rung in self.rungs:
                rung = self.rungs[verdict.rung]
                self._change(rung, redirected=rung.redirected + 1, bar=verdict.bar)

    def _change(self, rung: RungSummary, **changes: float) -> None:
        self.rungs[rung.epoch] = rung.model_copy(update=changes)


def read_totals(folder: Path) -> MeterTotals:
    """Of the meter of a study, without the times of its trials; nothing where there is none to read."""
    try:
        return MeterTotals.from_json((folder / TOTALS).read_text())
    except (OSError, ValueError, ConfigError):
        return MeterTotals()
