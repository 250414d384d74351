"""The warm actor: a Tune trainable that keeps its process, imports and mapped pack between trials.

It carries messages only. `trial_runner` knows what a trial is; the director decides what becomes of it.
"""

from typing import Any

from ray import tune

from ssl_core.errors import SplatsweepError
from study.session import OpenSession, TrialRequest
from study.trial_runner import TrialCrashedError, TrialRunner

REQUEST, REPORT, CRASH, FATAL = "request", "report", "crash", "fatal"


class WarmTrainable(tune.Trainable):
    """One slot of the study. `step` runs one epoch and returns its report as JSON text.

    An exception of the trial's own is a message like any other. One that taints the process (a CUDA fault, no
    memory) leaves it, so that Tune throws the actor away: no later trial there would be sound.
    """

    def setup(self, config: dict[str, Any], open_session: OpenSession, metric: str, direction: str) -> None:
        """Called once per actor."""
        self._runner = TrialRunner(open_session, metric, direction)
        self._runner.begin(TrialRequest.from_json(config[REQUEST]))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Called for each further trial."""
        self._runner.begin(TrialRequest.from_json(new_config[REQUEST]))
        return True

    def step(self) -> dict[str, Any]:
        """One epoch."""
        try:
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
