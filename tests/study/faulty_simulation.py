"""Simulated studies in which trials fail, and drivers and nodes die."""

import heapq
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from ssl_core.errors import InfeasibleError
from study.engine.cost_report import CostReport, receipt_of
from study.engine.ledger import Ledger, memory_ledger, open_ledger
from study.forecast.learning_curve import Curve, PowerLaw, draws
from study.forecast.simulated_driver import FakeClock, Invocation, QueuedEvent, Simulated, Simulation, Worker
from study.record.metrics_file import MetricsFile
from study.record.trial_record import TrialRecord, leaders
from study.spec.outcome import EpochReport, Outcome, better
from study.spec.trial_request import TrialRequest


@dataclass(frozen=True)
class Mishap:
    """Something that goes wrong in a trial.

    Attributes:
        kind: `crash` the attempt dies without a report; `oom` the same for want of memory, until the share of the
            resources is `share`; `diverge` a metric becomes non-finite.
        epoch: in which it happens.
        times: attempts that crash; later ones go on.
        share: multiple of the per-trial resources that would be enough.
    """

    kind: Literal["crash", "oom", "diverge"]
    epoch: int = 1
    times: int = 1
    share: float = 2.0


@dataclass(frozen=True)
class FaultyCurve(Curve):
    """A curve whose trial may fail."""

    mishap: Mishap | None = None


@dataclass(frozen=True)
class WildLaw(PowerLaw):
    """Shares of the configurations go wrong; a hungry one runs out of memory until it has twice the share."""

    diverging: float = 0.0
    crashing: float = 0.0
    refused: float = 0.0
    hungry: float = 0.0

    def curve(self, values: Mapping[str, Any], seed: int) -> Curve:
        own = draws(values, self.landscape, "mishap")
        epoch, times, chance = int(own.integers(1, self.epochs + 1)), int(own.integers(1, 4)), float(own.random())
        kinds = (
            (self.refused, None),
            (self.diverging, Mishap("diverge", epoch)),
            (self.crashing, Mishap("crash", epoch, times)),
            (self.hungry, Mishap("oom", epoch)),
        )
        whole = super().curve(values, seed)
        for share, mishap in kinds:
            if chance < share:
                if mishap is None:
                    raise InfeasibleError("the data cannot serve these values")
                return FaultyCurve(whole.metrics, whole.seconds, mishap)
            chance -= share
        return whole


@dataclass(frozen=True)
class Died:
    """An attempt ended without a report."""

    reason: str
    out_of_memory: bool = False


class FaultyWorker(Worker):
    """A worker whose trial may fail; `death` instead of its next report."""

    death: Died | None = None

    def next_step(self) -> tuple[float, EpochReport]:
        seconds, report = super().next_step()
        mishap = self._curve.mishap if isinstance(self._curve, FaultyCurve) else None
        if mishap is None or mishap.epoch != report.epoch or report is self._last:
            return seconds, report
        match mishap.kind:
            case "crash" if self._request.attempt <= mishap.times:
                self.death = Died(f"SimulatedError: boom in epoch {report.epoch}")
            case "oom" if self._request.share < mishap.share:
                self.death = Died(f"OutOfMemoryError: in epoch {report.epoch}", out_of_memory=True)
            case "diverge":
                return seconds, self._ended(Outcome.DIVERGED, f"loss became nan in epoch {report.epoch}")
        return seconds, report

    def sent(self, report: EpochReport) -> int:
        return 0 if self.death else super().sent(report)


@dataclass(frozen=True)
class SimulatedPoint:
    """How a study stood after an event.

    Attributes:
        seconds: since the start.
        epochs: that all trials together had trained, lost ones included.
        running: trials that held a slot.
        ended: trials that have an outcome and count for the budget.
        best: objective so far, None before the first.
        leader: trial that the study would hand out, None before one finished.
    """

    seconds: float
    epochs: int
    running: int
    ended: int
    best: float | None
    leader: int | None


@dataclass(frozen=True)
class ToldReport:
    """What the director's witnesses were told: `started`, `reported` or `ended`, of which trial and when."""

    seconds: float
    what: str
    number: int


@dataclass
class SimulationTrace:
    """A witness that notes how a study comes along."""

    direction: str
    clock: FakeClock
    points: list[SimulatedPoint] = field(default_factory=list)
    told: list[ToldReport] = field(default_factory=list)
    _leaders: list[TrialRecord] = field(default_factory=list)
    _ended: set[int] = field(default_factory=set)
    _best: float | None = None

    def started(self, record: TrialRecord) -> None:
        """A trial takes a slot, for the first time or again."""
        self._tell("started", record)

    def reported(self, record: TrialRecord, report: EpochReport) -> None:
        """An epoch may be the best."""
        self._tell("reported", record)
        value = record.curve.get(report.epoch)
        if value is not None and better(value, self._best, self.direction):
            self._best = value

    def ended(self, record: TrialRecord) -> None:
        """A trial may lead now."""
        self._tell("ended", record)
        self._leaders = leaders([*self._leaders, record], self.direction, 1)
        if record.spends_budget:
            self._ended.add(record.number)

    def note(self, epochs: int, running: int) -> SimulatedPoint:
        """The event is over: how it stands now."""
        leader = self._leaders[0].number if self._leaders else None
        self.points.append(SimulatedPoint(self.clock.elapsed, epochs, running, len(self._ended), self._best, leader))
        return self.points[-1]

    def _tell(self, what: str, record: TrialRecord) -> None:
        self.told.append(ToldReport(self.clock.elapsed, what, record.number))


@dataclass(frozen=True)
class Observed(Simulated):
    """A simulated study, and how it came along.

    Attributes:
        receipt: of its slots.
        points, told: how it came along.
        reason: why no more was started.
    """

    receipt: CostReport
    points: tuple[SimulatedPoint, ...]
    told: tuple[ToldReport, ...]
    reason: str

    @property
    def best(self) -> float | None:
        """Objective of the best epoch of all."""
        return self.points[-1].best if self.points else None


class PowerCutError(BaseException):
    """The driver is gone; nothing may catch it on the way."""


@dataclass(frozen=True)
class NodeLoss:
    """A node dies with the trials on it, and another comes.

    Attributes:
        at: seconds after the study's start.
        slots: that were on it.
        away: seconds until as many are there again.
    """

    at: float
    slots: int = 1
    away: float = 60.0


@dataclass
class Fuse:
    """A witness that cuts the power at a given moment; None never does."""

    left: int | None
    passed: int = field(default=0)

    def moment(self) -> None:
        """One more has come. Raises PowerCutError at the last."""
        self.passed += 1
        if self.left is not None and self.passed > self.left:
            raise PowerCutError

    def started(self, record: TrialRecord) -> None:
        self.moment()

    def reported(self, record: TrialRecord, report: EpochReport) -> None:
        self.moment()

    def ended(self, record: TrialRecord) -> None:
        self.moment()


class RebootedClock(FakeClock):
    """As every process has it, `monotonic` counts from elsewhere after a reboot."""

    def __init__(self) -> None:
        super().__init__()
        self._offset = 0.0

    def monotonic(self) -> float:
        return self.elapsed + self._offset

    def reboot(self) -> None:
        self._offset = 7.0 - self.elapsed


class FaultyInvocation(Invocation):
    """A driver whose fuse may blow and whose nodes may be lost."""

    largest_share = 4.0

    def __init__(self, scene: Simulation, ledger: Ledger, folder: Path, fuse: Fuse, trace: SimulationTrace) -> None:
        # as at a real driver: metrics that objectives and constraints name must outlive a death
        kept = [] if ledger.folder != folder else [MetricsFile(folder)]
        super().__init__(scene, ledger, folder, trace.clock, [*kept, trace, fuse])
        self._fuse, self._trace = fuse, trace
        self._losses: deque[NodeLoss] = deque()
        self._away: list[tuple[float, int]] = []

    def observe(self) -> Observed:
        """Run it."""
        found, totals = super().run(), self._meter.totals()
        outcomes = {record.number: record.outcome for record in found.records}
        return Observed(
            **vars(found),
            receipt=receipt_of(self._meter.times(), outcomes, totals.idle, totals.gpus),
            points=tuple(self._trace.points),
            told=tuple(self._trace.told),
            reason=self.manager.stop_reason or "",
        )

    def _fill(self) -> None:
        super()._fill()
        self._trace.note(self.epochs, len(self._events))

    def lose(self, losses: tuple[NodeLoss, ...]) -> None:
        """Losses to come, in order of time."""
        self._losses.extend(losses)

    def _slots_here(self) -> int:
        return super()._slots_here() - sum(slots for _, slots in self._away)

    def _next_event(self) -> None:
        self._fuse.moment()
        outside = min([loss.at for loss in self._losses] + [until for until, _ in self._away], default=inf)
        earliest = self._events[0].at if self._events else inf
        if earliest < outside or not (self._events or self._queued):
            super()._next_event()
            return
        clock = self._clock
        clock.advance_to(max(outside, clock.elapsed))
        self._away = [(until, slots) for until, slots in self._away if until > clock.elapsed]
        if self._losses and self._losses[0].at <= clock.elapsed:
            self._lose(self._losses.popleft())

    def _worker(self, request: TrialRequest) -> Worker:
        return FaultyWorker(request, self._scene)

    def _hear(self, event: QueuedEvent) -> None:
        # the checkpoint is written, the driver does not know yet
        self._fuse.moment()
        if isinstance(event.worker, FaultyWorker) and (death := event.worker.death) is not None:
            self.manager.on_death(event.request.number, death.reason, death.out_of_memory)
        else:
            super()._hear(event)

    def _lose(self, loss: NodeLoss) -> None:
        """The trials that ran longest on the lost slots die; none of them knows why."""
        dying = sorted(self._events, key=lambda event: event.request.number)[: loss.slots]
        self._events = [event for event in self._events if event not in dying]
        heapq.heapify(self._events)
        self._away.append((self._clock.elapsed + loss.away, loss.slots))
        for event in dying:
            self.manager.on_death(event.request.number, "the worker process failed: its node died")


def simulate_mishaps(scene: Simulation) -> Observed:
    """A whole study whose trials may fail; its ledger is kept nowhere."""
    with TemporaryDirectory() as scratch:
        return simulate_losses(scene, Path(scratch, "study"))


def simulate_losses(scene: Simulation, folder: Path, *losses: NodeLoss) -> Observed:
    """A whole study that loses nodes."""
    ledger = memory_ledger(scene.identity, scene.spec, scene.space)
    invocation = FaultyInvocation(scene, ledger, folder, Fuse(None), SimulationTrace(scene.spec.direction, FakeClock()))
    invocation.lose(losses)
    return invocation.observe()


def simulate_deaths(scene: Simulation, folder: Path, deaths: list[int], down: float = 100.0) -> tuple[Observed, float]:
    """A whole study whose n-th driver dies at moment `deaths[n]` and is started again `down` seconds later.

    Moments are the things a driver's witnesses are told and its own turns, counted from 0. A driver that dies leaves
    the journal, the checkpoints and the meter's files in the folder.

    Returns:
        The study, and the seconds that it had a driver.
    """
    clock, missing, epochs = RebootedClock(), 0.0, 0
    trace = SimulationTrace(scene.spec.direction, clock)
    for death in (*deaths, None):
        ledger = open_ledger(folder, scene.identity, scene.spec, scene.space)
        invocation = FaultyInvocation(scene, ledger, folder, Fuse(death), trace)
        invocation.epochs = epochs
        try:
            found = invocation.observe()
            break
        except PowerCutError:
            missing, epochs = missing + down, invocation.epochs
            clock.advance_to(clock.elapsed + down)
            clock.reboot()
    return found, found.seconds - missing
