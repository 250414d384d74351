"""A study as a Ray job, on a real head with dashboard and token."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from cluster_network import until
from cluster_nodes import RayNodes

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def tiny_space(tmp_path: Path) -> Path:
    """The real recipe, one trial of one short epoch; it lies outside the checkout."""
    base = {
        "points.num_points": 64,
        "image.image_size": 24,
        "training.epochs": 1,
        "training.batch_size": 6,
        "validation.label_draws": 3,
        "validation.labels_per_class": 2,
        "validation.views": 2,
    }
    file = tmp_path / "tiny.yaml"
    study = {"trials": 1, "top_k": 1}
    space = {"loss.beta": {"log": [0.3, 10]}}
    text = {"recipe": "cross_modal", "preset": "quick", "base": base, "study": study, "space": space}
    file.write_text(yaml.safe_dump(text))
    return file


def environment(nodes: RayNodes, **more: str) -> dict[str, str]:
    return nodes.environment(RAY_API_SERVER_ADDRESS=nodes.dashboard, **more)


def words(space: Path, pack: Path | str, name: str, *more: str) -> list[str]:
    asked = ["submit", str(space), "--pack", str(pack), "--name", name, *more]
    return [sys.executable, "-m", "study.commands.cli", *asked]


def submit(nodes: RayNodes, command: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the command at the head to its end."""
    return subprocess.run(nodes.head.command(command), env=env, cwd=ROOT, capture_output=True, text=True, timeout=500)


def test_a_study_goes_as_a_job_and_is_continued_by_the_same_command(
    ray_head: RayNodes, tiny_pack, tiny_space: Path, tmp_path: Path
) -> None:
    env = environment(ray_head, SPLATSWEEP_HOME=str(tmp_path / "home"))
    command = words(tiny_space, tiny_pack.path, "tiny", "--json")
    began = submit(ray_head, [*command, "--no-follow"], env)
    assert began.returncode == 0, began.stderr
    facts = json.loads(began.stdout)
    assert (facts["job"], facts["joined"], facts["exit_code"]) == ("splatsweep-tiny-1", False, None)
    assert facts["sent"]["files"] > 100
    assert "passed on: SPLATSWEEP_HOME" in began.stderr

    joined = submit(ray_head, command, env)
    facts = json.loads(joined.stdout)
    assert (facts["job"], facts["joined"], facts["exit_code"]) == ("splatsweep-tiny-1", True, 0), joined.stderr
    assert "nothing was sent" in joined.stderr
    assert "trial 0" in joined.stderr, "the log is shown from its beginning"
    folder = tmp_path / "home/studies/tiny"
    assert (folder / "journal.log").is_file()
    assert (folder / "report.html").is_file()
    journal = (folder / "journal.log").read_bytes()

    again = submit(ray_head, command, env)
    facts = json.loads(again.stdout)
    assert (facts["job"], facts["joined"], facts["exit_code"]) == ("splatsweep-tiny-2", False, 0), again.stderr
    assert (folder / "journal.log").read_bytes().startswith(journal)


def test_the_exit_code_and_the_reason_arrive(ray_head: RayNodes, tiny_space: Path, tmp_path: Path) -> None:
    env = environment(ray_head, SPLATSWEEP_HOME=str(tmp_path / "home"))
    ended = submit(ray_head, words(tiny_space, tmp_path / "no-such-pack", "no-pack"), env)
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "no-such-pack" in ended.stdout
    assert "Traceback" not in ended.stdout


def test_a_home_that_would_be_lost_is_refused(ray_head: RayNodes, tiny_space: Path, tmp_path: Path) -> None:
    env = environment(ray_head, SPLATSWEEP_HOME="runs")
    ended = submit(ray_head, words(tiny_space, tmp_path, "homeless"), env)
    assert ended.returncode == 2
    assert "of this machine only, not passed on: SPLATSWEEP_HOME" in ended.stderr
    assert "SPLATSWEEP_HOME is not set on the cluster" in ended.stdout


def test_ctrl_c_detaches(ray_head: RayNodes, tiny_pack, tiny_space: Path, tmp_path: Path) -> None:
    env = environment(ray_head, SPLATSWEEP_HOME=str(tmp_path / "home"))
    slow = words(tiny_space, tiny_pack.path, "left", "--set", "training.epochs=400")
    log = tmp_path / "log"
    process = ray_head.head.start(slow, env, log, cwd=ROOT)
    until(lambda: "study left" in log.read_text() or process.poll() is not None, f"the job's first words in {log}", 180)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130, log.read_text()
    assert "goes on" in log.read_text()
    assert "ray job stop splatsweep-left-1" in log.read_text()
    assert status(ray_head, env, "splatsweep-left-1") == "RUNNING"
    ray = Path(sys.executable).with_name("ray")
    ray_head.head.run([ray, "job", "stop", "splatsweep-left-1", "--address", ray_head.dashboard], env)
    assert status(ray_head, env, "splatsweep-left-1") == "STOPPED"


def status(nodes: RayNodes, env: dict[str, str], job: str) -> str:
    code = (
        "import sys; from ray.job_submission import JobSubmissionClient; "
        "print(JobSubmissionClient(sys.argv[1]).get_job_info(sys.argv[2]).status.value)"
    )
    return nodes.head.run([sys.executable, "-c", code, nodes.dashboard, job], env).split()[-1]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"RAY_AUTH_TOKEN": "0" * 32}, "does not accept this token"),
        ({"RAY_AUTH_TOKEN": "", "RAY_AUTH_MODE": ""}, "asks for a token, and none is set"),
        ({"RAY_API_SERVER_ADDRESS": "http://127.0.0.1:1"}, "no Ray dashboard answers at http://127.0.0.1:1"),
    ],
    ids=["wrong", "none", "nobody"],
)
def test_without_the_token_nothing_is_sent(
    ray_head: RayNodes, tiny_space: Path, tmp_path: Path, changes: dict[str, str], says: str
) -> None:
    env = {k: v for k, v in {**environment(ray_head, SPLATSWEEP_HOME=str(tmp_path)), **changes}.items() if v}
    began = time.monotonic()
    ended = submit(ray_head, words(tiny_space, tmp_path, "stranger"), env)
    assert ended.returncode == 2
    assert says in ended.stderr
    assert "RAY_A" in ended.stderr
    assert time.monotonic() - began < 60


def test_the_jobs_code_is_the_tree_that_was_sent(ray_head: RayNodes, tmp_path: Path) -> None:
    """In the driver and in the workers, whatever else is installed there."""
    code = (
        "import ray, study; ray.init(logging_level=40); print(study.__file__); "
        "print(ray.get(ray.remote(lambda: __import__('study').__file__).remote()))"
    )
    program = f"""
import shlex, sys
from pathlib import Path
from study.cluster.submission import Submission, follow, open_client, runtime_environment
from study.cluster.working_tree import sent_tree
sent = sent_tree(Path({str(tmp_path / "tree")!r}))
client = open_client({ray_head.dashboard!r})
env = runtime_environment(sent.folder, Submission("x", Path("x"), ()), {{}})
job = client.submit_job(entrypoint=shlex.join(["python", "-c", {code!r}]), runtime_env=env)
sys.exit(follow(client, job, sys.stdout.write))
"""
    said = ray_head.head.run([sys.executable, "-c", program], environment(ray_head)).splitlines()
    places = [line for line in said if line.endswith("study/__init__.py")]
    assert len(places) == 2
    assert all("runtime_resources/working_dir_files" in place for place in places), places
    assert os.fspath(ROOT) not in " ".join(places)
