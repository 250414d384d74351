"""Tune's three questions, put to the trial manager: what runs next, does it go on, shall all stop."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune import Stopper
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from ssl_core import errors
from ssl_core.errors import SplatsweepError, StudyError
from study.cluster.trainable import CRASH, FATAL, REPORT, REQUEST
from study.engine.trial_manager import TrialManager
from study.spec.outcome import EpochReport
from study.spec.trial_request import TrialRequest
from study.workers.trial_runner import is_out_of_memory


class StudySearcher(Searcher):
    """Suggests what the trial manager hands out: unfinished trials first, then new ones."""

    def __init__(self, manager: TrialManager) -> None:
        super().__init__()
        self._manager = manager

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial's request; None while all slots are taken; FINISHED when nothing is left."""
        try:
            request = self._manager.next_request()
            if request is not None:
                return {REQUEST: request.to_json()}
            return Searcher.FINISHED if self._manager.finished else None
        except Exception as error:  # Tune would turn it into the text of a traceback
            self._manager.on_fatal(error)
            return None

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """The trial manager has it already, through the scheduler."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the ledger has it."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing to save: the ledger has it."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: a study continues from its ledger."""


class StudyScheduler(FIFOScheduler):
    """Takes every report to the trial manager and returns the decision."""

    def __init__(self, manager: TrialManager, each_turn: Callable[[], None]) -> None:
        super().__init__()
        self._manager, self._each_turn = manager, each_turn
        self._waiting: dict[str, Any] = {}
        self._controller: Any = None

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """A trial was suggested; it waits for a process."""
        # the wrapper is made anew for each call, what it wraps stays
        self._controller = getattr(tune_controller, "_tune_controller", tune_controller)
        self._waiting[trial.trial_id] = trial

    def without_process(self) -> list[str]:
        """Names of the trials that wait for one."""
        return [name for name, trial in self._waiting.items() if trial.status == Trial.PENDING]

    def kill_workers(self) -> None:
        """End all processes of the study at once. Whatever they are in the middle of is done again."""
        if self._controller is not None:
            self._controller._actor_manager.cleanup()
            self._controller = None

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Called for every epoch of every trial."""
        goes_on = False
        try:
            if FATAL in result:
                self._manager.on_fatal(_fatal(result[FATAL]))
            elif CRASH in result:
                self._manager.on_death(_number(trial), result[CRASH])
            else:
                goes_on = self._manager.on_report(EpochReport.from_json(result[REPORT]))
        except Exception as error:  # as in suggest
            self._manager.on_fatal(error)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """The newest waiting trial: older ones have their process on the way.

        Tune gives the first free warm process to the trial chosen here. Given to the oldest, whose own process is
        about to be ready, that one is thrown away and another started for the newest. Tune's own list holds all
        trials that ever were; looking through it each turn would cost more with each of them.
        """
        for name in [name for name, trial in self._waiting.items() if trial.status != Trial.PENDING]:
            del self._waiting[name]
        return next(reversed(self._waiting.values()), None)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """The attempt raised, or its process died."""
        self._each_turn()  # a signal that ended the process as well as the study is not held against the trial
        try:
            text = _last_failure(trial.error_file)
            self._manager.on_death(
                _number(trial),
                f"the worker process failed: {_last_words(text)}",
                out_of_memory=is_out_of_memory(text),
                blame=not machine_is_gone(text),
            )
        except Exception as error:  # as in suggest
            self._manager.on_fatal(error)


class StudyStopper(Stopper):
    """Asked once per turn of Tune's loop: the place where it is safe to leave it."""

    def __init__(self, each_turn: Callable[[], None]) -> None:
        self._each_turn = each_turn

    def __getstate__(self) -> dict[str, Any]:
        """Tune's last snapshot holds an empty shell: nobody restores it."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Single trials are stopped by the scheduler."""
        return False

    def stop_all(self) -> bool:
        """Never ends the loop in Tune's way, which waits for workers: `each_turn` raises."""
        self._each_turn()
        return False


def _number(trial: Any) -> int:
    return TrialRequest.from_json(trial.config[REQUEST]).number


def _last_failure(path: str | None) -> str:
    """What Tune wrote about the latest failure."""
    try:
        text = Path(path or "").read_text()
    except OSError:
        return ""
    return text.rpartition("Failure #")[2].partition("\n")[2]


_GONE = re.compile(
    r"node has died|node was (terminated|preempted)|actor died because its node|node is (dead|unreachable)|"
    r"\bpreempted\b|ActorUnavailableError|ActorPlacementGroupRemoved"
)


def machine_is_gone(text: str) -> bool:
    """Whether an attempt ended because the machine it ran on went away, by what Ray says of it."""
    return _GONE.search(text) is not None


def _last_words(text: str) -> str:
    """Of a failure: the exception's line, or Ray's first words."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Interrupt): ", line)]
    # Ray begins with what everybody knows by now
    because = [line.partition(" Some common causes")[0] for line in lines if "because" in line]
    words = named[-1] if named else next(iter([*because, *lines]), "it died without a word")
    return words if len(words) <= 300 else words[:299] + "…"


def _fatal(text: str) -> Exception:
    """The worker's error, of the kind it had there (`KindOfError: message`)."""
    name, _, message = text.partition(": ")
    kind = getattr(errors, name, StudyError)
    return kind(message) if issubclass(kind, SplatsweepError) else StudyError(text)
