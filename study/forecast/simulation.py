"""What is simulated, and what was found."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from search_spaces.space import SearchSpace
from study.engine.cost_report import CostReport
from study.engine.ledger import Ledger
from study.engine.trial_manager import TrialManager
from study.forecast.learning_curve import CurveSource
from study.forecast.simulated_clock import FakeClock
from study.forecast.simulated_worker import Timing
from study.record.trial_record import TrialRecord, leaders
from study.spec.outcome import EpochReport, better
from study.spec.study_spec import StudySpec
from study.spec.trial_request import CheckValues


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
class Simulation:
    """A study to simulate.

    Attributes:
        space, spec: what is searched and how.
        curves: what training gives.
        slots: trials at a time.
        gpus_per_slot: for budgets and receipts.
        largest_share: of what a slot offers, that a trial may get when it ran out of memory.
        timing: what trials cost beyond their epochs.
        folder: keeps a real journal there; without one the ledger lives in memory.
        check: refuses configurations before they start.
        until: asked after each event; True ends the simulation there.
    """

    space: SearchSpace
    spec: StudySpec
    curves: CurveSource
    slots: int = 1
    gpus_per_slot: float = 0.0
    largest_share: float = 4.0
    timing: Timing = field(default_factory=Timing)
    folder: Path | None = None
    check: CheckValues | None = None
    until: Callable[[TrialManager, SimulatedPoint], bool] | None = None


@dataclass(frozen=True)
class ToldReport:
    """What the callbacks were called with: `started`, `reported` or `ended`, of which trial and when."""

    seconds: float
    what: str
    number: int


@dataclass
class SimulationTrace:
    """A callback that notes how a study comes along. The other callbacks see the same."""

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
class Simulated:
    """A simulated study.

    Attributes:
        records: its trials.
        seconds: that it took.
        epochs: trained by all trials, those that a death took away included.
        receipt: of its slots.
        points, told: how it came along.
        finished: nothing was left to do.
        reason: why no more was started.
        ledger: for everything else.
    """

    records: tuple[TrialRecord, ...]
    seconds: float
    epochs: int
    receipt: CostReport
    points: tuple[SimulatedPoint, ...]
    told: tuple[ToldReport, ...]
    finished: bool
    reason: str
    ledger: Ledger

    @property
    def best(self) -> float | None:
        """Objective of the best epoch of all."""
        return self.points[-1].best if self.points else None
