"""Runs a study: opens its ledger, starts Ray, lets the trial manager decide; on every way out the study is usable.

The same call continues a study that was interrupted, does nothing for one that is finished, and adds trials to
one whose budget was raised.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from rich.console import Console

from registry.tracking.run_log import RunLog
from ssl_core.errors import SplatsweepError, StudyError
from ssl_core.interrupt import Interrupt, ends_within, watch_signals
from ssl_core.training.stage_progress import stages_in_progress
from study.cluster.cluster import Resources, largest_share, ray_cluster, slots, trial_resources
from study.cluster.driver_lock import DriverLock, TakenOverError, hold_study
from study.cluster.tune_loop import LeaveLoop, WorkerGroup, tune_trials
from study.engine.cost_report import settle
from study.engine.ledger import Ledger, disk_errors, open_ledger
from study.engine.limits import RunContext, StudyCallback
from study.engine.meter import Meter
from study.engine.trial_manager import TrialManager
from study.record.config_file import ConfigFile
from study.record.full_disk import DiskWatch, FullDiskRetry
from study.record.metrics_file import MetricsFile
from study.record.trial_record import TrialRecord
from study.reports.study_progress import Progress
from study.run.mirror_process import END_SECONDS, INTERRUPTED_SECONDS, MirrorProcess, behind, write_down
from study.run.study_plan import StudyPlan, StudySummary, nothing_finished, summary_of
from study.run.study_source import Ending
from study.spec.clock import Clock, SystemClock
from study.spec.home import derived_root
from study.spec.outcome import one_line
from study.workers.gpu_share import measured_needs

__all__ = ["StudyPlan", "StudySummary", "run_study"]

LEAVE_SECONDS = 8.0
"""Seconds to leave Ray in: one whose control process the same signal ended is asked for a minute and then aborts us.
Whoever sends signals kills after ten (Slurm: thirty, systemd: ninety)."""


def run_study(plan: StudyPlan, run_log: RunLog | None, console: Console | None = None) -> StudySummary:
    """Run, continue or confirm a study.

    Args:
        plan: what to run.
        run_log: where runs are recorded; None for a study without MLflow.
        console: for progress; standard error by default.

    Raises:
        StudyError: the name belongs to another study, it runs already, no trial finished.
        StorageError: a disk stays full; what was done is kept and the same command goes on.
    """
    clock = SystemClock()
    began = clock.monotonic()
    console = console or Console(stderr=True, highlight=False)
    interrupt = Interrupt(at_once=True)
    with watch_signals(interrupt), hold_study(plan.folder, plan.name) as lock:
        disk_retry = FullDiskRetry(
            say=lambda text: console.print(text, soft_wrap=True, highlight=False),
            give_up=lambda: interrupt.signal is not None,
        )
        ledger = open_ledger(plan.folder, plan.identity, plan.spec, plan.space, disk_retry)
        was_finished = _is_finished(ledger)
        planned = plan.spec.planned
        ending = Left(reason=f"all {planned} trials are done" if planned else "its budget is used")
        to_tell = run_log is not None and behind(ledger, run_log)
        if not was_finished or not ledger.attrs.get("closed") or to_tell:
            run = DriverRun(plan, ledger, console, lock, clock, began, interrupt, disk_retry)
            if run_log is not None:
                with disk_errors(plan.folder):
                    write_down(ledger, run.configs, plan.space.source)
                    run.mirror = MirrorProcess(run_log, ledger, run.say)
            try:
                if not was_finished:
                    ending = _run_trials(run)
                if ending.error is not None:
                    raise ending.error
            except TakenOverError:
                # the study is another driver's now: nothing of it may be touched
                raise
            except BaseException as error:
                # what can still be put in order is; what cannot must not hide the error
                with suppress(SplatsweepError):
                    _leave(run, Left(one_line(error), interrupted=True, error=error))
                raise
            else:
                _leave(run, ending)
            finally:
                if run.mirror is not None:
                    run.mirror.close(at_once=interrupt.signal is not None)
        seconds = clock.monotonic() - began
        summary = summary_of(
            ledger, ending.reason, interrupted=ending.interrupted, was_finished=was_finished, seconds=seconds
        )
    if not ending.interrupted and not summary.leaders:
        raise StudyError(nothing_finished(ledger))
    return summary


@dataclass(frozen=True)
class Left:
    """How the trial loop was left."""

    reason: str
    interrupted: bool = False
    error: BaseException | None = None


@dataclass
class DriverRun:
    """One invocation: what it works on and with."""

    plan: StudyPlan
    ledger: Ledger
    console: Console
    lock: DriverLock
    clock: Clock
    began: float  # reading of the clock when the command began; the slots count as held from then on
    interrupt: Interrupt
    disk_retry: FullDiskRetry
    mirror: MirrorProcess | None = None
    meter: Meter | None = None  # once it is known how many slots there are

    @property
    def configs(self) -> ConfigFile:
        """Keeps the settings of each trial."""
        return ConfigFile(self.plan.folder, self.plan.space, self.disk_retry)

    def say(self, text: str) -> None:
        """A line for a person."""
        self.console.print(text, soft_wrap=True, highlight=False)


def _is_finished(ledger: Ledger) -> bool:
    """Whether there is nothing to do, as far as that can be said without a trial manager, and so without Ray."""
    records = ledger.records()
    spec = ledger.spec
    if not all(record.outcome is not None and record.told for record in records):
        return False
    if ledger.attrs.get("closed") == spec.digest():
        return True
    if spec.budget is not None or spec.planned is None or spec.confirm_features or spec.repeats > 1:
        return False  # the trial manager knows
    return sum(record.spends_budget for record in records) >= spec.planned


def _run_trials(run: DriverRun) -> Left:
    """Start Ray and let the trial manager run the trials."""
    plan, ledger, spec, interrupt = run.plan, run.ledger, run.plan.spec, run.interrupt
    before = ledger.records()
    # written before anything is started: workers of an earlier invocation know by it that they are
    invocation = int(ledger.attrs.get("invocations", 0)) + 1
    for key, value in {"invocations": invocation, "closed": False, "facts": dict(plan.facts)}.items():
        ledger.set_attr(key, value)
    run.say(_opening(plan, before))
    if not before:
        for note in ledger.attrs.get("warm_notes", ()):
            run.say(f"warm start: {note}")
    manager: TrialManager | None = None
    try:
        cpus = (spec.concurrency or 1) * spec.cpus_per_trial
        with ends_within(LEAVE_SECONDS, _interrupted(plan.name)), ray_cluster(cpus) as offered:
            run.lock.tell_ray(offered.address)
            if offered.dashboard:
                run.say(
                    f"Ray's dashboard: http://{offered.dashboard}  (ray list … --address http://{offered.dashboard})"
                )
            workers = WorkerGroup(plan.open_session, _per_trial(plan, before, offered), invocation, offered.here)
            manager, progress = _manager(run, workers, offered)
            with progress:
                interrupt.at_once = False  # the study is left between two decisions, never inside one
                try:
                    tune_trials(manager, workers, _each_turn(run, manager, progress), run.say)
                finally:
                    interrupt.at_once = True
    except (LeaveLoop, KeyboardInterrupt):
        if manager is None or not manager.finished or interrupt.signal is not None:
            return Left("interrupted", interrupted=True)
    if manager.fatal is not None:
        return Left(str(manager.fatal), interrupted=True, error=manager.fatal)
    return Left(manager.stop_reason or "nothing is left to try")


def _per_trial(plan: StudyPlan, before: list[TrialRecord], offered: Resources) -> dict[str, float]:
    auto = plan.spec.gpus_per_trial == "auto"
    measured = measured_needs(plan.folder, [record.number for record in before]) if auto else None
    return trial_resources(plan.spec, offered, measured)


def _manager(run: DriverRun, workers: WorkerGroup, offered: Resources) -> tuple[TrialManager, Progress]:
    plan, ledger = run.plan, run.ledger
    room = slots(plan.spec, workers.per_trial, offered)
    meter = run.meter = Meter(run.clock, room, workers.per_trial["GPU"], ledger, run.began)
    largest = largest_share(workers.per_trial, offered)
    context = RunContext(plan.folder, room, plan.check, meter, largest)
    stages = partial(stages_in_progress, derived_root(), plan.pack_digest)
    progress = Progress(run.console, ledger, room, clock=run.clock, stages=stages)
    callbacks: list[StudyCallback] = [run.configs, MetricsFile(plan.folder, run.disk_retry), progress]
    return TrialManager(ledger, plan.space, context, callbacks), progress


def _each_turn(run: DriverRun, manager: TrialManager, progress: Progress) -> Callable[[], None]:
    """Between two decisions: what has to be looked after, and the one place where the loop is left."""
    disk = DiskWatch(run.plan.folder, run.say, run.clock)

    def turn() -> None:
        run.lock.check()
        manager.context.meter.tick()
        disk.tick()
        progress.tick()
        if run.mirror is not None:
            run.mirror.tick()
        if manager.finished or run.interrupt.signal is not None:
            raise LeaveLoop

    return turn


def _opening(plan: StudyPlan, before: list[TrialRecord]) -> str:
    done = sum(record.outcome is not None and record.spends_budget for record in before)
    begun = sum(record.outcome is None for record in before)
    spec = plan.spec
    trials = "trials" if spec.planned is None else f"{spec.planned} trials"
    text = f"study {plan.name}: {trials} of {plan.space.recipe}, {spec.metric} {spec.direction}d"
    if before:
        text += f"; continuing with {done} done and {begun} begun"
    return text


def _leave(run: DriverRun, left: Left) -> None:
    """Whatever happened: a report is written, no run is left RUNNING, the study says whether it is closed."""
    ledger, mirror = run.ledger, run.mirror
    if mirror is not None:
        mirror.hurry()
    if run.meter is not None:
        settle(run.meter, ledger)  # for the report, which shows it
    records = ledger.records()
    if records:
        from study.reports.study_report import write_report  # plotly is not needed before

        write_report(ledger, ledger.folder / "report.html", "interrupted" if left.interrupted else "finished")
    if run.meter is not None:
        settle(run.meter, ledger)  # the report took time too
    some = any(record.outcome is not None and record.outcome.has_value for record in records)
    ending = Ending(
        invocation=int(ledger.attrs.get("invocations", 0)),
        status="KILLED" if left.interrupted else "FINISHED" if some else "FAILED",
        outcome="UNFINISHED" if left.interrupted else "COMPLETE",
        reason=left.reason,
        at=int(time.time() * 1000),
    )
    ledger.set_attr("ending", ending.model_dump(mode="json"))
    if not left.interrupted:
        # for the settings it ran to its end with; with others, a larger budget for example, there is more to do
        ledger.set_attr("closed", ledger.spec.digest())
    if mirror is not None:
        mirror.leave(INTERRUPTED_SECONDS if left.interrupted else END_SECONDS)
    if left.interrupted and left.error is None:
        run.say(_interrupted(ledger.name))


def _interrupted(name: str) -> str:
    return f"study {name} is interrupted; the same command continues it"
