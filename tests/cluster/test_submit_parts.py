"""What submit sends and reads, without a cluster."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from ssl_core.errors import StudyError
from study.cluster.cluster import check_cluster, check_dashboard, ray_token
from study.cluster.submission import Submission, _Log, passed_on, runtime_environment
from study.cluster.working_tree import differences, locked_versions, requirement_lines, sent_tree, tracked_files
from study.commands.cli import app
from study.commands.submitted_job import check_landing

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git checkout with something of every kind."""
    root = tmp_path / "checkout"
    for name, text in {
        "study/a.py": "a",
        "new.py": "not yet added",
        "gone.py": "deleted since",
        ".env": "RAY_AUTH_TOKEN=x",
        "runs/journal.log": "x" * 1000,
        ".gitignore": "/runs/\n.env\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    git = ["git", "-C", str(root), "-c", "user.name=n", "-c", "user.email=e"]
    for words in (["init", "-q"], ["add", "study", "gone.py", ".gitignore"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True)
    (root / "gone.py").unlink()
    return root


def test_the_tree_is_what_git_would_track(checkout: Path, tmp_path: Path) -> None:
    sent = sent_tree(tmp_path / "tree", checkout)
    there = sorted(str(f.relative_to(sent.folder)) for f in sent.folder.rglob("*") if f.is_file())
    assert there == [".gitignore", "new.py", "study/a.py"]
    assert (sent.files, sent.bytes) == (3, sum(len((checkout / name).read_bytes()) for name in there))
    again = sent_tree(tmp_path / "again", checkout)
    assert again.digest == sent.digest
    (checkout / "new.py").write_text("changed")
    assert sent_tree(tmp_path / "third", checkout).digest != sent.digest


def test_a_tree_that_is_too_large_names_the_largest(checkout: Path, tmp_path: Path) -> None:
    (checkout / "weights.bin").write_bytes(b"x" * 5000)
    with pytest.raises(StudyError, match=r"weights\.bin .*\.gitignore"):
        sent_tree(tmp_path / "tree", checkout, limit=4000)
    with pytest.raises(StudyError, match="not a git checkout"):
        tracked_files(tmp_path)


def test_the_projects_own_tree_can_be_sent() -> None:
    names = {str(name) for name in tracked_files()}
    assert {
        "requirements.lock",
        "pyproject.toml",
        "study/commands/submitted_job.py",
        "search_spaces/cross_modal.yaml",
    } <= names
    assert not [name for name in names if name.startswith((".venv/", "runs/")) or name == ".env"]
    assert sum((ROOT / name).stat().st_size for name in names) < 20e6


def test_the_lock_is_read_whole() -> None:
    text = (ROOT / "requirements.lock").read_text()
    lines = requirement_lines(text)
    assert len(lines) == sum(line[:1].isalnum() for line in text.splitlines())
    assert sum(line.count("--hash=sha256:") for line in lines) == text.count("--hash=sha256:")
    assert locked_versions(text)["ray"] == "2.60.0"
    with pytest.raises(StudyError, match="make lock"):
        locked_versions("ray>>2\n")


def test_an_environment_that_differs_is_seen(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("pydantic==1.0.0 \\\n    --hash=sha256:0\nno-such-library==3\nray==2.60.0 ; python_version < '3'\n")
    (found,) = differences(lock)
    assert found.endswith(", locked 1.0.0")
    with pytest.raises(StudyError, match=r"absent\.lock"):
        differences(tmp_path / "absent.lock")


def test_the_landing_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPLATSWEEP_HOME", raising=False)
    with pytest.raises(StudyError, match="SPLATSWEEP_HOME is not set"):
        check_landing()
    monkeypatch.setenv("SPLATSWEEP_HOME", str(tmp_path))
    Path("requirements.lock").write_text("pydantic==1.0.0\n")
    with pytest.raises(StudyError, match="--environment lock"):
        check_landing()
    monkeypatch.setenv("SPLATSWEEP_SUBMITTED_ENVIRONMENT", "lock")
    check_landing()


def test_what_is_passed_on() -> None:
    environment = {
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
        "MLFLOW_TRACKING_PASSWORD": "p",
        "MLFLOW_TRACKING_TOKEN": "",
        "AWS_ENDPOINT_URL": "http://localhost:8333",
        "AWS_REGION": "r",
        "SPLATSWEEP_HOME": "runs",
        "SPLATSWEEP_CACHE": "/cache",
        "RAY_AUTH_TOKEN": "t",
        "HOME": "/home/me",
    }
    sent, local = passed_on(environment)
    assert set(sent) == {"MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_PASSWORD", "AWS_REGION", "SPLATSWEEP_CACHE"}
    assert local == ["AWS_ENDPOINT_URL", "SPLATSWEEP_HOME"]


def test_an_environment_from_the_lock_is_one_that_ray_takes(tmp_path: Path) -> None:
    from ray.runtime_env import RuntimeEnv

    (tmp_path / "requirements.lock").write_text((ROOT / "requirements.lock").read_text())
    made = runtime_environment(tmp_path, Submission("a", Path("a"), (), "lock"), {"A": "b"})
    taken = RuntimeEnv(**{**made, "working_dir": "gcs://x.zip"})
    assert taken.uv_config()["packages"] == requirement_lines((tmp_path / "requirements.lock").read_text())
    assert {"A": "b", "SPLATSWEEP_SUBMITTED_ENVIRONMENT": "lock"}.items() <= taken["env_vars"].items()
    assert "SPLATSWEEP_REVISION" in taken["env_vars"], "a tree without .git must say what it is"
    assert "uv" not in runtime_environment(tmp_path, Submission("a", Path("a"), ()), {})


@given(st.text(min_size=1), st.lists(st.integers(0, 8)), st.data())
def test_a_log_that_is_read_again_is_written_once(text: str, cuts: list[int], data: st.DataObject) -> None:
    written: list[str] = []
    log = _Log(written.append)
    for length in sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4))):
        log.begin()
        at = data.draw(st.integers(0, length))
        log.add(text[:at])
        log.add(text[at:length])
    log.begin()
    log.add(text)
    assert "".join(written) == text


def test_the_token_is_found_where_ray_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ray_token() is None
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("default\n")
    assert ray_token() == "default"
    (tmp_path / "other").write_text("from-path\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "other"))
    assert ray_token() == "from-path"
    monkeypatch.setenv("RAY_AUTH_TOKEN", " variable ")
    assert ray_token() == "variable"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert ray_token() is None
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    (tmp_path / "other").write_text("")
    with pytest.raises(StudyError, match="holds no token"):
        ray_token()


def test_a_forgotten_token_is_named_before_anything_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(StudyError, match="RAY_AUTH_TOKEN"):
        check_cluster("head:6379")
    with pytest.raises(StudyError, match=r"no Ray dashboard answers .* RAY_API_SERVER_ADDRESS"):
        check_dashboard("http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (["--pack", "runs/packs/mine"], "splatsweep push runs/packs/mine s3://bucket/mine"),
        (["--pack", "my packs/a&b"], "splatsweep push 'my packs/a&b' 's3://bucket/a&b'"),
        (["--pack", "/p", "--trials", "0"], "trial"),
        (["--pack", "/p", "--environment", "conda"], "choose nodes or lock"),
        (["--pack", "/p", "--set", "loss.betta=1"], "loss.beta"),
        (["--pack", "/p", "--name", "../x"], "not usable"),
    ],
)
def test_what_can_be_refused_here_is_not_sent(asked: list[str], says: str) -> None:
    ended = CliRunner().invoke(app, ["submit", str(ROOT / "search_spaces/cross_modal_quick.yaml"), *asked])
    assert ended.exit_code != 0
    assert says in str(ended.exception), ended.exception
