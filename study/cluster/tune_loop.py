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
from study.cluster.ray_internals import actors_in_waiting_processes
from study.direction.director import Director
from study.session import OpenSession, TrialRequest
from study.workers.revision import code_digest


@dataclass(frozen=True)
class Crew:
    """The workers of an invocation.

    Attributes:
        open_session: builds sessions in them.
        per_trial: CPUs and GPUs of one trial.
        invocation: of the driver, counted over the study's life.
        here: they are processes of a Ray of this machine alone.
    """

    open_session: OpenSession
    per_trial: dict[str, float]
    invocation: int
    here: bool = False


def tune_trials(director: Director, crew: Crew, each_turn: Callable[[], None]) -> None:
    """Run until `each_turn` raises; whatever it raises ends all workers at once and is raised.

    Args:
        director: decides.
        crew: who does it.
        each_turn: called about ten times a second between decisions.
    """
    from ray import tune

    from study.searcher import DirectedScheduler, DirectedSearcher, DirectedStopper
    from study.trainable import REQUEST, WarmTrainable

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    # by default Tune has one trial pending at a time, so the slots would start their processes one after the other
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(director.ruling.concurrency)
    folder = director.ruling.folder
    scheduler = DirectedScheduler(director)

    per_trial = dict(crew.per_trial)

    def resources(config: dict[str, Any]) -> Any:
        share = TrialRequest.from_json(config[REQUEST]).share
        return tune.PlacementGroupFactory([enlarged(per_trial, share)])

    trainable = tune.with_parameters(WarmTrainable, duty=_duty(director, crew))
    try:
        with warnings.catch_warnings(), actors_in_waiting_processes() if crew.here else nullcontext():
            warnings.simplefilter("ignore")
            # not through Tuner, which pickles the searcher, and so the ledger, before it starts
            tune.run(
                tune.with_resources(trainable, resources),
                name=_SCRATCH,
                storage_path=str(folder),
                search_alg=DirectedSearcher(director),
                scheduler=scheduler,
                stop=DirectedStopper(each_turn),
                # the director ends the study; Tune would count retries as samples
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


def _duty(director: Director, crew: Crew) -> Any:
    from study.trainable import Duty

    spec = director.spec
    return Duty(
        open_session=crew.open_session,
        metric=spec.metric,
        direction=spec.direction,
        invocation=crew.invocation,
        revision=code_digest(),
        threads=spec.threads,
    )


def _trial_name(trial: Any) -> str:
    return str(trial.trial_id)
