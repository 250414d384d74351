"""A home made by revision 3e03538 is opened here (`old_home`): listed, pulled, continued to its end."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from old_home import ENDED, continued, loaded_features, opened
from revision_runs import environment_facts, trial_facts
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[1]
ENCODERS = {"cross-modal-points": "points", "cross-modal-image": "image"}


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """The home in a folder of its own: half a gigabyte once unpacked, and so not kept."""
    folder = tmp_path_factory.mktemp("old")
    yield opened(ROOT, folder)
    shutil.rmtree(folder, ignore_errors=True)


def test_it_is_listed(old):
    models = {item["name"]: item for item in json.loads(old("models", "--json"))}
    assert models.keys() == ENCODERS.keys()
    for item in models.values():
        assert item["version"] == 1
        assert item["lineage"]["study"] == "old"
        assert "candidate" in item["aliases"]
        assert "±" in item["evaluation"]["headline"]
        assert item["decision"]["reason"]
        assert [event["kind"] for event in item["events"]][:2] == ["registered", "evaluated"]
    status = json.loads(old("status", "old", "--json"))
    assert status["state"] == "interrupted"
    trials = trial_facts(old, "old")
    assert [trial["outcome"] for trial in trials] == ["COMPLETE", "COMPLETE", "UNFINISHED"]
    assert [len(trial["metrics"]) for trial in trials] == [3, 3, 1]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "cross-modal-points")) for name in ENCODERS]
)
def test_its_encoders_are_pulled(old, name):
    kept = load_file(old.folder / "features.safetensors")
    inputs, features = kept[f"{ENCODERS[name]}_input"], kept[f"{ENCODERS[name]}_features"]
    assert np.ptp(features, axis=0).max() > 0, "the encoder tells its inputs apart"
    close = {"rtol": 1e-4, "atol": 1e-5}  # other instructions add in another order
    np.testing.assert_allclose(loaded_features(f"{name}/1", inputs, old.folder / "runs"), features, **close)
    old("pull", f"{name}/1", "--to", f"pulled/{name}")
    pulled = old.folder / "pulled" / name
    np.testing.assert_allclose(loaded_features(pulled, inputs, old.folder / "runs"), features, **close)
    program = torch.export.load(pulled / "program.pt2").module()
    np.testing.assert_allclose(program(torch.from_numpy(inputs)).detach().numpy(), features, **close)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_its_study_is_continued(old):
    """Trials that had ended stay as they are, the third goes on from its checkpoint, the fourth is new; the best of all
    is registered and compared with the champion that was there."""
    kept = {item["name"]: item for item in json.loads(old("models", "--json"))}
    before, now, then = trial_facts(old, "old"), continued(old), json.loads(ENDED.read_text())
    assert now["trials"][:2] == before[:2]
    assert now["trials"][2]["params"] == before[2]["params"]
    assert now["trials"][2]["metrics"][:1] == before[2]["metrics"]
    for mine, theirs in zip(now["trials"], then["trials"], strict=True):
        assert (mine["params"], mine["seed"], mine["epochs"]) == (theirs["params"], theirs["seed"], theirs["epochs"])
        assert [line["epoch"] for line in mine["metrics"]] == [line["epoch"] for line in theirs["metrics"]]
    if environment_facts() == then["environment"]:
        assert now == {key: value for key, value in then.items() if key != "environment"}
    for item in json.loads(old("models", "--json")):
        if item["version"] == 1:
            known = kept[item["name"]]["events"]
            assert item["events"][: len(known)] == known
        else:
            assert item["decision"]["incumbent"] == 1
