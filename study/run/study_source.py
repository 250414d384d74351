"""What MLflow shall show of a study, worked out from its folder alone: journal, metrics files, checkpoints."""

from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from registry.tracking.dataset_input import DatasetView
from registry.tracking.names import STUDY_RUN, RunState, RunStatus
from registry.tracking.run_view import Point, RunView
from ssl_core.config import Config
from study.engine.cost_report import study_receipt
from study.engine.history import History, checked, existing_journal
from study.engine.ledger import Ledger
from study.record.config_file import config_path
from study.record.identity import study_tags
from study.record.journal_lines import Op
from study.record.metrics_file import EpochMetrics, metrics_path, read_lines
from study.record.trial_record import TrialRecord, leaders
from study.spec.outcome import Outcome, better

STATUS: Mapping[Outcome, RunStatus] = {
    Outcome.COMPLETE: "FINISHED",
    Outcome.STOPPED: "FINISHED",
    Outcome.INFEASIBLE: "FAILED",
    Outcome.DIVERGED: "FAILED",
    Outcome.CRASHED: "FAILED",
}
INTERRUPTED = "interrupted; the same command continues it"
RECEIPT = ("useful", "stopped", "failed", "overhead", "held", "gpu_hours")
"""Of it, what are metrics `receipt/…`."""
MOST_LINES = 1000
"""Of the journal that are taken in at a time."""


class Ending(Config):
    """How an invocation of the driver left the study; the journal keeps the last one as `ending`."""

    invocation: int  # which one; an ending of an earlier one says nothing
    # status, outcome, reason: of the parent run
    status: RunStatus
    outcome: str
    reason: str
    at: int  # milliseconds since 1970


class StudySource:
    """A `registry.tracking.mirror.Source` over the folder of a study that has begun.

    Args:
        folder: of the study.
        since: lines of the journal that have been told before.

    Raises:
        StudyError: there is no study, or its journal cannot be read; here and in `poll`.
    """

    def __init__(self, folder: Path, since: int = 0) -> None:
        self._folder = folder
        self._journal = existing_journal(folder)
        self._history = History(self._journal.path, follow_sampler=False)
        self._ledger = Ledger(None, self._history, folder)
        self._lines = deque(self._journal.read())
        self.position = 0
        self._open: set[str] = {STUDY_RUN}
        self._touched: set[str] = set()
        self._facts: dict[str, Mapping[str, str]] = {}  # lineage as it was at the latest line of each trial
        self._sizes: dict[str, int] = {}
        self._read: dict[str, tuple[int, int]] = {}  # epoch and byte up to which a metrics file was read
        self._left = False
        self._kept: frozenset[int] | None = None
        self._take(since)
        while self._lines and "tracking_key" not in self._history.state.attrs:
            self._take(1)
        checked(self._history, folder)
        self.name, self.key = self._ledger.name, str(self._history.attr("tracking_key"))
        self._touched = set(self._open)

    def rest(self) -> None:
        """No driver runs the study any more: what has not ended is interrupted."""
        self._left = True

    def poll(self) -> set[str]:
        """Take in lines that are new, and note which metrics files grew; the runs that it is about."""
        self._lines.extend(self._journal.read())
        self._take(MOST_LINES)
        touched, self._touched = self._touched, set()
        if self._left and not self._lines and self._kept is None:
            spec = self._history.spec
            best = leaders(self._history.records(), spec.direction, spec.top_k)
            self._kept = frozenset(record.number for record in best)
            touched |= self._open | {str(number) for number in self._kept}
        return touched | {run for run in self._open if self._grew(run)}

    def runs(self) -> Iterable[str]:
        """All runs so far."""
        return [STUDY_RUN, *(str(record.number) for record in self._history.records())]

    def look(self, run: str, after: int) -> RunView:
        """See `Source`."""
        return self._study() if run == STUDY_RUN else self._trial(self._history.record(int(run)), after)

    # ---- following

    @property
    def _resting(self) -> bool:
        return self._kept is not None

    def _take(self, count: int) -> None:
        for _ in range(min(count, len(self._lines))):
            line = self._lines.popleft()
            self._history.apply(line)
            self.position += 1
            state = self._history.state
            number = len(state.trials) - 1 if line["op_code"] == Op.CREATE_TRIAL else line.get("trial_id")
            if number is None or state.trials[number].started is None:  # what another tool put into a queue
                self._touched.add(STUDY_RUN)
                continue
            run = str(number)
            self._facts[run] = state.attrs.get("facts", {})
            if state.trials[number].state.is_finished():
                self._open.discard(run)
                self._touched.add(STUDY_RUN)  # its totals
            else:
                self._open.add(run)
            self._touched.add(run)

    def _grew(self, run: str) -> bool:
        """Whether a metrics file is longer than it was: its lines come after those of the journal."""
        if run == STUDY_RUN:
            return False
        try:
            size = metrics_path(self._folder, int(run)).stat().st_size
        except OSError:
            return False
        before, self._sizes[run] = self._sizes.get(run, 0), size
        return size != before

    # ---- the parent

    def _study(self) -> RunView:
        attrs, records = self._ledger.attrs, self._history.records()
        tags = study_tags(self._history.identity, attrs.get("facts", {}))
        points = _totals(records, self._ledger.direction)
        files: dict[str, str | Path] = {"space.json": attrs["space"], "space.yaml": self._folder / "space.yaml"}
        status: RunState = "RUNNING"
        outcome, reason, ended = "RUNNING", "", None
        if self._resting:
            ending = self._ending(attrs)
            status, outcome, reason, ended = ending.status, ending.outcome, ending.reason, ending.at
            receipt = study_receipt(self._ledger)
            tags["splatsweep.receipt"] = receipt.to_json()
            step = sum(record.outcome is not None for record in records)
            points += [Point(f"receipt/{name}", float(getattr(receipt, name)), ending.at, step) for name in RECEIPT]
            files |= {"receipt.json": receipt.to_json(), "report.html": self._folder / "report.html"}
        started = [record.started for record in records if record.started]
        return RunView(
            name=self.name,
            tags={**tags, "splatsweep.outcome": outcome, "splatsweep.reason": reason},
            params={f"study.{key}": value for key, value in self._ledger.spec.model_dump(mode="json").items()},
            points=points,
            status=status,
            began=_milliseconds(min(started, default=None)),
            ended=ended,
            files=files,
            dataset=self._dataset(attrs.get("facts", {})),
        )

    def _dataset(self, facts: Mapping[str, str]) -> DatasetView | None:
        """The study's pack, where it is known where that lies."""
        place = facts.get("pack", "")
        return DatasetView(Path(place).name, self._history.identity.pack_digest, place) if place else None

    def _ending(self, attrs: Mapping[str, Any]) -> Ending:
        """As the driver wrote it; of one that was killed, that it was."""
        invocation = int(attrs.get("invocations", 0))
        written = attrs.get("ending")
        if written is not None and (ending := Ending.model_validate(written)).invocation == invocation:
            return ending
        return Ending(
            invocation=invocation, status="KILLED", outcome="UNFINISHED", reason=INTERRUPTED, at=_milliseconds(None)
        )

    # ---- a trial

    def _trial(self, record: TrialRecord, after: int) -> RunView:
        run = str(record.number)
        status: RunState = "RUNNING"
        outcome, reason = "RUNNING", ""
        if record.outcome is not None:
            status, outcome, reason = STATUS[record.outcome], record.outcome.value, record.reason
        elif self._resting:
            status, outcome, reason = "KILLED", "UNFINISHED", INTERRUPTED
        tags = {
            **study_tags(self._history.identity, self._facts.get(run, {})),
            "splatsweep.recipe": self._history.space.recipe_of(record.values or {}).name,
            **provenance_tags(record),
            "splatsweep.seed": str(record.seed),
            "splatsweep.attempt": str(max(1, record.crashes + (record.outcome is not Outcome.CRASHED))),
            "splatsweep.outcome": outcome,
            "splatsweep.reason": reason,
        }
        points = self._epochs(record, after)
        if record.outcome is not None:
            tags |= {
                "splatsweep.epochs": f"{record.epoch}/{record.epochs}",
                "splatsweep.seconds": f"{record.seconds:.1f}",
                "splatsweep.held": f"{record.held:.1f}",
            }
            if record.best_value is not None:
                ended = _milliseconds(record.ended)
                points.append(Point("objective", record.best_value, ended, record.best_epoch or 0))
        return RunView(
            name=f"trial-{record.number:03d}",
            tags=tags,
            params=record.values or {},
            points=points,
            status=status,
            began=_milliseconds(record.started),
            ended=_milliseconds(record.ended),
            files=self._files(record),
            dataset=self._dataset(self._facts.get(run, {})),
        )

    def _epochs(self, record: TrialRecord, after: int) -> list[Point]:
        """All metrics of each later epoch, 0 for the untrained models; the objective alone of one the file has lost."""
        run = str(record.number)
        known, start = self._read.get(run, (-1, 0))
        lines, end = read_lines(self._folder, record.number, start if known <= after else 0)
        told = {line.epoch: line for line in lines if line.epoch > after}
        last = max(told, default=after)
        self._read[run] = (last, end)
        over = record.outcome is not None or self._resting
        # of the latest epoch the line may be about to be written
        lost = {epoch for epoch in record.curve if epoch > after and epoch not in told and (over or epoch < last)}
        points: list[Point] = []
        at = _milliseconds(record.started) + after
        for epoch in sorted({*told, *lost}):
            line = told.get(epoch) or EpochMetrics(epoch, None, {self._ledger.spec.metric: record.curve[epoch]})
            at = line.at or at + 1
            points += [Point(name, value, at, epoch) for name, value in line.metrics.items()]
        return points

    def _files(self, record: TrialRecord) -> dict[str, str | Path]:
        folder = metrics_path(self._folder, record.number).parent
        files: dict[str, str | Path] = {"config.json": config_path(self._folder, record.number)}
        if record.outcome is not None:
            files |= {crash.name: crash for crash in sorted(folder.glob("crash-*.txt"))}
        if self._kept is not None and record.number in self._kept:
            best = folder / "best"
            kept = sorted(path for path in best.rglob("*") if path.is_file())
            files |= {f"checkpoint/{path.relative_to(best).as_posix()}": path for path in kept}
        return files


def provenance_tags(record: TrialRecord) -> dict[str, str]:
    """Where a trial's values came from and what the scheduler said last."""
    tags = {} if record.configuration < 0 else {"splatsweep.configuration": str(record.configuration)}
    if record.repeat:
        tags["splatsweep.repeat"] = str(record.repeat)
    if record.origin is not None:
        tags["splatsweep.origin"] = record.origin.kind
    if record.verdicts:
        verdict = record.verdicts[-1]
        tags["splatsweep.verdict"] = (
            f"{verdict.action} at epoch {verdict.rung}: {verdict.value:.6g} against {verdict.bar:.6g}"
        )
    return tags


def _totals(records: Iterable[TrialRecord], direction: str) -> list[Point]:
    """How the study stood after each trial that ended; the step counts them."""
    points: list[Point] = []
    epochs, best = 0, None
    ended = [record for record in records if record.outcome is not None]
    for step, record in enumerate(sorted(ended, key=lambda one: (one.ended or datetime.max, one.number)), start=1):
        epochs += record.epoch
        value = record.best_value if record.outcome is not None and record.outcome.has_value else None
        if value is not None and better(value, best, direction):
            best = value
        totals = {"study/trials": float(step), "study/epochs": float(epochs)}
        if best is not None:
            totals["study/best"] = best
        points += [Point(key, value, _milliseconds(record.ended), step) for key, value in totals.items()]
    return points


def _milliseconds(at: datetime | None) -> int:
    """Since 1970; of no time, now."""
    return int((datetime.now() if at is None else at).timestamp() * 1000)
