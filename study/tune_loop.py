"""Ray Tune's loop, with our searcher, scheduler and warm actors, and its own reporting switched off."""

import logging
import os
import shutil
import warnings
from collections.abc import Callable
from typing import Any

from study.director import Director
from study.session import OpenSession


def tune_trials(
    director: Director, open_session: OpenSession, per_trial: dict[str, float], each_turn: Callable[[], bool]
) -> None:
    """Run until the director has nothing left to hand out.

    Args:
        director: decides.
        open_session: builds sessions in the workers.
        per_trial: CPU and GPU of one trial.
        each_turn: called about ten times a second between decisions. True ends the loop in good order, which
            waits for workers; it may also raise to leave at once, when Ray ends anyway.
    """
    from ray import tune

    from study.searcher import DirectedScheduler, DirectedSearcher, DirectedStopper
    from study.trainable import WarmTrainable

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    # by default Tune has one trial pending at a time, so the slots would start their processes one after the other
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(director.ruling.concurrency)
    spec, folder = director.spec, director.ruling.folder
    trainable = tune.with_parameters(
        WarmTrainable, open_session=open_session, metric=spec.metric, direction=spec.direction
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # not through Tuner, which pickles the searcher, and so the ledger, before it starts
            tune.run(
                tune.with_resources(trainable, dict(per_trial)),
                name=_SCRATCH,
                storage_path=str(folder),
                search_alg=DirectedSearcher(director),
                scheduler=DirectedScheduler(director),
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
        # Tune's own snapshots, which a study never reads
        shutil.rmtree(folder / _SCRATCH, ignore_errors=True)


_SCRATCH = ".tune"


def _trial_name(trial: Any) -> str:
    return str(trial.trial_id)
