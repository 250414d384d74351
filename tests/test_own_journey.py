"""The example of a recipe of one's own, far from the clone: killed, continued, registered, judged, pulled."""

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from registry.pull import load
from study.engine.history import existing_journal
from study.engine.ledger import read_ledger
from tests.journeys import COMMAND, Journey

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
TRIALS, EPOCHS = 6, 6


def epochs_of(study: Path) -> int:
    """Told so far, over all trials."""
    return sum(file.read_bytes().count(b"\n") for file in study.glob("trials/*/metrics.jsonl"))


def killed(journey: Journey, words: list[str], study: Path, epochs: int) -> None:
    """Start the command, and kill -9 its process when so many epochs are told."""
    log = journey.folder / "killed.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [*COMMAND, *words], cwd=journey.folder, env=journey.environment, stdout=stream, stderr=stream,
            start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + 300
    while epochs_of(study) < epochs:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)
    process.kill()
    assert process.wait(timeout=60) == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_example_far_from_the_clone(tiny_pack, tmp_path) -> None:
    lab = tmp_path / "lab"
    lab.mkdir()
    for name in ("own_recipe.py", "own_recipe.yaml"):
        shutil.copy(EXAMPLES / name, lab)
    shutil.copytree(tiny_pack.path, lab / "pack")
    small = {"points.num_points": 32, "training.epochs": EPOCHS, "training.batch_size": 6}
    settings = [word for key, value in small.items() for word in ("--set", f"{key}={value}")]
    words = ["sweep", "own_recipe.yaml", "--pack", "pack", "--name", "agreement", "--trials", str(TRIALS),
             "--concurrency", "1", "--json", *settings]  # fmt: skip
    journey, study = Journey(lab), lab / "runs/studies/agreement"
    killed(journey, words, study, epochs=3)
    killed(journey, words, study, epochs=epochs_of(study) + 4)
    time.sleep(3)  # workers notice that their driver is gone
    lines = existing_journal(study).read()
    before = {record.number: record for record in read_ledger(study).records()}
    assert before
    assert any(record.outcome is None for record in before.values()), "in the middle of a trial"
    facts = json.loads(journey.run(*words))
    assert existing_journal(study).read()[: len(lines)] == lines
    after = {record.number: record for record in read_ledger(study).records()}
    for number, record in before.items():
        assert (after[number].params, after[number].seed) == (record.params, record.seed)
        assert after[number].curve.items() >= record.curve.items()
    assert sum(facts["outcomes"].values()) == TRIALS
    assert not facts["was_finished"]
    assert {item["name"] for item in facts["encoders"]} == {"agreement-points"}
    assert all(item["decision"] for item in facts["encoders"])
    assert json.loads(journey.run("replay", "agreement", "--json"))["exact"]
    (lab / "own_recipe.py").unlink()  # a model needs none of it
    reference = f"agreement-points/{facts['encoders'][0]['version']}"
    journey.run("pull", reference, "--to", "pulled")
    model = load(lab / "pulled")
    features = model.encode(model.card.example(2))
    assert features.shape == (2, model.feature_dim)
    program = torch.export.load(lab / "pulled/program.pt2").module()
    torch.testing.assert_close(program(model.card.example(2)), torch.from_numpy(features), rtol=1e-4, atol=1e-5)
