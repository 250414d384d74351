"""One slot's trial, an epoch at a time: what `study.workers.trial_runner.TrialRunner` does, without training.

Its checkpoint is a report alone, in the trial's own folder, where trial manager and scheduler look for it.
"""

from dataclasses import dataclass

from ssl_core.errors import ConfigError
from study.forecast.learning_curve import Curve, CurveSource
from study.spec.outcome import EpochReport, Outcome, better
from study.spec.trial_request import TrialRequest
from study.workers.trial_folder import REPORT, TrialFolder


@dataclass(frozen=True)
class Timing:
    """What a trial costs beyond its epochs, in seconds.

    Attributes:
        opening: each start of a trial: a warm process opens data and builds the model.
        report: each epoch: checkpoint and message.
    """

    opening: float = 1.0
    report: float = 0.0


@dataclass(frozen=True)
class Died:
    """An attempt ended without a report."""

    reason: str
    out_of_memory: bool = False


Happening = EpochReport | Died


@dataclass(frozen=True)
class Workplace:
    """All that workers share.

    Attributes:
        curves: what training gives.
        metric, direction: the objective.
        timing: what it costs beside.
    """

    curves: CurveSource
    metric: str
    direction: str
    timing: Timing


class Worker:
    """Runs one attempt of a trial.

    Args:
        request: as the trial manager handed it out.
        workplace: shared with all others.
    """

    def __init__(self, request: TrialRequest, workplace: Workplace) -> None:
        self._request, self._place = request, workplace
        self._folder = TrialFolder(request.path)
        self._last = self._folder.report()
        self._refusal: str | None = None
        self._opened = False
        try:
            self._curve: Curve | None = workplace.curves.curve(request.values, request.seed)
        except ConfigError as error:
            self._curve, self._refusal = None, str(error)

    def next_step(self) -> tuple[float, Happening]:
        """Seconds until the next message, and the message. It counts as sent only after `sent`."""
        number, opening = self._request.number, 0.0 if self._opened else self._place.timing.opening
        curve, done = self._curve, self._last.epoch if self._last else 0
        if curve is None or (curve.mishap is not None and curve.mishap.kind == "refuse"):
            reason = self._refusal or "the data cannot serve these values"
            return opening, self._ended(Outcome.INFEASIBLE, reason)
        if not self._opened and self._last and (done > self._request.reported_epoch or done >= curve.epochs):
            # the checkpoint is ahead of the ledger: its epoch is told again, not trained again
            return opening, self._last
        seconds = opening + curve.seconds[done] + self._place.timing.report
        if curve.mishap is not None and curve.mishap.epoch == done + 1:
            happening = self._mishap(curve, done + 1)
            if happening is not None:
                return seconds, happening
        return seconds, self._report(number, curve, done + 1)

    def sent(self, happening: EpochReport) -> int:
        """The time has passed: what the step trained is on the trial's disk now. Returns epochs trained: 1, or 0."""
        self._opened = True
        if not happening.metrics or happening is self._last:
            return 0
        self._last = happening
        self._folder.last.mkdir(parents=True, exist_ok=True)
        (self._folder.last / REPORT).write_text(happening.to_json())
        return 1

    def _report(self, number: int, curve: Curve, epoch: int) -> EpochReport:
        metrics = dict(curve.metrics[epoch - 1])
        value = metrics[self._place.metric]
        best_epoch, best_value = (self._last.best_epoch, self._last.best_value) if self._last else (None, None)
        if better(value, best_value, self._place.direction):
            best_epoch, best_value = epoch, value
        return EpochReport(
            number=number,
            epoch=epoch,
            epochs=curve.epochs,
            metrics=metrics,
            seconds=curve.seconds[epoch - 1],
            end=Outcome.COMPLETE if epoch >= curve.epochs else None,
            best_epoch=best_epoch,
            best_value=best_value,
        )

    def _mishap(self, curve: Curve, epoch: int) -> Happening | None:
        mishap, request = curve.mishap, self._request
        assert mishap is not None
        match mishap.kind:
            case "crash" if request.attempt <= mishap.times:
                return Died(f"SimulatedError: boom in epoch {epoch}")
            case "oom" if request.share < mishap.share:
                return Died(f"OutOfMemoryError: in epoch {epoch}", out_of_memory=True)
            case "diverge":
                return self._ended(Outcome.DIVERGED, f"loss became nan in epoch {epoch}")
        return None

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
