"""One driver of a simulated study: the next event is the earliest message of any worker.

It asks and tells the director what Tune's loop asks and tells it, in the same order; only time is made up.
"""

import heapq
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from ssl_core.errors import StudyError
from study.accounts.meter import Meter
from study.accounts.receipt import Receipt, receipt_of
from study.direction.director import Director
from study.direction.ruling import Ruling, Witness
from study.ledger import Ledger
from study.record.metrics_file import MetricsFile
from study.session import TrialRequest
from study.simulator.clock import FakeClock
from study.simulator.faults import ClockJump, Fuse, NodeLoss
from study.simulator.scene import Scene, Trace
from study.simulator.worker import Died, Happening, Worker, Workplace


@dataclass
class World:
    """What outlives a driver.

    Attributes:
        clock: of everyone.
        workplace: of all workers.
        trace: how the study came along.
        losses, jumps: that are still to come.
        epochs: trained by all workers.
        away: slots that are gone, and until when.
    """

    clock: FakeClock
    workplace: Workplace
    trace: Trace
    losses: deque[NodeLoss]
    jumps: deque[ClockJump]
    epochs: int = 0
    away: list[tuple[float, int]] = field(default_factory=list)


@dataclass(order=True)
class Event:
    """A worker's message on its way."""

    at: float
    order: int
    request: TrialRequest = field(compare=False)
    worker: Worker = field(compare=False)
    happening: Happening = field(compare=False)


class Invocation:
    """One driver, from its start to its end or death.

    Args:
        scene: what is simulated.
        world: found as the last driver left it.
        ledger: opened by this driver.
        folder: of the study.
        fuse: when it dies.
    """

    def __init__(self, scene: Scene, world: World, ledger: Ledger, folder: Path, fuse: Fuse) -> None:
        self._scene, self._world, self._ledger, self._fuse = scene, world, ledger, fuse
        self._meter = Meter(world.clock, scene.slots, scene.gpus_per_slot, ledger)
        ruling = Ruling(folder, scene.slots, scene.check, world.clock, self._meter, scene.largest_share)
        # as at a real driver: metrics that objectives and constraints name must outlive a death
        kept: list[Witness] = [] if scene.folder is None else [MetricsFile(folder)]
        self.director = Director(ledger, scene.space, ruling, [*kept, world.trace, fuse])
        self._events: list[Event] = []
        self._queued: deque[TrialRequest] = deque()
        self._order = 0

    def run(self) -> None:
        """Until nothing is left to do, or `until` says so. Raises PowerCutError when the fuse blows."""
        world, scene, director = self._world, self._scene, self.director
        while True:
            self._fill()
            point = world.trace.note(world.epochs, len(self._events))
            if director.fatal is not None:
                raise director.fatal
            if director.finished or (scene.until is not None and scene.until(director, point)):
                break
            self._fuse.moment()
            self._next_event()
            self._meter.tick()
        self._meter.close()

    def receipt(self) -> Receipt:
        """Of all slots and invocations so far."""
        totals = self._meter.totals()
        outcomes = {record.number: record.outcome for record in self._ledger.records()}
        return receipt_of(self._meter.times(), outcomes, totals.idle, totals.gpus)

    # ---- starting

    def _fill(self) -> None:
        """Hand out all that can be had; what finds its node gone waits, as it would at Ray."""
        while (request := self.director.next_request()) is not None:
            self._queued.append(request)
        while self._queued and self._has_room(self._queued[0].share):
            request = self._queued.popleft()
            self._plan(request, Worker(request, self._world.workplace))

    def _has_room(self, share: float) -> bool:
        here = self._scene.slots - sum(slots for _, slots in self._world.away)
        taken = sum(event.request.share for event in self._events)
        return here > 0 and (not self._events or taken + share <= here + 1e-9)

    def _plan(self, request: TrialRequest, worker: Worker) -> None:
        seconds, happening = worker.next_step()
        self._order += 1
        moment = self._world.clock.elapsed + seconds
        heapq.heappush(self._events, Event(moment, self._order, request, worker, happening))

    # ---- going on

    def _next_event(self) -> None:
        """Let time pass until something happens, and tell the director."""
        world = self._world
        moments = [event.at for event in self._events[:1]]
        moments += [loss.at for loss in list(world.losses)[:1]] + [jump.at for jump in list(world.jumps)[:1]]
        moments += [until for until, _ in world.away]
        if not moments or not (self._events or self._queued):
            raise StudyError("the simulated study starves: nothing runs, nothing waits, and it is not finished")
        now = max(min(moments), world.clock.elapsed)
        world.clock.advance_to(now)
        world.away = [(until, slots) for until, slots in world.away if until > now]
        if world.jumps and world.jumps[0].at <= now:
            world.clock.jump(world.jumps.popleft().seconds)
        elif world.losses and world.losses[0].at <= now:
            self._lose(world.losses.popleft())
        elif self._events and self._events[0].at <= now:
            self._tell(heapq.heappop(self._events))

    def _tell(self, event: Event) -> None:
        number, happening = event.request.number, event.happening
        if isinstance(happening, Died):
            self.director.on_death(number, happening.reason, happening.out_of_memory)
            return
        self._world.epochs += event.worker.sent(happening)
        # the checkpoint is written, the driver does not know yet
        self._fuse.moment()
        if self.director.on_report(happening):
            self._plan(event.request, event.worker)

    def _lose(self, loss: NodeLoss) -> None:
        """The trials that ran longest on the lost slots die; none of them knows why."""
        dying = sorted(self._events, key=lambda event: event.request.number)[: loss.slots]
        self._events = [event for event in self._events if event not in dying]
        heapq.heapify(self._events)
        self._world.away.append((self._world.clock.elapsed + loss.away, loss.slots))
        for event in dying:
            self.director.on_death(event.request.number, "the worker process failed: its node died")
