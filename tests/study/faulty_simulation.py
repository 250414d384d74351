"""Simulated studies in which drivers and nodes die."""

import heapq
from collections import deque
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from study.engine.ledger import Ledger
from study.forecast.simulated_clock import FakeClock
from study.forecast.simulated_driver import Event, Invocation, World
from study.forecast.simulated_study import open_simulated
from study.forecast.simulation import Simulated, Simulation
from study.record.trial_record import TrialRecord
from study.spec.outcome import EpochReport


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

    def __init__(self, scene: Simulation, world: World, ledger: Ledger, folder: Path, fuse: Fuse) -> None:
        super().__init__(scene, world, ledger, folder, [fuse])
        self._fuse = fuse
        self._losses: deque[NodeLoss] = deque()
        self._away: list[tuple[float, int]] = []

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
        clock = self._world.clock
        clock.advance_to(max(outside, clock.elapsed))
        self._away = [(until, slots) for until, slots in self._away if until > clock.elapsed]
        if self._losses and self._losses[0].at <= clock.elapsed:
            self._lose(self._losses.popleft())

    def _hear(self, event: Event, report: EpochReport) -> None:
        # the checkpoint is written, the driver does not know yet
        self._fuse.moment()
        super()._hear(event, report)

    def _lose(self, loss: NodeLoss) -> None:
        """The trials that ran longest on the lost slots die; none of them knows why."""
        dying = sorted(self._events, key=lambda event: event.request.number)[: loss.slots]
        self._events = [event for event in self._events if event not in dying]
        heapq.heapify(self._events)
        self._away.append((self._world.clock.elapsed + loss.away, loss.slots))
        for event in dying:
            self.manager.on_death(event.request.number, "the worker process failed: its node died")


def simulate_losses(scene: Simulation, folder: Path, *losses: NodeLoss) -> Simulated:
    """A whole study that loses nodes."""
    invocation = FaultyInvocation(scene, World.of(scene), open_simulated(scene, folder), folder, Fuse(None))
    invocation.lose(losses)
    invocation.run()
    return invocation.result()


def simulate_deaths(scene: Simulation, deaths: list[int], down: float = 100.0) -> tuple[Simulated, float]:
    """A whole study whose n-th driver dies at moment `deaths[n]` and is started again `down` seconds later.

    Moments are the things a driver's witnesses are told and its own turns, counted from 0. A driver that dies leaves
    the journal, the checkpoints and the meter's files in the scene's folder.

    Returns:
        The study, and the seconds that it had a driver.
    """
    assert scene.folder is not None, "a ledger in memory dies with its driver"
    clock, missing = RebootedClock(), 0.0
    world = World.of(scene, clock)
    for death in (*deaths, None):
        ledger = open_simulated(scene, scene.folder)
        invocation = FaultyInvocation(scene, world, ledger, scene.folder, Fuse(death))
        try:
            invocation.run()
            break
        except PowerCutError:
            missing += down
            clock.advance_to(clock.elapsed + down)
            clock.reboot()
    found = invocation.result()
    return found, found.seconds - missing
