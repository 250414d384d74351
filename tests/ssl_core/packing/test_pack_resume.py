"""Killed at any moment, the same command again ends in the same bytes; two packers never meet in one folder."""

import multiprocessing
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_sets import drop, pack_bytes, put

from ssl_core.data.object_pack import Pack, PackConfig
from ssl_core.errors import PackError
from ssl_core.packing import assemble, part_files
from ssl_core.packing.pack_writer import PackJob, build_here, make_pack

CONFIG = PackConfig(cached_points=32, starts=2)
FORK = multiprocessing.get_context("fork")  # a child that has everything imported: its moments are those of packing


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("killed") / "set"
    for i in range(40):
        put(folder, f"{('box', 'rod')[i % 2]}/{'test' if i % 5 == 4 else 'train'}/o{i:02d}", i, views=1)
    return folder


def job(root: Path, out: Path, *, update: bool = False) -> PackJob:
    return PackJob(root / "points", root / "images", out, CONFIG, update=update)


def run_and_kill(work: Callable[[], object], after: float | None) -> int | None:
    """Do the work in a process that is killed after so many seconds; its exit code."""
    child = FORK.Process(target=work)
    child.start()
    child.join(after)
    if child.is_alive() and after is not None:
        child.kill()
    child.join()
    return child.exitcode


def die_at(step: int) -> None:
    """From now on this process kills itself at the step-th thing it does to the disk."""
    done = 0

    def counted(function):
        def call(*args, **kwargs):
            nonlocal done
            done += 1
            if done > step:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    for owner, name in (
        (Path, "rename"),
        (Path, "mkdir"),
        (Path, "write_text"),
        (shutil, "rmtree"),
        (part_files.PartFiles, "write"),
        (assemble.BlockWriter, "write"),
        (Path, "unlink"),
    ):
        setattr(owner, name, counted(getattr(owner, name)))


def check_moments(root: Path, tmp_path: Path, kills: int) -> None:
    make_pack(job(root, tmp_path / "whole"), build_here)
    expected = pack_bytes(tmp_path / "whole")
    started = time.perf_counter()
    assert run_and_kill(lambda: make_pack(job(root, tmp_path / "timed"), build_here), None) == 0
    takes = time.perf_counter() - started
    rng = np.random.default_rng(0)
    for kill in range(kills):
        out = tmp_path / f"killed{kill}"
        run_and_kill(lambda out=out: make_pack(job(root, out), build_here), takes * (kill + rng.random()) / kills)
        make_pack(job(root, out), build_here)
        assert pack_bytes(out) == expected
        assert not out.with_name(f"{out.name}.building").exists()


def test_killed_at_random_moments(root, tmp_path):
    check_moments(root, tmp_path, 4)


@pytest.mark.slow
def test_killed_at_twenty_random_moments(root, tmp_path):
    check_moments(root, tmp_path, 20)


def check_steps(root: Path, tmp_path: Path, steps: list[int]) -> bool:
    """Kill a first run and then an update at these steps. Whether the last step was beyond the end of both."""
    make_pack(job(root, tmp_path / "first"), build_here)
    changed = tmp_path / "changed"
    for kind in ("points", "images"):
        shutil.copytree(root / kind, changed / kind)  # times are kept
    put(changed, "box/train/new", 99)
    put(changed, "rod/train/o01", 98)
    drop(changed, "box/train/o02")
    make_pack(job(changed, tmp_path / "second"), build_here)
    first, second = pack_bytes(tmp_path / "first"), pack_bytes(tmp_path / "second")
    ended = False
    for step in steps:
        out = tmp_path / f"step{step}"

        def dying(data: Path, update: bool, step: int = step, out: Path = out) -> None:
            die_at(step)
            make_pack(job(data, out, update=update), build_here)

        one = run_and_kill(lambda: dying(root, False), None)
        assert not out.exists() or pack_bytes(out) == first, "half a pack is no pack"
        make_pack(job(root, out), build_here)
        assert pack_bytes(out) == first
        two = run_and_kill(lambda: dying(changed, True), None)
        if out.exists():
            assert pack_bytes(out) in (first, second), "the old pack or the new one, nothing between"
        make_pack(job(changed, out, update=True), build_here)
        assert pack_bytes(out) == second
        ended = one == two == 0
    return ended


def test_killed_at_some_steps(root, tmp_path):
    check_steps(root, tmp_path, [3, 97, 180, 195, 204, 230, 250])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_every_step(root, tmp_path):
    """Most of them in between objects; all of them from the assembly to the end."""
    assert check_steps(root, tmp_path, [*range(0, 170, 9), *range(170, 256)])


def test_what_is_finished_is_not_made_again(root, tmp_path):
    def stop_after_two(parts):
        build_here(parts[:2])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_pack(job(root, tmp_path / "p"), stop_after_two)
    _, stats = make_pack(job(root, tmp_path / "p"), build_here)
    assert stats.resumed >= 2
    assert stats.made + stats.resumed == 40


def test_a_part_that_is_not_whole_is_made_again(root, tmp_path):
    def stop_after_two(parts):
        build_here(parts[:2])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_pack(job(root, tmp_path / "p"), stop_after_two)
    one, other = sorted((tmp_path / "p.building/parts").iterdir())
    with (one / "views.u8").open("r+b") as file:
        file.truncate(10)
    (other / "part.json").write_text("{")
    _, stats = make_pack(job(root, tmp_path / "p"), build_here)
    assert stats.resumed == 0


def test_a_second_packer_is_refused_and_a_dead_one_is_not_in_the_way(root, tmp_path):
    out = tmp_path / "p"
    child = FORK.Process(target=lambda: make_pack(job(root, out), lambda parts: time.sleep(100)))
    child.start()
    lock = tmp_path / "p.building/lock"
    while not (lock.is_file() and lock.stat().st_size):
        time.sleep(0.01)
    with pytest.raises(PackError, match=f"process {child.pid} on {socket.gethostname()} is packing it"):
        make_pack(job(root, out), build_here)
    child.kill()
    child.join()
    pack, _ = make_pack(job(root, out), build_here)
    assert Pack.open(out).digest == pack.digest
