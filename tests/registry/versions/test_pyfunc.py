"""A registered encoder behind MLflow's own loaders: no pickle, the same features."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_bundles import POINTS

from registry.versions.fetching import pull
from registry.versions.pyfunc_model import ServedEncoder
from ssl_core.models.bundle import load_bundle

NAME = "cross-modal-points"


@pytest.fixture
def folder(store, bundles, lineage, trial, tmp_path) -> Path:
    store.register(bundles[0], NAME, lineage, trial)
    return pull(store, f"{NAME}/1", tmp_path / "pulled")


def expected(bundles, x: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return load_bundle(bundles[0])(torch.from_numpy(x)).numpy()


def test_mlflow_loads_it_and_checks_its_input(folder, bundles):
    import mlflow.pyfunc
    from mlflow.exceptions import MlflowException

    model = mlflow.pyfunc.load_model(str(folder))
    x = np.random.default_rng(0).normal(size=(40, POINTS.num_points, 3)).astype(np.float32)
    np.testing.assert_allclose(model.predict(x), expected(bundles, x), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model.predict({"points": x}), expected(bundles, x), rtol=1e-5, atol=1e-5)
    with pytest.raises(MlflowException, match="Shape of input"):
        model.predict(x[:, :, :2])
    assert np.asarray(model.input_example["points"]).shape == (1, 64, 3)


def test_nothing_in_it_is_a_pickle(folder):
    names = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert names == {
        *("encoder.safetensors", "encoder.json", "program.pt2", "checksums.json", "model_card.md"),
        *("MLmodel", "input_example.json", "requirements.txt", "python_env.yaml", "code/splatsweep_encoder.py"),
    }
    assert "pickle" not in (folder / "MLmodel").read_text()


def test_a_changed_program_is_not_served(folder):
    with (folder / "program.pt2").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match="sha256"):
        ServedEncoder(folder / "program.pt2")


def test_input_that_makes_no_sense(folder):
    served = ServedEncoder(folder / "program.pt2")
    with pytest.raises(ValueError, match=r"expected one input, got \['a', 'b'\]"):
        served.predict({"a": 1, "b": 2})
    with pytest.raises(ValueError, match="at least one object"):
        served.predict(np.zeros((0, POINTS.num_points, 3)))


@pytest.mark.slow
def test_mlflow_models_serve_answers_over_http(folder, bundles, tmp_path):
    """The server runs in a folder from which this project cannot be imported."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(folder), "--env-manager", "local"]
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # it starts uvicorn by name
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [*command, "-h", "127.0.0.1", "-p", str(port), "-w", "1"],
            cwd=tmp_path,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait(f"http://127.0.0.1:{port}/ping", server, tmp_path / "log")
        x = np.random.default_rng(1).normal(size=(3, POINTS.num_points, 3)).astype(np.float32)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            json.dumps({"inputs": {"points": x.tolist()}}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            features = np.array(json.load(answer)["predictions"])
        np.testing.assert_allclose(features, expected(bundles, x), rtol=1e-5, atol=1e-5)
    finally:
        os.killpg(server.pid, 9)
        server.wait()


def _wait(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            assert server.poll() is None, log.read_text()[-2000:]
            time.sleep(0.5)
    raise AssertionError(log.read_text()[-2000:])
