"""Packing through Ray: the same bytes for any number of workers, a bar with speeds, errors of ours at the end."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from small_sets import pack_bytes, put

from ssl_core.data.object_pack import PackConfig
from ssl_core.errors import PackError, StorageError
from ssl_core.packing.pack_plan import plan_pack
from ssl_core.packing.pack_writer import PackJob, PackStats, build_here, make_pack
from study.datasets.pack_jobs import PartRunner, describe_packing, format_packing, pack_data

CONFIG = PackConfig(cached_points=32, starts=2)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packing") / "set"
    for i in range(60):
        put(folder, f"box/train/o{i:02d}", i, views=1)
    return folder


def job(root: Path, out: Path) -> PackJob:
    return PackJob(root / "points", root / "images", out, CONFIG)


@pytest.mark.usefixtures("ray_two")
def test_any_number_of_workers_writes_the_same_bytes(root: Path, tmp_path: Path) -> None:
    alone, _ = make_pack(job(root, tmp_path / "one"), build_here)
    console = Console(file=io.StringIO(), width=120)
    two, stats = make_pack(job(root, tmp_path / "two"), PartRunner(2, console))
    assert pack_bytes(two.path) == pack_bytes(alone.path)
    assert (stats.made, stats.resumed) == (60, 0)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "60/60" in shown
    facts = describe_packing(stats)
    assert set(facts["share_of_work"]) == {"decode", "parse", "sample", "write"}
    assert sum(facts["share_of_work"].values()) == pytest.approx(1, abs=0.01)
    assert "objects 60 made" in format_packing(facts)


@pytest.mark.usefixtures("ray_two")
def test_errors_in_workers_keep_their_kind(root: Path, tmp_path: Path) -> None:
    runner = PartRunner(2, Console(file=io.StringIO()))
    parts = plan_pack(root / "points", root / "images", CONFIG).parts(tmp_path / "file" / "parts")
    assert len(parts) >= 3
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError, match="cannot be written"):
        runner(parts)
    stale = [type(part)(**{**vars(part), "folder": tmp_path / "parts"}) for part in parts]
    entry = stale[1].entries[0]
    changed = type(entry)(entry.item, "another stamp", entry.bytes)
    stale[1] = type(stale[1])(**{**vars(stale[1]), "entries": (changed, *stale[1].entries[1:])})
    with pytest.raises(PackError, match="a file changed while it was packed"):
        runner(stale)
    assert len(list((tmp_path / "parts").iterdir())) == len(parts) - 1, "the others are finished"


def test_small_sets_need_no_ray(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_ray(*_args: object, **_more: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr("study.datasets.pack_jobs.run_objects", no_ray)
    pack, stats = pack_data(PackJob(root / "points", root / "images", tmp_path / "p", CONFIG))
    assert stats.made == 60
    assert "nothing has changed" in format_packing(describe_packing(PackStats(seconds=0.1)))
    assert len(pack.manifest.objects) == 60


def test_the_command_packs_updates_and_reports(root: Path, tmp_path: Path) -> None:
    words = ["--points", str(root / "points"), "--images", str(root / "images"), "--out", str(tmp_path / "p")]
    words += ["--codec", "webp", "--starts", "2", "--cached-points", "64", "--max-gaussians", "40", "--workers", "1"]

    def command(*more: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "study.commands.cli", "pack", *words, *more]
        return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)

    first = command("--json")
    assert first.returncode == 0, first.stderr
    facts = json.loads(first.stdout)
    assert facts["run"]["made"] == 60
    assert facts["gaussians"]["kept_max"] == 40
    again = command("--update")
    assert "nothing has changed" in again.stdout, again.stderr
    refused = command("--starts", "3")
    assert refused.returncode == 2
    assert "starts is 2, not 3" in refused.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_command_killed_with_its_workers_goes_on(tmp_path: Path) -> None:
    """kill -9 of the process that starts Ray; its orphans may finish a part or not."""
    root = tmp_path / "set"
    for i in range(200):
        put(root, f"box/train/o{i:03d}", i, views=3)
    whole, _ = make_pack(job(root, tmp_path / "whole"), build_here)
    words = ["--points", str(root / "points"), "--images", str(root / "images"), "--out", str(tmp_path / "p")]
    words += ["--cached-points", "32", "--starts", "2", "--workers", "2"]
    line = [sys.executable, "-m", "study.commands.cli", "pack", *words]
    for more in range(1, 5):
        child = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        parts = tmp_path / "p.building" / "parts"
        while child.poll() is None:
            finished = [part for part in parts.glob("*") if "." not in part.name] if parts.is_dir() else []
            if len(finished) >= 3 * more:
                os.kill(child.pid, signal.SIGKILL)
            time.sleep(0.005)
        child.wait()
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert pack_bytes(tmp_path / "p") == pack_bytes(whole.path)
