"""Why an attempt ended, by the words of Ray: a crash of its own, too little memory, or its machine went away."""

import pytest
from fake_plans import MakePlan
from inline_driver import run_inline

from ssl_core.errors import StudyError
from study.cluster.cluster import Resources, enlarged, largest_share, trial_resources
from study.cluster.searcher import _last_words, machine_is_gone
from study.engine.ledger import open_ledger
from study.engine.limits import RunContext
from study.engine.meter import Meter
from study.engine.recovery import MAX_LOSSES
from study.engine.trial_manager import TrialManager
from study.run.driver import StudyPlan
from study.spec.clock import SystemClock
from study.spec.outcome import Outcome
from study.spec.study_spec import StudySpec
from study.workers.trial_runner import is_out_of_memory

HEAD = """The actor died unexpectedly before finishing this task.
\tclass_name: WarmTrainable
\tpid: 20857
"""
WORKER = (
    HEAD + "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: "
    "Worker unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the "
    "process was killed by the OOM killer due to high memory usage, (2) ray stop --force was called, consider enabling "
    "resource isolation via --enable-resource-isolation to prevent node deaths by resource contention"
)
NODE = (
    HEAD + "The actor died because its node has died. Node Id: 77a8f284\n\tthe actor's node was terminated "
    "unexpectedly: health check failed due to missing too many heartbeats"
)
MEMORY = (
    HEAD
    + "The actor is dead because its worker process has died. Task was killed due to the node running low on memory."
)
RAISED = (
    "ray::WarmTrainable.train()\nTraceback\nstudy.workers.trial_runner.TrialCrashedError: RuntimeError: CUDA error: bad"
)


@pytest.mark.parametrize(
    ("text", "gone", "memory", "words"),
    [
        (WORKER, False, False, "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR"),
        (NODE, True, False, "The actor died because its node has died. Node Id: 77a8f284"),
        (MEMORY, False, True, "The actor is dead because its worker process has died. Task was killed due to"),
        (RAISED, False, False, "study.workers.trial_runner.TrialCrashedError: RuntimeError: CUDA error: bad"),
        ("", False, False, "it died without a word"),
    ],
)
def test_the_cause_is_read_from_rays_words(text: str, gone: bool, memory: bool, words: str) -> None:
    assert machine_is_gone(text) is gone
    assert is_out_of_memory(text) is memory
    assert _last_words(text).startswith(words)


def test_a_lost_machine_is_not_the_trials_crash(make_plan: MakePlan) -> None:
    plan = make_plan(trials=1, max_attempts=2)
    manager = _manager(plan)
    attempts = []
    for _ in range(MAX_LOSSES):
        request = manager.next_request()
        assert request is not None
        attempts.append(request.attempt + request.losses)
        manager.on_death(request.number, "its node has died", blame=False)
    assert attempts == list(range(1, MAX_LOSSES + 1)), "each start has a number of its own"
    record = manager.ledger.record(0)
    assert (record.crashes, record.losses, record.outcome) == (0, MAX_LOSSES, None)
    for _ in range(2):  # from now on they count
        request = manager.next_request()
        assert request is not None
        manager.on_death(request.number, "its node has died", blame=False)
    assert manager.ledger.record(0).outcome is Outcome.CRASHED
    run_inline(plan)


def _manager(plan: StudyPlan) -> TrialManager:
    ledger = open_ledger(plan.folder, plan.identity, plan.spec, plan.space)
    clock = SystemClock()
    return TrialManager(ledger, plan.space, RunContext(plan.folder, 1, None, Meter(clock, 1, 0.0, ledger)), [])


def test_a_larger_share_is_of_what_the_trial_shares() -> None:
    assert enlarged({"CPU": 1.0, "GPU": 0.25}, 2.0) == {"CPU": 1.0, "GPU": 0.5}
    assert enlarged({"CPU": 1.0, "GPU": 0.3}, 4.0) == {"CPU": 1.0, "GPU": 1.0}
    assert enlarged({"CPU": 2.0, "GPU": 0.0}, 2.0) == {"CPU": 4.0, "GPU": 0.0}
    offered = Resources(cpus=16, gpus=2, machine_cpus=8, machine_gpus=1)
    assert largest_share({"CPU": 1.0, "GPU": 0.25}, offered) == 4.0
    assert largest_share({"CPU": 2.0, "GPU": 0.0}, offered) == 4.0
    assert largest_share({"CPU": 1.0, "GPU": 1.0}, offered) == 1.0


def test_a_trial_must_fit_into_one_machine() -> None:
    offered = Resources(cpus=16, gpus=0, machine_cpus=8, machine_gpus=0)
    assert trial_resources(StudySpec(cpus_per_trial=8), offered) == {"CPU": 8.0, "GPU": 0.0}
    with pytest.raises(StudyError, match="asks for 9 CPUs and the cluster has 16, 8 on its largest machine"):
        trial_resources(StudySpec(cpus_per_trial=9), offered)
