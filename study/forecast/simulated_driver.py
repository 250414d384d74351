"""A simulated study, from its scene to what was found: the real engine over made-up curves and a clock that is set.

The next event is the earliest report of any worker. It asks and tells the trial manager what Tune's loop asks and tells
it, in the same order; only time is made up. A worker does what `study.workers.trial_runner.TrialRunner` does,
without training: its checkpoint is a report alone, in the trial's own folder, where manager and scheduler look for it.
"""

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from search_spaces.space import SearchSpace
from ssl_core.errors import ConfigError, StudyError
from study.engine.ledger import Ledger, StudyIdentity, memory_ledger
from study.engine.limits import RunContext, StudyCallback
from study.engine.meter import Meter
from study.engine.trial_manager import TrialManager
from study.forecast.learning_curve import Curve, CurveSource
from study.record.trial_record import TrialRecord
from study.spec.outcome import EpochReport, Outcome, better
from study.spec.study_spec import StudySpec
from study.spec.trial_request import CheckValues, TrialRequest
from study.workers.trial_folder import REPORT, TrialFolder


class FakeClock:
    """Time in a simulated study; see `study.spec.clock.Clock`. `elapsed` counts seconds from its start."""

    def __init__(self) -> None:
        self.elapsed = 0.0

    def monotonic(self) -> float:
        """Seconds that never go back within a process."""
        return self.elapsed

    def advance_to(self, elapsed: float) -> None:
        """Let time pass until so many seconds after the start. Raises ValueError for a moment in the past."""
        if elapsed < self.elapsed:
            raise ValueError(f"time cannot go back from {self.elapsed} to {elapsed}")
        self.elapsed = elapsed


@dataclass(frozen=True)
class Simulation:
    """A study to simulate."""

    space: SearchSpace  # what is searched
    spec: StudySpec  # and how
    curves: CurveSource  # what training gives
    slots: int = 1  # trials at a time
    gpus_per_slot: float = 0.0  # for budgets
    opening: float = 1.0  # seconds of each start of a trial: a warm process opens data and builds the model
    check: CheckValues | None = None  # refuses configurations before they start
    until: Callable[[TrialManager], bool] | None = None  # asked after each event; True ends the simulation there

    @property
    def identity(self) -> StudyIdentity:
        """Of the study in its ledger."""
        return StudyIdentity(
            name="simulated", recipe=self.space.recipe, space_digest=self.space.digest, pack_digest="simulated"
        )


@dataclass(frozen=True)
class Simulated:
    """A simulated study: its trials, the seconds it took, epochs trained by all, whether nothing was left to do."""

    records: tuple[TrialRecord, ...]
    seconds: float
    epochs: int
    finished: bool


class Worker:
    """Runs one attempt of a trial."""

    def __init__(self, request: TrialRequest, scene: Simulation) -> None:
        self._request, self._scene = request, scene
        self._folder = TrialFolder(request.path)
        self._last = self._folder.report()
        self._opened, self._refusal = False, ""
        try:
            self._curve: Curve | None = scene.curves.curve(request.values, request.seed)
        except ConfigError as error:
            self._curve, self._refusal = None, str(error)

    def next_step(self) -> tuple[float, EpochReport]:
        """Seconds until the next report, and the report. It counts as sent only after `sent`."""
        opening = 0.0 if self._opened else self._scene.opening
        curve, last, done = self._curve, self._last, self._last.epoch if self._last else 0
        if curve is None:
            return opening, self._ended(Outcome.INFEASIBLE, self._refusal)
        if not self._opened and last and (done > self._request.reported_epoch or done >= curve.epochs):
            # the checkpoint is ahead of the ledger: its epoch is told again, not trained again
            return opening, last
        return opening + curve.seconds[done], self._report(curve, done + 1)

    def sent(self, report: EpochReport) -> int:
        """The time has passed: what the step trained is on the trial's disk now. Returns epochs trained: 1, or 0."""
        self._opened = True
        if not report.metrics or report is self._last:
            return 0
        self._last = report
        self._folder.last.mkdir(parents=True, exist_ok=True)
        (self._folder.last / REPORT).write_text(report.to_json())
        return 1

    def _report(self, curve: Curve, epoch: int) -> EpochReport:
        metrics = dict(curve.metrics[epoch - 1])
        value = metrics[self._scene.spec.metric]
        best_epoch, best_value = (self._last.best_epoch, self._last.best_value) if self._last else (None, None)
        if better(value, best_value, self._scene.spec.direction):
            best_epoch, best_value = epoch, value
        return EpochReport(
            number=self._request.number,
            epoch=epoch,
            epochs=curve.epochs,
            metrics=metrics,
            seconds=curve.seconds[epoch - 1],
            end=Outcome.COMPLETE if epoch >= curve.epochs else None,
            best_epoch=best_epoch,
            best_value=best_value,
        )

    def _ended(self, end: Outcome, reason: str) -> EpochReport:
        last = self._last
        return EpochReport(
            number=self._request.number,
            epoch=last.epoch if last else self._request.reported_epoch,
            epochs=self._curve.epochs if self._curve else 0,
            seconds=0.0,
            end=end,
            reason=reason,
            best_epoch=last.best_epoch if last else None,
            best_value=last.best_value if last else None,
        )


@dataclass(order=True)
class QueuedEvent:
    """A worker's report on its way."""

    at: float
    order: int
    request: TrialRequest = field(compare=False)
    worker: Worker = field(compare=False)
    report: EpochReport = field(compare=False)


class Invocation:
    """One driver, from its start to its end.

    Attributes:
        epochs: trained by all workers, those that a death took away included.
    """

    largest_share = 1.0
    """of what a slot offers, that a trial may get when it ran out of memory"""

    def __init__(
        self, scene: Simulation, ledger: Ledger, folder: Path, clock: FakeClock, callbacks: Sequence[StudyCallback] = ()
    ) -> None:
        self._scene, self._clock, self.epochs = scene, clock, 0
        self._meter = Meter(clock, scene.slots, scene.gpus_per_slot, ledger)
        context = RunContext(folder, scene.slots, scene.check, self._meter, self.largest_share)
        self.manager = TrialManager(ledger, scene.space, context, list(callbacks))
        self._events: list[QueuedEvent] = []
        self._queued: deque[TrialRequest] = deque()
        self._order = 0

    def run(self) -> Simulated:
        """Until nothing is left to do, or `until` says so. Raises StudyError when the engine starves a trial."""
        scene, manager = self._scene, self.manager
        while True:
            self._fill()
            if manager.fatal is not None:
                raise manager.fatal
            if manager.finished or (scene.until is not None and scene.until(manager)):
                break
            self._next_event()
            self._meter.tick()
        self._meter.close()
        return Simulated(tuple(manager.ledger.records()), self._clock.elapsed, self.epochs, manager.finished)

    # ---- starting

    def _fill(self) -> None:
        """Hand out all that can be had; what finds no slot waits, as it would at Ray."""
        while (request := self.manager.next_request()) is not None:
            self._queued.append(request)
        while self._queued and self._has_room(self._queued[0].share):
            request = self._queued.popleft()
            self._plan(request, self._worker(request))

    def _has_room(self, share: float) -> bool:
        here, taken = self._slots_here(), sum(event.request.share for event in self._events)
        return here > 0 and (not self._events or taken + share <= here + 1e-9)

    def _slots_here(self) -> int:
        return self._scene.slots

    def _worker(self, request: TrialRequest) -> Worker:
        return Worker(request, self._scene)

    def _plan(self, request: TrialRequest, worker: Worker) -> None:
        seconds, report = worker.next_step()
        self._order += 1
        moment = self._clock.elapsed + seconds
        heapq.heappush(self._events, QueuedEvent(moment, self._order, request, worker, report))

    # ---- going on

    def _next_event(self) -> None:
        """Let time pass until the earliest message is there, and tell the trial manager."""
        if not self._events:
            raise StudyError("the simulated study starves: nothing runs, nothing waits, and it is not finished")
        event = heapq.heappop(self._events)
        self._clock.advance_to(max(event.at, self._clock.elapsed))
        self.epochs += event.worker.sent(event.report)
        self._hear(event)

    def _hear(self, event: QueuedEvent) -> None:
        """The checkpoint is written; now the driver learns of it."""
        if self.manager.on_report(event.report):
            self._plan(event.request, event.worker)


def simulate(scene: Simulation) -> Simulated:
    """Run a whole study, whose ledger is kept nowhere."""
    with TemporaryDirectory(prefix="splatsweep-simulated-") as scratch:
        ledger = memory_ledger(scene.identity, scene.spec, scene.space)
        return Invocation(scene, ledger, Path(scratch, "study"), FakeClock()).run()
