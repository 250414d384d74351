"""Workers, child processes and the command line are ours where a user's files have the names of our packages."""

import os
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ssl_core.own_packages import module_command
from study.cluster.worker_imports import PRELOAD, joining_environment, preloaded
from tests.installed import environment, shadows

HERE = Path(__file__).resolve().parents[1]
ROOT = HERE.parents[1]
RAY = Path(sys.executable).with_name("ray")

RUN = """
import runpy, sys
import splatsweep
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

FOUND = """
import ray
from study.cluster.cluster import ray_cluster

def where():
    import study
    return study.__file__

with ray_cluster():
    print(ray.get(ray.remote(where).remote()))
"""


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    return shadows(tmp_path / "theirs", tmp_path / "run by mistake")


@pytest.mark.slow
def test_a_study_trains_where_a_users_files_have_our_names(theirs: Path, tmp_path: Path) -> None:
    """In the working directory and on PYTHONPATH, in Ray's workers and in the mirror's process."""
    path = os.pathsep.join(map(str, (theirs, HERE, ROOT)))
    done = subprocess.run(
        [sys.executable, "-P", "-c", RUN, str(HERE / "run_fake_study.py"), str(tmp_path), "2", "0"],
        cwd=theirs, env=environment(tmp_path, PYTHONPATH=path), capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.stdout.split() == ["done"], done.stdout + done.stderr
    assert done.stderr.count("COMPLETE") == 2, done.stderr
    assert not (tmp_path / "run by mistake").exists()
    assert (tmp_path / "studies/killed/mirror.log").read_text() == ""


@pytest.mark.slow
def test_workers_of_a_cluster_that_is_joined_are_ours(theirs: Path, tmp_path: Path) -> None:
    """Its machines have the user's files on PYTHONPATH, and the driver has them in its working directory."""
    with tempfile.TemporaryDirectory(prefix="ss") as sessions:
        nodes = environment(tmp_path, PYTHONPATH=str(theirs), RAY_TMPDIR=sessions, RAY_USAGE_STATS_ENABLED="0")
        ports = ("port", "dashboard-agent-listen-port", "runtime-env-agent-port")
        start = [RAY, "start", "--head", "--num-cpus=1", "--include-dashboard=false", "--block"]
        start += [f"--ray-client-server-port={free_port()}", *(f"--{name}=0" for name in ports)]
        head = subprocess.Popen(start, env=nodes, cwd=tmp_path, stdout=subprocess.PIPE)
        try:
            assert head.stdout is not None
            told = (line.decode() for line in head.stdout)
            address = next(found[1] for line in told if (found := re.search(r"--address='([\w.:]+)'", line)))
            done = subprocess.run(
                [sys.executable, "-P", "-c", FOUND], cwd=theirs,
                env=environment(tmp_path, PYTHONPATH=str(ROOT), RAY_ADDRESS=address, RAY_TMPDIR=sessions),
                capture_output=True, text=True, timeout=200,
            )  # fmt: skip
        finally:
            head.terminate()
            head.wait(60)
    assert done.stdout.strip() == str(ROOT / "study/__init__.py"), done.stderr
    assert not (tmp_path / "run by mistake").exists()


def test_a_child_process_is_ours(theirs: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        module_command("study.registration.job_process"),
        cwd=theirs, env=environment(tmp_path, PYTHONPATH=str(theirs)), input="", capture_output=True, text=True,
        timeout=100,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, ""), "it ends with its input, and with no word"
    assert not (tmp_path / "run by mistake").exists()


def test_the_command_line_has_a_name_of_its_own(theirs: Path, tmp_path: Path) -> None:
    """`python -m` puts the working directory first."""
    done = subprocess.run(
        [sys.executable, "-m", "splatsweep", "status", "none"],
        cwd=theirs, env=environment(tmp_path, PYTHONPATH=str(ROOT)), capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: no study 'none'"), done.stderr
    assert not (tmp_path / "run by mistake").exists()


def test_one_of_our_packages_brings_the_others(theirs: Path, tmp_path: Path) -> None:
    """Where Python finds our `study`, which reads before anything else what is called `registry` here."""
    (theirs / "study.py").unlink()
    done = subprocess.run(
        [sys.executable, "-c", "import study.run.driver, registry; print(registry.__file__)"],
        cwd=theirs, env=environment(tmp_path, PYTHONPATH=str(ROOT)), capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.stdout.strip() == str(ROOT / "registry/__init__.py"), done.stderr


def test_what_was_imported_before_is_named(tmp_path: Path) -> None:
    (tmp_path / "study.py").write_text("")
    code = "import study, splatsweep"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, env=environment(tmp_path, PYTHONPATH=str(ROOT)), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    last = done.stderr.splitlines()[-1]
    assert str(tmp_path / "study.py") in last
    assert "`import splatsweep` first" in last


def test_the_environment_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PRELOAD, "theirs")
    monkeypatch.setenv("PYTHONPATH", "/theirs")
    with preloaded():
        assert os.environ[PRELOAD] == "theirs,ssl_core.own_packages"
        assert os.environ["PYTHONPATH"] == f"/theirs{os.pathsep}{ROOT}"
    assert os.environ[PRELOAD] == "theirs"
    monkeypatch.delenv("PYTHONPATH")
    with pytest.raises(RuntimeError), preloaded():
        raise RuntimeError
    assert "PYTHONPATH" not in os.environ


def test_in_our_own_folder_a_cluster_is_joined_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    assert joining_environment() is None
    monkeypatch.chdir(tmp_path)
    assert joining_environment() is not None
