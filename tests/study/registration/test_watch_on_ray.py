"""Evaluations as tasks of a real Ray: judged once each, and a task that ends is an answer."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from plain_client import NAME, PROTOCOL, another_bundle, first_bundle, register
from test_watch import Desk

from registry.tracking.run_log import open_run_log
from study.cluster.ray_tasks import task_of
from study.registration.evaluation_job import EvaluationJob
from study.registration.job_pools import RayPool

pytestmark = pytest.mark.usefixtures("ray_two")


@pytest.fixture
def desk(tmp_path: Path, tiny_pack: Any) -> Desk:
    return Desk(tmp_path / "home", tiny_pack)


@pytest.fixture
def pool() -> Iterator[RayPool]:
    opened = RayPool()
    yield opened
    opened.close()


def job_of(desk: Desk) -> EvaluationJob:
    return EvaluationJob(
        name=NAME, version=1, work="w", pack=str(desk.pack.path), home=str(desk.home), protocol=PROTOCOL
    )


@pytest.mark.slow  # a quarter of a minute of imports in workers
def test_versions_are_judged_by_tasks_of_the_cluster(desk: Desk, pool: RayPool, tmp_path: Path) -> None:
    bundle = first_bundle(tmp_path / "first")
    for seed in range(3):
        register(desk.client, another_bundle(bundle, tmp_path / f"b{seed}", seed))
    assert pool.slots == 2
    assert desk.watch(pool=pool).judged == 3
    assert desk.evaluations() == {f"{NAME}/{number}": 1 for number in (1, 2, 3)}
    assert sum("champion" in version.aliases for version in desk.store.list()) == 1
    assert desk.watch(pool=pool).judged == 0
    assert not (desk.home / "watch.log").exists(), "no process of this machine was asked"


def test_a_task_that_dies_is_a_failed_job(desk: Desk, pool: RayPool) -> None:
    def die(text: str) -> str:
        os._exit(7)

    pool._tasks._remote = task_of(die, retries=0)
    answer = pool.submit(job_of(desk)).result(timeout=60)
    assert answer.outcome == "failed"
    assert "its Ray task ended (WorkerCrashedError" in answer.reason


@pytest.mark.slow
def test_leaving_cancels_what_is_under_way(desk: Desk) -> None:
    import ray

    def wait(text: str) -> str:
        import time

        for _ in range(600):  # a cancelled task is interrupted between two steps of Python
            time.sleep(0.1)
        return text

    pool = RayPool()
    pool._tasks._remote = task_of(wait, retries=0)
    under_way = pool.submit(job_of(desk))
    while not pool._tasks._tasks:
        pass
    pool.close()
    assert under_way.result(timeout=5).outcome == "failed"
    assert ray.is_initialized(), "a cluster that was there before stays"


def test_a_version_that_is_missing_is_trouble_not_its_fault(desk: Desk, pool: RayPool) -> None:
    shutil.rmtree(desk.home / "mlartifacts", ignore_errors=True)
    assert open_run_log(None, desk.home).connection.experiment_id
    assert pool.submit(job_of(desk)).result(timeout=60).outcome == "trouble"
