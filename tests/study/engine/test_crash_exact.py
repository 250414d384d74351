"""kill -9 of the driver at any moment, and the same command: the study is the one that nobody killed."""

import random
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import ray
from agreement import assert_agreement, story
from fake_sessions import trained
from run_fake_study import plan as fake_plan
from study_process import study_process

from registry.tracking.run_log import open_run_log
from study.engine.ledger import JOURNAL, read_ledger
from study.engine.meter import MeterFile
from study.record.journal import FileJournal
from study.record.trial_record import TrialRecord
from study.schedulers.rules import SuccessiveHalving
from study.spec.scheduler_spec import ASHA

Process = subprocess.Popen[str]
Records = dict[int, TrialRecord]


ORPHANS = 2.5
"""Seconds that workers outlive their driver by, at most; a new driver takes longer to its first epoch."""


def records_of(folder: Path) -> Records:
    if not (folder / JOURNAL).is_file() or not FileJournal(folder / JOURNAL, writable=False).read():
        return {}
    return {record.number: record for record in read_ledger(folder).records()}


def assert_kept(before: Records, after: Records) -> None:
    """Nothing that was written down is gone or different."""
    for number, old in before.items():
        new = after[number]
        assert new.params == old.params
        assert {epoch: new.curve[epoch] for epoch in old.curve} == old.curve
        if old.outcome is not None:
            assert story(new) == story(old)


def kill_often(
    start: Callable[[], object], folder: Path, kills: int, epochs: int, progress: Callable[[], int], seed: int = 0
) -> list[float]:
    """Start the same command again and again, killing it at random moments; then let it end.

    Returns:
        Seconds from each start to the first epoch of training there.
    """
    draw, resumed = random.Random(seed), list[float]()
    for turn in range(kills + 1):
        known, done, began = records_of(folder), progress(), time.monotonic()
        with start() as process:  # type: ignore[attr-defined]
            if turn < kills and draw.random() < 0.15:
                time.sleep(draw.uniform(0.0, 6.0))  # before it trains at all, perhaps
                process.kill()
                process.wait(timeout=60)
            else:
                resumed.append(_first_epoch(process, progress) - began)
                target = done + 1 + (draw.randrange(epochs) if turn < kills else 10**6)
                while process.poll() is None and progress() < target:
                    time.sleep(0.01)
                if turn < kills:
                    time.sleep(draw.uniform(0.0, 0.1))
                    process.kill()
                    process.wait(timeout=60)
                else:
                    out, errors = process.communicate(timeout=600)
                    assert process.returncode == 0, errors[-2000:]
                    assert "done" in out
        assert_kept(known, records_of(folder))
    return resumed


def _first_epoch(process: Process, progress: Callable[[], int]) -> float:
    """When it came. What is trained right after the start is by workers of a dead driver, before they notice."""
    time.sleep(ORPHANS)
    done, deadline = progress(), time.monotonic() + 300
    while progress() <= done and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return time.monotonic()


def assert_rungs(folder: Path, grace: int = 2) -> None:
    """Everybody who reached a rung stands there, with the value of the report."""
    ledger = read_ledger(folder)
    halving = SuccessiveHalving(ASHA(grace=grace, reduction=3), ledger.direction)
    halving.rebuild((record.number, record.curve) for record in ledger.records())
    for level, rung in halving.rungs.items():
        reached = {record.number for record in ledger.records() if record.epoch >= level}
        assert set(rung.values) == reached


@pytest.mark.slow
@pytest.mark.usefixtures("ray_two")
def test_three_kills_change_nothing(tmp_path: Path) -> None:
    plan = fake_plan(tmp_path, 8, 0.1, 1)
    # it joins the Ray of this process, as on a cluster; its actors end with it all the same
    address = ray.get_runtime_context().gcs_address
    start = lambda: study_process("run_fake_study.py", tmp_path, 8, 0.1, 1, address=address)  # noqa: E731
    kill_often(start, plan.folder, 3, 8, lambda: len(trained(plan.folder)), seed=3)
    other = tmp_path / "undisturbed"
    with study_process("run_fake_study.py", other, 8, 0.1, 1, address=address) as process:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors[-2000:]
    assert_same(plan.folder, fake_plan(other, 8, 0.1, 1).folder)
    assert_rungs(plan.folder)
    with open_run_log(None, tmp_path) as log:
        assert_agreement(plan.folder, log)
    epochs = trained(plan.folder)
    assert len(epochs) - len(set(epochs)) <= 3, "at most the epoch under way at each kill is trained again"


def assert_same(killed: Path, undisturbed: Path) -> None:
    """One slot: the same trials, in the same order, for the same reasons."""
    one, other = read_ledger(killed).records(), read_ledger(undisturbed).records()
    assert [story(record) for record in one] == [story(record) for record in other]
    in_order = [sorted((r for r in records if r.ended), key=lambda r: r.ended) for records in (one, other)]  # type: ignore[arg-type,return-value]
    assert [r.number for r in in_order[0]] == [r.number for r in in_order[1]]


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("slots", [1, 2])
def test_twenty_kills_of_a_study_on_a_ray_of_its_own(tmp_path: Path, slots: int) -> None:
    plan, cache = fake_plan(tmp_path, 24, 0.1, slots), tmp_path / "compiled"
    start = lambda home=tmp_path: study_process("run_fake_study.py", home, 24, 0.1, slots, cache=cache)  # noqa: E731
    resumed = kill_often(start, plan.folder, 20, 7, lambda: len(trained(plan.folder)), seed=slots)
    records = read_ledger(plan.folder).records()
    assert [record.number for record in records] == list(range(24))
    assert all(record.outcome is not None for record in records)
    assert_rungs(plan.folder)
    with open_run_log(None, tmp_path) as log:
        assert_agreement(plan.folder, log)
    if slots == 1:
        other = tmp_path / "undisturbed"
        with start(other) as process:
            assert process.wait(timeout=600) == 0
        assert_same(plan.folder, fake_plan(other, 24, 0.1, 1).folder)
    totals, times = MeterFile(plan.folder).read()
    held = totals.idle + sum(time.held for time in times.values())
    assert held == pytest.approx(totals.seconds * slots, rel=0.01)
    print(
        f"\n{slots} slots: training again after {statistics.median(resumed):.1f} s (median), "
        f"{max(resumed):.1f} s (most) of {len(resumed)} starts; {len(trained(plan.folder))} epochs trained, "
        f"{len(set(trained(plan.folder)))} different"
    )
