"""The command line where users have no name, no home folder, no place for temporary files, no working directory."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
COMMAND = (sys.executable, "-m", "study.commands.cli")
UNKNOWN = ("unshare", "--user", "--map-user=12345", "--map-group=12345")
"""Words before a command that run it as `docker run --user 12345` does: a user that no list knows."""
SPACE = """
recipe: cross_modal
preset: quick
base: {points.num_points: 64, image.image_size: 24, training.epochs: 1, training.batch_size: 6,
       validation: {label_draws: 3, labels_per_class: 2, views: 2}}
study: {trials: 1, metric: val/probe, scheduler: none, top_k: 1}
space: {loss.beta: {log: [0.5, 5]}}
"""


def ran(*words: str, where: Path, before: tuple[str, ...] = (), **variables: str) -> "subprocess.CompletedProcess[str]":
    """The command with these environment variables and no others, but for where programs and our packages are."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables}
    return subprocess.run(
        [*before, *COMMAND, *words], cwd=where, env=environment, capture_output=True, text=True, timeout=280
    )


def refused(done: "subprocess.CompletedProcess[str]", text: str) -> None:
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("error: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert text in done.stderr


@pytest.fixture(scope="module")
def nobody() -> tuple[str, ...]:
    if shutil.which("unshare") is None or subprocess.run([*UNKNOWN, "true"], capture_output=True).returncode:
        pytest.skip("this system gives no user namespaces")
    return UNKNOWN


def test_a_deleted_working_directory(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    leave = ("sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh")
    refused(ran("status", where=gone, before=leave), "the working directory is gone; change to a folder that is there")


def test_settings_that_cannot_be_read(tmp_path: Path, nobody: tuple[str, ...]) -> None:
    file = tmp_path / ".env"
    file.write_bytes(b"SPLATSWEEP_HOME=\xff\n")
    refused(ran("status", where=tmp_path), f".env in {tmp_path}: it is not UTF-8")
    file.chmod(0)
    refused(ran("status", where=tmp_path, before=nobody), f".env in {tmp_path}: Permission denied")


def test_a_home_that_is_no_text(tmp_path: Path) -> None:
    done = ran("status", where=tmp_path, SPLATSWEEP_HOME=os.fsdecode(bytes(tmp_path) + b"/\xff"))
    refused(done, "set SPLATSWEEP_HOME to another")


def outside_make() -> dict[str, str]:
    """The environment without what a make around the tests hands on."""
    return {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}


def test_make_hands_variables_on_as_they_are(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("requirements.lock", "pyproject.toml", ".venv/bin/splatsweep", ".venv/.ready"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    program = tmp_path / ".venv/bin/splatsweep"
    program.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    program.chmod(0o755)
    (tmp_path / ".venv/.ready").touch()
    data, name = 'my sets/it\'s %2F $HOME `id` "q"', "a;b"
    made = subprocess.run(
        ["make", "sweep", f"DATA={data}", f"NAME={name}"],
        cwd=tmp_path,
        env=outside_make(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(made.stdout)[2:] == ["--data", data, "--name", name]


def test_make_in_a_clone_that_cannot_be_written(tmp_path: Path, nobody: tuple[str, ...]) -> None:
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    tmp_path.chmod(0o555)
    done = subprocess.run([*nobody, "make", "sweep"], cwd=tmp_path, env=outside_make(), capture_output=True, text=True)
    tmp_path.chmod(0o755)
    assert done.returncode == 2
    assert done.stdout.startswith(f"error: {tmp_path} cannot be written, and its .venv is missing or older")


def test_a_service_of_a_user_whom_postgres_does_not_take(tmp_path: Path, nobody: tuple[str, ...]) -> None:
    code = "import sys; from pathlib import Path; from registry.server.postgres import lacking; print(lacking(Path()))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*nobody, sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip(), "`serve` takes SQLite then"


@pytest.fixture
def room() -> Iterator[Path]:
    """A folder with a short path that others may enter."""
    with tempfile.TemporaryDirectory(prefix="splat-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def swept(room: Path, pack: Path, before: tuple[str, ...], variables: Mapping[str, str]) -> dict[str, object]:
    """What a small study gives."""
    (room / "space.yaml").write_text(SPACE)
    done = ran("sweep", "space.yaml", "--pack", str(pack), "--json", where=room, before=before, **variables)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@pytest.mark.slow
def test_a_study_of_a_user_without_name_and_home(room: Path, tiny_pack, nobody: tuple[str, ...]) -> None:
    """And with a long TMPDIR, as batch systems give, and a clone that cannot be written."""
    temporary = room / "/".join(["slurm_job_of_somebody"] * 5)
    temporary.mkdir(parents=True)
    pack = shutil.copytree(tiny_pack.path, room / "pack")
    for folder in (pack, *pack.rglob("*")):
        folder.chmod(0o555 if folder.is_dir() else 0o444)
    home = room / "work%2Fspace ?#'é"
    read_only = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    before = ("unshare", "--mount", "--user", "--map-root-user", "sh", "-c", read_only, str(ROOT), *nobody)
    facts = swept(room, pack, before, {"TMPDIR": str(temporary), "SPLATSWEEP_HOME": str(home)})
    assert facts["outcomes"] == {"COMPLETE": 1}
    assert {item["name"] for item in facts["encoders"]} == {"cross-modal-points", "cross-modal-image"}
    assert {path.name for path in room.iterdir()} == {"space.yaml", "pack", home.name, "slurm_job_of_somebody"}


@pytest.mark.slow
def test_a_study_where_nothing_of_the_user_can_be_written(room: Path, tiny_pack, nobody: tuple[str, ...]) -> None:
    nowhere = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "MPLCONFIGDIR", "TORCH_HOME"), "/proc/nowhere")
    facts = swept(room, tiny_pack.path, nobody, {**nowhere, "SPLATSWEEP_HOME": str(room / "runs")})
    assert facts["outcomes"] == {"COMPLETE": 1}
    assert facts["encoders"]
