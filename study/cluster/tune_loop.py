"""Ray Tune's loop, with our searcher, scheduler and warm actors, and its own reporting switched off."""

import logging
import os
import shutil
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from study.cluster.cluster import enlarged
from study.cluster.pending_starts import PendingStarts
from study.cluster.ray_internals import actors_in_waiting_processes, logs_folder
from study.cluster.waiting_reasons import why_trials_wait
from study.engine.trial_manager import TrialManager
from study.spec.trial_request import OpenSession, TrialRequest
from study.workers.revision import code_digest


class LeaveLoop(BaseException):
    """Raised at a safe place to leave Tune's loop at once. No `Exception`: nobody may take it for a failure."""


@dataclass(frozen=True)
class WorkerGroup:
    """The workers of an invocation."""

    open_session: OpenSession  # builds sessions in them
    per_trial: dict[str, float]  # CPUs and GPUs of one trial
    invocation: int  # of the driver, counted over the study's life
    here: bool = False  # they are processes of a Ray of this machine alone


def tune_trials(
    manager: TrialManager, workers: WorkerGroup, each_turn: Callable[[], None], say: Callable[[str], None]
) -> None:
    """Run until `each_turn` raises; whatever it raises ends all workers at once and is raised.

    Args:
        each_turn: called about ten times a second between decisions.
        say: told why trials wait for their processes, when they do for long.

    Raises:
        StudyError: their processes can never start.
    """
    from ray import tune

    from study.cluster.searcher import StudyScheduler, StudySearcher, StudyStopper
    from study.cluster.trainable import REQUEST, WarmTrainable

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    # by default Tune has one trial pending at a time, so the slots would start their processes one after the other
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(manager.context.concurrency)
    folder = manager.context.folder
    scheduler = StudyScheduler(manager, each_turn)

    per_trial = dict(workers.per_trial)

    def resources(config: dict[str, Any]) -> Any:
        share = TrialRequest.from_json(config[REQUEST]).share
        return tune.PlacementGroupFactory([enlarged(per_trial, share)])

    starts = PendingStarts("trial", say, lambda: why_trials_wait(per_trial, logs_folder(), workers.here))

    def turn() -> None:
        starts.tick(scheduler.without_process())
        each_turn()

    trainable = tune.with_parameters(WarmTrainable, worker_config=_duty(manager, workers))
    try:
        with warnings.catch_warnings(), actors_in_waiting_processes() if workers.here else nullcontext():
            warnings.simplefilter("ignore")
            # not through Tuner, which pickles the searcher, and so the ledger, before it starts
            tune.run(
                tune.with_resources(trainable, resources),
                name=_SCRATCH,
                storage_path=str(folder),
                search_alg=StudySearcher(manager),
                scheduler=scheduler,
                stop=StudyStopper(turn),
                # the trial manager ends the study; Tune would count retries as samples
                num_samples=-1,
                reuse_actors=True,
                raise_on_failed_trial=False,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
                verbose=0,
            )
    finally:
        scheduler.kill_workers()
        # Tune's own snapshots, which a study never reads
        shutil.rmtree(folder / _SCRATCH, ignore_errors=True)


_SCRATCH = ".tune"


def _duty(manager: TrialManager, workers: WorkerGroup) -> Any:
    from study.cluster.trainable import WorkerConfig

    spec = manager.spec
    return WorkerConfig(
        open_session=workers.open_session,
        metric=spec.metric,
        direction=spec.direction,
        invocation=workers.invocation,
        revision=code_digest(),
        threads=spec.threads,
    )


def _trial_name(trial: Any) -> str:
    return str(trial.trial_id)
