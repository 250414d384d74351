"""What happens to a simulated study from outside: drivers, nodes and clocks."""

from dataclasses import dataclass, field

from study.outcome import EpochReport
from study.record.trial_record import TrialRecord


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


@dataclass(frozen=True)
class ClockJump:
    """Someone sets the wall clock by `seconds`, forward or back, at a moment `at` after the start."""

    at: float
    seconds: float


@dataclass(frozen=True)
class Faults:
    """Everything that goes wrong around the trials.

    Attributes:
        deaths: the driver of the n-th invocation dies at this moment of it. Moments are the things its witnesses are
            told and its own turns, counted from 0.
        down: seconds until it is started again.
        losses: of nodes, in order of time.
        jumps: of the wall clock, in order of time.
    """

    deaths: tuple[int, ...] = ()
    down: float = 100.0
    losses: tuple[NodeLoss, ...] = ()
    jumps: tuple[ClockJump, ...] = ()


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
        """Told by the director."""
        self.moment()

    def reported(self, record: TrialRecord, report: EpochReport) -> None:
        """Told by the director."""
        self.moment()

    def ended(self, record: TrialRecord) -> None:
        """Told by the director."""
        self.moment()
