"""One encoder, five forms: live, weights, program, ONNX, MLflow's pyfunc. Without this project they agree to 1e-5."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from registry.versions.upload import write_mlmodel
from ssl_core.models.bundle import add_onnx, save_bundle
from ssl_core.models.cards import Card, PointEncoderCard
from ssl_core.models.onnx_export import missing_libraries
from ssl_core.models.readout import ReadoutConfig
from ssl_core.recipes.multiview_contrast import MULTIVIEW_CONTRAST
from tests.contracts import encoders as kit
from tests.contracts.cards import CARDS

torch.set_num_threads(1)
QUICK = ("multiview-contrast-points", "reconstructor")


def distilled_points() -> PointEncoderCard:
    """What `multiview_contrast` registers of its quick preset: the backbone under its head, which predicts 1280."""
    config = MULTIVIEW_CONTRAST.presets["quick"]()
    readout = ReadoutConfig(hidden=config.heads.hidden, output=1280, parts=config.heads.points)
    return PointEncoderCard(contract=config.points, backbone=config.point_backbone, readout=readout)


CHILD = r'''
import importlib.util, json, sys

folder, names, extra = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
sys.path[:] = [path for path in sys.path if path] + extra


class NotHere:
    """This project does not exist in this process."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("ssl_core", "registry", "study", "search_spaces"):
            raise ModuleNotFoundError(name)
        return None


sys.meta_path.insert(0, NotHere())
import mlflow.pyfunc, numpy as np, torch
from safetensors.torch import load_file

torch.set_num_threads(1)
ort = __import__("onnxruntime") if importlib.util.find_spec("onnxruntime") else None
worst = {}
for name in names:
    place = f"{folder}/{name}"
    program = torch.export.load(f"{place}/program.pt2")
    weights = load_file(f"{place}/encoder.safetensors")
    held = {key: value for key, value in program.state_dict.items()}
    assert all(torch.equal(held[key], weights[key]) for key in held), f"{name}: program and safetensors differ"
    served = mlflow.pyfunc.load_model(place, suppress_warnings=True)
    session = None
    if ort is not None:
        session = ort.InferenceSession(f"{place}/encoder.onnx", providers=["CPUExecutionProvider"])
    data = load_file(f"{place}/pairs.safetensors")
    differences = {}
    for batch in sorted(key[1:] for key in data if key.startswith("x")):
        x, y = data[f"x{batch}"], data[f"y{batch}"]
        with torch.no_grad():
            answers = {"program": program.module()(x), "pyfunc": torch.from_numpy(served.predict(x.numpy()))}
        if session is not None:
            answers["onnx"] = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])
        for kind, got in answers.items():
            assert got.shape == y.shape and got.dtype == torch.float32, (name, kind, got.shape, got.dtype)
            # stricter than check_onnx: relative to 1 + each feature. These encoders' are small enough for float32
            differences.setdefault(kind, []).append(((got - y).abs() / (1 + y.abs())).max().item())
    worst[name] = {kind: max(found) for kind, found in differences.items()}
assert not [module for module in sys.modules if module.startswith(("ssl_core", "registry"))]
print(json.dumps(worst))
'''


def make(card: Card, folder: Path) -> None:
    """A bundle as it is registered, with inputs and the live model's answers beside it."""
    module = card.build(seed=5).train()
    with torch.no_grad():
        module(card.example(4))  # moves the running statistics
        save_bundle(module, card, folder, name=folder.name, lineage={})
        if not missing_libraries():
            add_onnx(folder)
        write_mlmodel(folder, card, model_id="m-0", run_id="0" * 32)
        module.eval()
        pairs = {f"x{batch}": card.example(batch) for batch in kit.BATCHES}
        pairs |= {f"y{batch}": module(card.example(batch)) for batch in kit.BATCHES}
    safetensors.torch.save_file(pairs, folder / "pairs.safetensors")


def differences_without_the_project(folder: Path, names: list[str]) -> dict[str, dict[str, float]]:
    """In a fresh interpreter, from another folder, where none of our packages can be imported."""
    # onnxruntime may be installed elsewhere than the rest
    extra = [path for path in sys.path if path.endswith("site") or "onnx" in path]
    command = [sys.executable, "-I", "-c", CHILD, str(folder), json.dumps(names), json.dumps(extra)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("quick", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["quick", "all"])
def test_every_form_gives_the_same_features(quick: bool, tmp_path: Path) -> None:
    known = (
        CARDS | {"multiview-contrast-points": distilled_points()} | {case.name: case.card for case in kit.AS_IMPORTED}
    )
    cards = {name: card for name, card in known.items() if not quick or name in QUICK}
    for name, card in cards.items():
        make(card, tmp_path / name)
    found = differences_without_the_project(tmp_path, list(cards))
    assert found.keys() == cards.keys()
    forms = {"program", "pyfunc"} | (set() if missing_libraries() else {"onnx"})
    for name, differences in found.items():
        assert differences.keys() == forms, name
        assert max(differences.values()) <= 1e-5, f"{name}: {differences}"
