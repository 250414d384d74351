"""The warm actor: a Tune trainable that keeps its process, imports and mapped pack between trials.

It carries messages only. `trial_runner` knows what a trial is; the trial manager decides what becomes of it.
"""

import os
import signal
import sys
from dataclasses import dataclass
from typing import Any

from ray import tune

from ssl_core.errors import SplatsweepError
from study.spec.trial_request import OpenSession, TrialRequest
from study.workers.revision import require_revision
from study.workers.system_use import SystemUse
from study.workers.trial_runner import TrialCrashedError, TrialRunner

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

REQUEST, REPORT, CRASH, FATAL = "request", "report", "crash", "fatal"


@dataclass(frozen=True)
class WorkerConfig:
    """What a driver tells its workers once."""

    open_session: OpenSession  # builds the session of a request
    # metric and direction: the objective
    metric: str
    direction: str
    invocation: int  # of the driver, counted over the study's life
    revision: str  # of the driver's code
    threads: int  # of the CPU, for each trial


class WarmTrainable(tune.Trainable):
    """One slot of the study. `step` runs one epoch and returns its report as JSON text.

    An exception of the trial's own is a message like any other. One that taints the process (a CUDA fault, no
    memory) leaves it, so that Tune throws the actor away: no later trial there would be sound.
    """

    def setup(self, config: dict[str, Any], worker_config: WorkerConfig) -> None:
        """Called once per actor."""
        # Ray's processes are sheltered from these, but what a recipe starts has to be able to be ended by them
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGHUP})
        self._refusal: SplatsweepError | None = None
        try:
            require_revision(worker_config.revision)
        except SplatsweepError as error:
            self._refusal = error  # told by `step`: who raises here has merely died
        limit_threads(worker_config.threads)
        self._runner = TrialRunner(
            worker_config.open_session,
            worker_config.metric,
            worker_config.direction,
            worker_config.invocation,
            system=SystemUse(),
        )
        self._runner.begin(TrialRequest.from_json(config[REQUEST]))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Called for each further trial."""
        self._runner.begin(TrialRequest.from_json(new_config[REQUEST]))
        return True

    def step(self) -> dict[str, Any]:
        """One epoch."""
        try:
            if self._refusal is not None:
                raise self._refusal
            return {REPORT: self._runner.step().to_json()}
        except TrialCrashedError as error:
            if error.tainted:
                raise
            return {CRASH: error.reason}
        except SplatsweepError as error:
            # not this trial's fault, and no other would fare better
            return {FATAL: f"{type(error).__name__}: {error}"}

    def cleanup(self) -> None:
        """The actor ends."""
        self._runner.close()


def limit_threads(threads: int) -> None:
    """Let this process compute on so many threads, whether its numerical libraries are loaded already or not."""
    for name in _THREADS:
        os.environ[name] = str(threads)
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(threads)
