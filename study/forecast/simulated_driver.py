"""One driver of a simulated study: the next event is the earliest message of any worker.

It asks and tells the trial manager what Tune's loop asks and tells it, in the same order; only time is made up.
"""

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ssl_core.errors import StudyError
from study.engine.cost_report import receipt_of
from study.engine.ledger import Ledger
from study.engine.meter import Meter
from study.engine.run_context import RunContext, StudyCallback
from study.engine.trial_manager import TrialManager
from study.forecast.simulated_clock import FakeClock
from study.forecast.simulated_worker import Died, Happening, Worker, Workplace
from study.forecast.simulation import Simulated, Simulation, SimulationTrace
from study.record.metrics_file import MetricsFile
from study.spec.outcome import EpochReport
from study.spec.trial_request import TrialRequest


@dataclass
class World:
    """What outlives a driver.

    Attributes:
        clock: of everyone.
        workplace: of all workers.
        trace: how the study came along.
        epochs: trained by all workers.
    """

    clock: FakeClock
    workplace: Workplace
    trace: SimulationTrace
    epochs: int = 0

    @classmethod
    def of(cls, scene: Simulation, clock: FakeClock | None = None) -> "World":
        """Before the study begins."""
        spec, clock = scene.spec, clock or FakeClock()
        workplace = Workplace(scene.curves, spec.metric, spec.direction, scene.timing)
        return cls(clock, workplace, SimulationTrace(spec.direction, clock))


@dataclass(order=True)
class QueuedEvent:
    """A worker's message on its way."""

    at: float
    order: int
    request: TrialRequest = field(compare=False)
    worker: Worker = field(compare=False)
    happening: Happening = field(compare=False)


class Invocation:
    """One driver, from its start to its end.

    Args:
        scene: what is simulated.
        world: found as the last driver left it.
        ledger: opened by this driver.
        folder: of the study.
        callbacks: beside the trace.
    """

    def __init__(
        self, scene: Simulation, world: World, ledger: Ledger, folder: Path, callbacks: Sequence[StudyCallback] = ()
    ) -> None:
        self._scene, self._world, self._ledger = scene, world, ledger
        self._meter = Meter(world.clock, scene.slots, scene.gpus_per_slot, ledger)
        context = RunContext(folder, scene.slots, scene.check, world.clock, self._meter, scene.largest_share)
        # as at a real driver: metrics that objectives and constraints name must outlive a death
        kept: list[StudyCallback] = [] if scene.folder is None else [MetricsFile(folder)]
        self.manager = TrialManager(ledger, scene.space, context, [*kept, world.trace, *callbacks])
        self._events: list[QueuedEvent] = []
        self._queued: deque[TrialRequest] = deque()
        self._order = 0

    def run(self) -> None:
        """Until nothing is left to do, or `until` says so."""
        world, scene, manager = self._world, self._scene, self.manager
        while True:
            self._fill()
            point = world.trace.note(world.epochs, len(self._events))
            if manager.fatal is not None:
                raise manager.fatal
            if manager.finished or (scene.until is not None and scene.until(manager, point)):
                break
            self._next_event()
            self._meter.tick()
        self._meter.close()

    def result(self) -> Simulated:
        """The study as it stands, over all drivers so far."""
        world, totals, records = self._world, self._meter.totals(), self._ledger.records()
        outcomes = {record.number: record.outcome for record in records}
        return Simulated(
            records=tuple(records),
            seconds=world.clock.elapsed,
            epochs=world.epochs,
            receipt=receipt_of(self._meter.times(), outcomes, totals.idle, totals.gpus),
            points=tuple(world.trace.points),
            told=tuple(world.trace.told),
            finished=self.manager.finished,
            reason=self.manager.stop_reason or "",
            ledger=self._ledger,
        )

    # ---- starting

    def _fill(self) -> None:
        """Hand out all that can be had; what finds no slot waits, as it would at Ray."""
        while (request := self.manager.next_request()) is not None:
            self._queued.append(request)
        while self._queued and self._has_room(self._queued[0].share):
            request = self._queued.popleft()
            self._plan(request, Worker(request, self._world.workplace))

    def _has_room(self, share: float) -> bool:
        here, taken = self._slots_here(), sum(event.request.share for event in self._events)
        return here > 0 and (not self._events or taken + share <= here + 1e-9)

    def _slots_here(self) -> int:
        return self._scene.slots

    def _plan(self, request: TrialRequest, worker: Worker) -> None:
        seconds, happening = worker.next_step()
        self._order += 1
        moment = self._world.clock.elapsed + seconds
        heapq.heappush(self._events, QueuedEvent(moment, self._order, request, worker, happening))

    # ---- going on

    def _next_event(self) -> None:
        """Let time pass until the earliest message is there, and tell the trial manager."""
        if not self._events:
            raise StudyError("the simulated study starves: nothing runs, nothing waits, and it is not finished")
        event = heapq.heappop(self._events)
        self._world.clock.advance_to(max(event.at, self._world.clock.elapsed))
        happening = event.happening
        if isinstance(happening, Died):
            self.manager.on_death(event.request.number, happening.reason, happening.out_of_memory)
            return
        self._world.epochs += event.worker.sent(happening)
        self._hear(event, happening)

    def _hear(self, event: QueuedEvent, report: EpochReport) -> None:
        """The checkpoint is written; now the driver learns of it."""
        if self.manager.on_report(report):
            self._plan(event.request, event.worker)
