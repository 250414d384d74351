"""Keeps the run log in step with the ledger: one parent run per study, one child per trial.

Starting a trial's run is waited for (its id goes into the ledger). Ending one (picture, artifacts, status) happens
on a thread, so the next trial does not wait for a drawing. What a death leaves undone `reconcile` makes up for.
"""

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from search_spaces.space import SearchSpace
from ssl_core.errors import ConfigError
from study.ledger import Ledger
from study.metrics_file import read_metrics
from study.outcome import EpochReport, Outcome, one_line
from study.session import RunLogLike, RunStatus
from study.trial_record import TrialRecord, leaders

log = logging.getLogger(__name__)

STATUS: Mapping[Outcome, RunStatus] = {
    Outcome.COMPLETE: "FINISHED",
    Outcome.STOPPED: "FINISHED",
    Outcome.INFEASIBLE: "FAILED",
    Outcome.DIVERGED: "FAILED",
    Outcome.CRASHED: "FAILED",
}


class RunRecorder:
    """Witness that writes to a run log.

    Args:
        run_log: an open run log.
        ledger: of the study; gets the run ids.
        space: for the full config of each trial.
        tags: lineage, set on the parent and on every trial.
    """

    def __init__(self, run_log: RunLogLike, ledger: Ledger, space: SearchSpace, tags: Mapping[str, str]) -> None:
        self._log, self._ledger, self._space, self._tags = run_log, ledger, space, dict(tags)
        self._metric = ledger.spec.metric
        self._chores = ThreadPoolExecutor(max_workers=1, thread_name_prefix="run-recorder")
        self.study_run_id = run_log.start_study(
            ledger.name,
            {**self._tags, "splatsweep.outcome": "RUNNING"},
            {f"study.{key}": value for key, value in ledger.spec.model_dump(mode="json").items()},
        )
        if ledger.attrs.get("run_id") != self.study_run_id:
            ledger.set_attr("run_id", self.study_run_id)
            ledger.set_attr("tracking_uri", run_log.tracking_uri)
            run_log.log_text(self.study_run_id, space.to_json(), "space.json")
            if space.source.is_file():
                run_log.log_text(self.study_run_id, space.source.read_text(), "space.yaml")

    def reconcile(self) -> None:
        """Trials that are over in the ledger are over in the run log; runs nobody knows are closed."""
        records = self._ledger.records()
        by_run = {record.run_id: record for record in records if record.run_id is not None}
        for record in records:
            if record.outcome is not None and record.run_id is None:
                self.ended(record.model_copy(update={"run_id": self._start(record)}))
        for run_id in self._log.running(self.study_run_id):
            known = by_run.get(run_id)
            if known is None:
                self._log.finish(run_id, "KILLED", {"splatsweep.outcome": "UNKNOWN"})
            elif known.outcome is not None:
                self.ended(known)

    def started(self, record: TrialRecord) -> None:
        """Start or continue the trial's run and write its id into the ledger."""
        run_id = self._start(record)
        if record.run_id != run_id:
            self._ledger.note(record.number, run_id=run_id)
            self._later(lambda: self._write_config(run_id, record))

    def _start(self, record: TrialRecord) -> str:
        tags = {
            **self._tags,
            "splatsweep.study": self._ledger.name,
            "splatsweep.seed": str(record.seed),
            "splatsweep.attempt": str(record.crashes + 1),
            "splatsweep.outcome": "RUNNING",
            "splatsweep.reason": "",
        }
        return self._log.start_trial(self.study_run_id, record.number, record.values or {}, tags)

    def reported(self, record: TrialRecord, report: EpochReport) -> None:
        """One point per metric."""
        if record.run_id is not None:
            self._log.log_epoch(record.run_id, report.epoch, report.metrics)

    def ended(self, record: TrialRecord) -> None:
        """Outcome, reason, picture and final status, on the recorder's thread."""
        if record.run_id is not None:
            self._later(lambda: self._finish_trial(record))

    def interrupted(self, records: list[TrialRecord]) -> None:
        """Runs of trials that will go on later are not shown as running meanwhile."""
        for record in records:
            if record.run_id is not None and record.outcome is None:
                tags = {
                    "splatsweep.outcome": "UNFINISHED",
                    "splatsweep.reason": "interrupted; the same command continues it",
                }
                self._log.finish(record.run_id, "KILLED", tags)

    def keep_checkpoints(self) -> None:
        """Store the best checkpoints of the leaders with their runs, once each."""
        stored = set(self._ledger.attrs.get("stored_checkpoints", []))
        spec = self._ledger.spec
        for record in leaders(self._ledger.records(), spec.direction, spec.top_k):
            best = self._ledger.folder / "trials" / f"{record.number:04d}" / "best"
            if record.number in stored or record.run_id is None or not best.is_dir():
                continue
            for file in sorted(path for path in best.rglob("*") if path.is_file()):
                inside = file.parent.relative_to(best).as_posix()
                self._log.log_file(record.run_id, file, "checkpoint" if inside == "." else f"checkpoint/{inside}")
            stored.add(record.number)
            self._ledger.set_attr("stored_checkpoints", sorted(stored))

    def finish_study(self, status: RunStatus, tags: Mapping[str, str], files: list[Path]) -> None:
        """Wait for what is under way, store the study's files and close the parent run."""
        self._chores.shutdown(wait=True)
        for file in files:
            self._log.log_file(self.study_run_id, file)
        self._log.finish(self.study_run_id, status, tags)

    def close(self) -> None:
        """Wait for what is under way."""
        self._chores.shutdown(wait=True)

    # ---- on the thread

    def _later(self, chore: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                chore()
            except Exception as error:  # a picture or a run log that fails must not end the study
                log.warning("%s", one_line(error))

        self._chores.submit(guarded)

    def _write_config(self, run_id: str, record: TrialRecord) -> None:
        try:
            config = self._space.configure(record.values or {})
        except ConfigError:
            return
        self._log.log_text(run_id, config.model_dump_json(indent=1), "config.json")

    def _finish_trial(self, record: TrialRecord) -> None:
        assert record.run_id is not None
        assert record.outcome is not None
        folder = self._ledger.folder / "trials" / f"{record.number:04d}"
        curves = read_metrics(self._ledger.folder, record.number)
        if curves:
            from study.curves import draw_curves  # matplotlib is slow to import and not needed before

            draw_curves(record, curves, self._metric, folder / "curves.png")
            self._log.log_file(record.run_id, folder / "curves.png")
        for crash in sorted(folder.glob("crash-*.txt")):
            self._log.log_file(record.run_id, crash)
        if record.best_value is not None and record.best_epoch is not None:
            self._log.log_epoch(record.run_id, record.best_epoch, {"objective": record.best_value})
        tags = {
            "splatsweep.outcome": record.outcome.value,
            "splatsweep.reason": record.reason,
            "splatsweep.epochs": f"{record.epoch}/{record.epochs}",
            "splatsweep.seconds": f"{record.seconds:.1f}",
        }
        self._log.finish(record.run_id, STATUS[record.outcome], tags)
