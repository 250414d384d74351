"""The study's loop without Ray: slots are runners in this process, taken in turn. The slow twin of `tune_loop`."""

from collections.abc import Callable

from study.accounts.meter import Meter
from study.clock import Clock, SystemClock
from study.direction.director import Director
from study.direction.ruling import Ruling, Witness
from study.driver import StudyPlan
from study.ledger import open_ledger
from study.record.metrics_file import MetricsFile
from study.workers.patience import Patience
from study.workers.trial_runner import TrialCrashedError, TrialRunner


class PowerCut(BaseException):
    """The machine is gone."""


def run_inline(
    plan: StudyPlan,
    slots: int = 2,
    witnesses: list[Witness] | None = None,
    each_turn: Callable[[Director], None] | None = None,
    clock: Clock | None = None,
    largest_share: float = 1.0,
    patience: Patience | None = None,
) -> Director:
    """Run until the director is finished or has a fatal error. What `each_turn` raises ends it like a power cut."""
    ledger = open_ledger(plan.folder, plan.identity, plan.spec, plan.space, patience)
    clock = clock or SystemClock()
    meter = Meter(clock, slots, 0.0, ledger)
    ruling = Ruling(plan.folder, slots, plan.check, clock, meter, largest_share)
    director = Director(ledger, plan.space, ruling, [*(witnesses or []), MetricsFile(plan.folder, patience)])
    busy: dict[int, TrialRunner] = {}
    while not director.finished and director.fatal is None:
        while (request := director.next_request()) is not None:
            assert request.number not in busy, "a trial runs twice"
            runner = TrialRunner(plan.open_session, plan.spec.metric, plan.spec.direction, patience=patience)
            runner.begin(request)
            busy[request.number] = runner
        assert busy or director.finished, "nothing runs, and the study is not finished"
        for number, runner in list(busy.items()):
            if each_turn is not None:
                each_turn(director)
            if not _turn(director, number, runner):
                del busy[number]
            meter.tick()
    meter.close()
    return director


def _turn(director: Director, number: int, runner: TrialRunner) -> bool:
    try:
        return director.on_report(runner.step())
    except TrialCrashedError as error:
        director.on_death(number, str(error), error.out_of_memory)
        return False
    except PowerCut:
        raise
    except Exception as error:
        director.on_fatal(error)
        return False
