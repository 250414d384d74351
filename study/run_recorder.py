"""Keeps MLflow in step with the ledger: one parent run per study, one child per trial, nothing that waits.

Everything is put into the study's outbox (`registry.tracking.study_log`), which another process empties. What the
ledger has and the outbox has not, because of a death or a full disk, `reconcile` tells again; run ids come back when
they are known and are written into the ledger at the end.
"""

import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

from registry.tracking.entries import RunStatus
from registry.tracking.run_log import RunLog
from registry.tracking.study_log import StudyLog
from search_spaces.space import SearchSpace
from ssl_core.errors import ConfigError
from study.accounts.receipt import Receipt, study_receipt
from study.ledger import Ledger
from study.outcome import EpochReport, Outcome, better
from study.record.metrics_file import read_metrics
from study.record.trial_record import TrialRecord, leaders

STATUS: Mapping[Outcome, RunStatus] = {
    Outcome.COMPLETE: "FINISHED",
    Outcome.STOPPED: "FINISHED",
    Outcome.INFEASIBLE: "FAILED",
    Outcome.DIVERGED: "FAILED",
    Outcome.CRASHED: "FAILED",
}
PATIENCE, HASTE = 120.0, 5.0
"""Seconds to wait for MLflow at the end of a study, and when it is interrupted."""

Say = Callable[[str], None]


class RunRecorder:
    """Witness that writes to MLflow. Used on one thread.

    Args:
        run_log: an open run log; its server may be down.
        ledger: of the study; gets the run ids.
        space: for the full config of each trial.
        tags: lineage, set on the parent and on every trial.
        say: for a person who waits.
    """

    def __init__(
        self, run_log: RunLog, ledger: Ledger, space: SearchSpace, tags: Mapping[str, str], say: Say = lambda text: None
    ) -> None:
        self._ledger, self._space, self._tags, self._say = ledger, space, dict(tags), say
        self._address = run_log.tracking_uri
        key = ledger.attrs.get("tracking_key")
        if key is None:
            key = uuid.uuid4().hex[:16]
            ledger.set_attr("tracking_key", key)
        self._log: StudyLog = run_log.study_log(ledger.folder, key, ledger.name)
        self._retold: set[int | None] = set()
        self._noted = False
        self._totals = Totals(ledger)
        self._start_study()

    # ---- witness

    def started(self, record: TrialRecord) -> None:
        """The trial's run begins or goes on."""
        if self._log.behind:
            self.reconcile()
        first = not self._log.has(record.number)
        self._start(record)
        if first:
            self._tell_config(record)

    def reported(self, record: TrialRecord, report: EpochReport) -> None:
        """One point per metric."""
        self._log.points(record.number, report.epoch, report.metrics)

    def ended(self, record: TrialRecord) -> None:
        """Outcome, reason, picture and final status; the parent's totals."""
        self._finish(record)
        self._totals.add(record)
        self._log.points(None, self._totals.done, self._totals.metrics())
        if not self._noted and (study := self._log.runs()[0].get("study")) is not None:
            self._note_study(study)

    # ---- the study's ways out

    def leaving(self) -> None:
        """No trial runs any more: what waits is sent without pauses while the rest is put in order."""
        self._log.hurry()

    def reconcile(self) -> None:
        """Tell what the outbox does not know or the server has lost: runs, points, ends."""
        self._log.behind.clear()
        lost = self._log.runs()[1]
        if ("study" in lost or not self._log.has(None)) and None not in self._retold:
            self._start_study(again=True)
        for record in self._ledger.records():
            number = record.number
            gone = str(number) in lost and number not in self._retold
            if gone or not self._log.has(number):
                self._retold.add(number)
                self._start(record)
                self._tell_config(record)
            self._retell_points(record, 0 if gone else self._log.known(number).step)
            if record.outcome is not None and (gone or self._log.known(number).status != STATUS[record.outcome]):
                self._finish(record, again=True)
        if self._totals.done > self._log.known(None).step:
            self._log.points(None, self._totals.done, self._totals.metrics())

    def interrupted(self, records: list[TrialRecord]) -> None:
        """Runs of trials that will go on later are not shown as running meanwhile."""
        tags = {"splatsweep.outcome": "UNFINISHED", "splatsweep.reason": "interrupted; the same command continues it"}
        for record in records:
            if record.outcome is None and self._log.has(record.number):
                self._log.finish(record.number, "KILLED", tags)

    def keep_checkpoints(self) -> None:
        """Store the best checkpoints of the leaders with their runs, once each."""
        stored = set(self._ledger.attrs.get("stored_checkpoints", [])) - self._retold
        before, spec = set(stored), self._ledger.spec
        for record in leaders(self._ledger.records(), spec.direction, spec.top_k):
            best = self._trial_folder(record) / "best"
            if record.number in stored or not best.is_dir():
                continue
            for file in sorted(path for path in best.rglob("*") if path.is_file()):
                self._log.file(record.number, file, f"checkpoint/{file.relative_to(best).as_posix()}")
            stored.add(record.number)
        if stored != before:
            self._ledger.set_attr("stored_checkpoints", sorted(stored))

    def finish_study(self, status: RunStatus, tags: Mapping[str, str], files: list[Path]) -> int:
        """Close the parent run, wait a while for MLflow, write the run ids into the ledger.

        Returns:
            How many records still wait; the next command on this study sends them.
        """
        for file in files:
            self._log.file(None, file)
        receipt = study_receipt(self._ledger)
        self._log.text(None, receipt.to_json(), "receipt.json")
        last = {**self._totals.metrics(), **receipt_metrics(receipt)}
        seconds = HASTE if status == "KILLED" else PATIENCE
        for _ in range(2):
            self.reconcile()
            self._log.finish(None, status, {**tags, **receipt_tags(receipt)}, last, self._totals.done, again=True)
            left = self._log.flush(seconds, self._say)
            if left or not (self._log.behind or self._log.runs()[1]):
                break
        self._note_runs()
        if left:
            why = self._log.trouble()
            self._say(
                f"{left} records have not reached MLflow{f' ({why})' if why else ''}; they are kept in "
                f"{self._log.folder} and sent by the next command on this study"
            )
        self._log.close()
        return left

    # ---- inside

    def _start_study(self, *, again: bool = False) -> None:
        if again:
            self._retold.add(None)
        first = again or not self._log.has(None)
        params = {f"study.{key}": value for key, value in self._ledger.spec.model_dump(mode="json").items()}
        self._log.start(None, self._ledger.name, {**self._tags, "splatsweep.outcome": "RUNNING"}, params)
        if first:
            self._log.text(None, self._space.to_json(), "space.json")
            if self._space.source.is_file():
                self._log.text(None, self._space.source.read_text(), "space.yaml")

    def _start(self, record: TrialRecord) -> None:
        tags = {
            **self._tags,
            **provenance_tags(record),
            "splatsweep.seed": str(record.seed),
            "splatsweep.attempt": str(record.crashes + 1),
            "splatsweep.outcome": "RUNNING",
            "splatsweep.reason": "",
        }
        self._log.start(record.number, f"trial-{record.number:03d}", tags, record.values or {}, record.started)

    def _tell_config(self, record: TrialRecord) -> None:
        try:
            config = self._space.configure(record.values or {})
        except ConfigError:
            return
        self._log.text(record.number, config.model_dump_json(indent=1), "config.json")

    def _retell_points(self, record: TrialRecord, since: int) -> None:
        """Epochs after `since`, from the trial's own file; the objective alone where that has lost them."""
        if record.epoch <= since:
            return
        epochs: dict[int, dict[str, float]] = {
            epoch: {self._ledger.spec.metric: value} for epoch, value in record.curve.items()
        }
        for name, curve in read_metrics(self._ledger.folder, record.number).items():
            for epoch, value in curve.items():
                epochs.setdefault(epoch, {})[name] = value
        for epoch in sorted(epochs):
            if epoch > since:
                self._log.points(record.number, epoch, epochs[epoch], again=True)

    def _finish(self, record: TrialRecord, *, again: bool = False) -> None:
        assert record.outcome is not None
        number, folder = record.number, self._trial_folder(record)
        for crash in sorted(folder.glob("crash-*.txt")):
            self._log.file(number, crash)
        tags = {
            **provenance_tags(record),
            "splatsweep.outcome": record.outcome.value,
            "splatsweep.reason": record.reason,
            "splatsweep.epochs": f"{record.epoch}/{record.epochs}",
            "splatsweep.seconds": f"{record.seconds:.1f}",
            "splatsweep.held": f"{record.held:.1f}",
        }
        last = {} if record.best_value is None else {"objective": record.best_value}
        self._log.finish(number, STATUS[record.outcome], tags, last, record.best_epoch or 0, record.ended, again)

    def _note_runs(self) -> None:
        ids = self._log.runs()[0]
        for record in self._ledger.records():
            run_id = ids.get(str(record.number))
            if run_id is not None and run_id != record.run_id:
                self._ledger.note(record.number, run_id=run_id)
        if (study := ids.get("study")) is not None:
            self._note_study(study)

    def _note_study(self, run_id: str) -> None:
        attrs, self._noted = self._ledger.attrs, True
        if (attrs.get("run_id"), attrs.get("tracking_uri")) != (run_id, self._address):
            self._ledger.set_attr("run_id", run_id)
            self._ledger.set_attr("tracking_uri", self._address)

    def _trial_folder(self, record: TrialRecord) -> Path:
        return self._ledger.folder / "trials" / f"{record.number:04d}"


class Totals:
    """How the study stands, counted as trials end."""

    def __init__(self, ledger: Ledger) -> None:
        self._direction = ledger.direction
        self.done, self._epochs, self._best = 0, 0, None
        for record in ledger.records():
            if record.outcome is not None:
                self.add(record)

    _best: float | None

    def add(self, record: TrialRecord) -> None:
        """One more has ended."""
        self.done += 1
        self._epochs += record.epoch
        comparable = record.outcome is not None and record.outcome.has_value
        if comparable and record.best_value is not None and better(record.best_value, self._best, self._direction):
            self._best = record.best_value

    def metrics(self) -> dict[str, float]:
        """For the parent run; the step is `done`."""
        best = {} if self._best is None else {"study/best": self._best}
        return {"study/trials": float(self.done), "study/epochs": float(self._epochs), **best}


def unsettled(ledger: Ledger, run_log: RunLog) -> bool:
    """Whether MLflow lacks something of a study that is over: records wait, or another server is to have them."""
    from registry.tracking.outbox import waiting

    attrs = ledger.attrs
    return attrs.get("tracking_uri") != run_log.tracking_uri or waiting(ledger.folder / "outbox") > 0


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


def receipt_metrics(receipt: Receipt) -> dict[str, float]:
    """Slot-seconds as metrics `receipt/…`."""
    parts = {name: getattr(receipt, name) for name in ("useful", "stopped", "failed", "overhead", "held", "gpu_hours")}
    return {f"receipt/{name}": float(value) for name, value in parts.items()}


def receipt_tags(receipt: Receipt) -> dict[str, str]:
    """The whole receipt as a tag."""
    return {"splatsweep.receipt": receipt.to_json()}
