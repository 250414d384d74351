"""Runs a study: the ledger is opened, Ray is started, the director directs; on every way out the study is usable.

The same call continues a study that was interrupted, does nothing for one that is finished, and adds trials to
one whose budget was raised.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from search_spaces.space import SearchSpace
from ssl_core.errors import SplatsweepError, StudyError
from study.cluster import ray_cluster, slots, trial_resources
from study.director import Director, Ruling, Witness
from study.interrupt import Interrupt, LeaveLoop, watch_signals
from study.ledger import Ledger, StudyIdentity, disk_errors, open_ledger, study_tags
from study.metrics_file import MetricsFile
from study.outcome import one_line
from study.progress import Progress
from study.run_recorder import RunRecorder
from study.session import CheckValues, OpenSession, RunLogLike, RunStatus
from study.spec import StudySpec
from study.trial_record import TrialRecord, leaders
from study.tune_loop import tune_trials


@dataclass(frozen=True)
class StudyPlan:
    """What to run and where.

    Attributes:
        name: of the study, also of its folder.
        folder: `<home>/studies/<name>`, absolute; on storage that all workers see.
        pack_digest: of the data; a study belongs to one pack.
        spec, space: how and what to search.
        open_session: builds a trial's session in a worker; picklable.
        check: refuses configurations before they cost a worker.
        facts: lineage for tags, for example revision and pack path.
    """

    name: str
    folder: Path
    pack_digest: str
    spec: StudySpec
    space: SearchSpace
    open_session: OpenSession
    check: CheckValues | None = None
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> StudyIdentity:
        """What must not change between invocations."""
        return StudyIdentity(
            name=self.name,
            recipe=self.space.recipe,
            space_digest=self.space.digest,
            pack_digest=self.pack_digest,
        )


@dataclass(frozen=True)
class StudySummary:
    """How a study stands when `run_study` returns.

    Attributes:
        outcomes: count by outcome, unfinished ones under UNFINISHED.
        leaders: the best trials, best first, whose checkpoints are under `folder/trials/<number>/best`.
        reason: why no more trials were started.
        interrupted: a signal ended it; the same command continues.
        was_finished: nothing was left to do, and nothing was done.
        run_id: of the parent MLflow run, None without a run log.
    """

    name: str
    folder: Path
    outcomes: Mapping[str, int]
    leaders: tuple[TrialRecord, ...]
    reason: str
    interrupted: bool = False
    was_finished: bool = False
    run_id: str | None = None
    seconds: float = 0.0

    @property
    def best(self) -> TrialRecord | None:
        """The winner."""
        return self.leaders[0] if self.leaders else None


def run_study(plan: StudyPlan, run_log: RunLogLike | None, console: Console | None = None) -> StudySummary:
    """Run, continue or confirm a study.

    Args:
        plan: what to run.
        run_log: where runs are recorded; None for a study without MLflow.
        console: for progress; standard error by default.

    Raises:
        StudyError: the name belongs to another study, it runs already, no trial finished.
        StorageError: a disk is full; what was done is kept and the same command goes on.
    """
    began = time.monotonic()
    console = console or Console(stderr=True, highlight=False)
    with _driver_lock(plan):
        ledger = open_ledger(plan.folder, plan.identity, plan.spec, plan.space)
        was_finished = _is_finished(ledger)
        ending = Ending(reason=f"all {plan.spec.planned} trials are done")
        if not was_finished or not ledger.attrs.get("closed"):
            recorder = _recorder(plan, ledger, run_log)
            try:
                if not was_finished:
                    ledger.set_attr("closed", False)
                    ledger.set_attr("facts", dict(plan.facts))
                    ending = _run_trials(plan, ledger, recorder, console)
                if ending.error is not None:
                    raise ending.error
            except BaseException as error:
                # what can still be put in order is; what cannot must not hide the error
                with suppress(SplatsweepError):
                    _leave(ledger, recorder, Ending(one_line(error), interrupted=True, error=error), console)
                raise
            _leave(ledger, recorder, ending, console)
        summary = _summary(ledger, ending, was_finished, time.monotonic() - began)
    if not ending.interrupted and not summary.leaders:
        raise StudyError(_nothing_finished(ledger))
    return summary


@dataclass(frozen=True)
class Ending:
    """How the trial loop was left."""

    reason: str
    interrupted: bool = False
    error: BaseException | None = None


@contextmanager
def _driver_lock(plan: StudyPlan) -> Iterator[None]:
    """One process runs a study. The lock goes with the process, however it ends."""
    with disk_errors(plan.folder):
        plan.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(plan.folder / "driver.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise StudyError(
                f"study '{plan.name}' is being run by another process; wait for it "
                f"(splatsweep status {plan.name}) or choose another --name"
            ) from None
    try:
        yield
    finally:
        lock.release()


def _is_finished(ledger: Ledger) -> bool:
    records = ledger.records()
    if not all(record.outcome is not None and record.told for record in records):
        return False
    return sum(record.spends_budget for record in records) >= (ledger.spec.planned or 0)


def _recorder(plan: StudyPlan, ledger: Ledger, run_log: RunLogLike | None) -> RunRecorder | None:
    if run_log is None:
        return None
    recorder = RunRecorder(run_log, ledger, plan.space, study_tags(plan.identity, plan.facts))
    recorder.reconcile()
    return recorder


def _run_trials(plan: StudyPlan, ledger: Ledger, recorder: RunRecorder | None, console: Console) -> Ending:
    """Start Ray and let the director run the trials."""
    spec, before = plan.spec, ledger.records()
    progress = Progress(console, spec.planned or 0, spec.direction, before)
    witnesses: list[Witness] = [*([recorder] if recorder else []), MetricsFile(plan.folder), progress]
    console.print(_opening(plan, before), soft_wrap=True)
    interrupt = Interrupt()
    director: Director | None = None
    try:
        # signals are ours only once Ray, which takes some for itself, has started
        with ray_cluster((spec.concurrency or 1) * spec.cpus_per_trial) as offered, watch_signals(interrupt):
            per_trial = trial_resources(spec, offered)
            ruling = Ruling(plan.folder, slots(spec, per_trial, offered), plan.check)
            director = Director(ledger, plan.space, ruling, witnesses)
            with progress:
                turn = _each_turn(interrupt, director, progress, at_once=offered.ours)
                tune_trials(director, plan.open_session, per_trial, turn)
    except (LeaveLoop, KeyboardInterrupt):
        if director is None or not director.finished:
            return Ending("interrupted", interrupted=True)
    if director.fatal is not None:
        return Ending(str(director.fatal), interrupted=True, error=director.fatal)
    if not director.finished:
        return Ending("interrupted", interrupted=True)
    return Ending(director.stop_reason or "nothing is left to try")


def _each_turn(interrupt: Interrupt, director: Director, progress: Progress, at_once: bool) -> Callable[[], bool]:
    """Whether to end the loop; when Ray, and so every worker, ends with it, it is left at once."""

    def turn() -> bool:
        progress.tick()
        over = director.finished or interrupt.signal is not None
        if over and at_once:
            raise LeaveLoop
        return over

    return turn


def _opening(plan: StudyPlan, before: list[TrialRecord]) -> str:
    done = sum(record.outcome is not None and record.spends_budget for record in before)
    begun = sum(record.outcome is None for record in before)
    spec = plan.spec
    text = f"study {plan.name}: {spec.planned} trials of {plan.space.recipe}, {spec.metric} {spec.direction}d"
    if before:
        text += f"; continuing with {done} done and {begun} begun"
    return text


def _leave(ledger: Ledger, recorder: RunRecorder | None, ending: Ending, console: Console) -> None:
    """Whatever happened: a report is written, no run is left RUNNING, the study says whether it is closed."""
    report: list[Path] = []
    if ledger.records():
        from study.report import write_report  # plotly is not needed before

        state = "interrupted" if ending.interrupted else "finished"
        report.append(write_report(ledger, ledger.folder / "report.html", state))
    if recorder is not None:
        unfinished = [record for record in ledger.records() if record.outcome is None]
        recorder.interrupted(unfinished)
        recorder.keep_checkpoints()
        tags = {
            "splatsweep.outcome": "UNFINISHED" if ending.interrupted else "COMPLETE",
            "splatsweep.reason": ending.reason,
        }
        some = any(record.outcome is not None and record.outcome.has_value for record in ledger.records())
        status: RunStatus = "KILLED" if ending.interrupted else "FINISHED" if some else "FAILED"
        recorder.finish_study(status, tags, report)
    if not ending.interrupted:
        ledger.set_attr("closed", True)
    elif ending.error is None:
        console.print(f"study {ledger.name} is interrupted; the same command continues it", soft_wrap=True)


def _summary(ledger: Ledger, ending: Ending, was_finished: bool, seconds: float) -> StudySummary:
    records, spec = ledger.records(), ledger.spec
    return StudySummary(
        name=ledger.name,
        folder=ledger.folder,
        outcomes=dict(Counter(record.state for record in records)),
        leaders=tuple(leaders(records, spec.direction, spec.top_k)),
        reason=ending.reason,
        interrupted=ending.interrupted,
        was_finished=was_finished,
        run_id=ledger.attrs.get("run_id"),
        seconds=seconds,
    )


def _nothing_finished(ledger: Ledger) -> str:
    """Why there is no result: the outcomes, and the most frequent reason."""
    records = ledger.records()
    counts = Counter(record.state for record in records)
    reasons = Counter(record.reason for record in records if record.reason)
    most = reasons.most_common(1)
    why = f"; mostly: {most[0][0]}" if most else ""
    listed = ", ".join(f"{count} {state}" for state, count in counts.items())
    return f"no trial of study '{ledger.name}' finished ({listed}){why}; mend that and use another --name"
