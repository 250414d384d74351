"""The study's loop without Ray: slots are runners in this process, taken in turn. The slow twin of `tune_loop`."""

from collections.abc import Callable

from study.engine.ledger import open_ledger
from study.engine.limits import RunContext, StudyCallback
from study.engine.meter import Meter
from study.engine.trial_manager import TrialManager
from study.record.full_disk import FullDiskRetry
from study.record.metrics_file import MetricsFile
from study.run.driver import StudyPlan
from study.spec.clock import Clock, SystemClock
from study.workers.trial_runner import TrialCrashedError, TrialRunner


class PowerCut(BaseException):
    """The machine is gone."""


def run_inline(
    plan: StudyPlan,
    slots: int = 2,
    callbacks: list[StudyCallback] | None = None,
    each_turn: Callable[[TrialManager], None] | None = None,
    clock: Clock | None = None,
    largest_share: float = 1.0,
    disk_retry: FullDiskRetry | None = None,
) -> TrialManager:
    """Run until the director is finished or has a fatal error. What `each_turn` raises ends it like a power cut."""
    ledger = open_ledger(plan.folder, plan.identity, plan.spec, plan.space, disk_retry)
    clock = clock or SystemClock()
    meter = Meter(clock, slots, 0.0, ledger)
    context = RunContext(plan.folder, slots, plan.check, meter, largest_share)
    manager = TrialManager(ledger, plan.space, context, [*(callbacks or []), MetricsFile(plan.folder, disk_retry)])
    busy: dict[int, TrialRunner] = {}
    while not manager.finished and manager.fatal is None:
        while (request := manager.next_request()) is not None:
            assert request.number not in busy, "a trial runs twice"
            runner = TrialRunner(plan.open_session, plan.spec.metric, plan.spec.direction, disk_retry=disk_retry)
            runner.begin(request)
            busy[request.number] = runner
        assert busy or manager.finished, "nothing runs, and the study is not finished"
        for number, runner in list(busy.items()):
            if each_turn is not None:
                each_turn(manager)
            if not _turn(manager, number, runner):
                del busy[number]
            meter.tick()
    meter.close()
    return manager


def _turn(manager: TrialManager, number: int, runner: TrialRunner) -> bool:
    try:
        return manager.on_report(runner.step())
    except TrialCrashedError as error:
        manager.on_death(number, str(error), error.out_of_memory)
        return False
    except PowerCut:
        raise
    except Exception as error:
        manager.on_fatal(error)
        return False
