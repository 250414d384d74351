"""A bundle's files into an MLflow logged model, with what MLflow needs to show and to serve them.

The `MLmodel` file has two flavours. `splatsweep` is our own: weights are safetensors, the program is a `torch.export`
file. `python_function` is MLflow's: `mlflow models serve` and `mlflow.pyfunc.load_model` run `program.pt2` through the
loader in `code/`, which needs torch and numpy. There is no pickle; the digest of the one file that is run stands on the
version.
"""

import json
import platform
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np

from registry.tracking.run_log import RunLog
from registry.versions.model_card import render_card
from registry.versions.records import PREFIX, Lineage
from ssl_core.config import parse_json
from ssl_core.models.bundle import CARD, CHECKSUMS, ONNX, PROGRAM, WEIGHTS, read_card
from ssl_core.models.cards import Card
from ssl_core.models.weights_file import file_sha256

BUNDLE_FILES = (WEIGHTS, CARD, PROGRAM, CHECKSUMS)
"""Every bundle has them."""
OPTIONAL_FILES = (ONNX,)
"""A bundle may have them; then its checksums say so."""
CARD_FILE, RECEIPT_FILE, EXAMPLE = "model_card.md", "receipt.json", "input_example.json"
REQUIREMENTS, PYTHON_ENV, LOADER = "requirements.txt", "python_env.yaml", "splatsweep_encoder"
SERVING_FILES = ("MLmodel", EXAMPLE, REQUIREMENTS, PYTHON_ENV, f"code/{LOADER}.py")
"""What MLflow needs beside the bundle to show and serve it."""


class Uploaded(NamedTuple):
    """Where a version's files are."""

    model_id: str
    """of MLflow's logged model"""
    location: str
    """of its artifacts"""
    serving: dict[str, str]
    """sha256 of each of `SERVING_FILES`"""


def upload(
    run_log: RunLog, bundle: Path, name: str, lineage: Lineage, run_id: str, receipt: Mapping[str, float] | None
) -> Uploaded:
    """Put the files of a checked bundle into a new logged model of the run. MLflow's exceptions pass through."""
    from mlflow.entities import LoggedModelOutput

    card, client = read_card(bundle).card, run_log.client
    model = client.create_logged_model(
        run_log.connection.experiment_id,
        name=name,
        source_run_id=run_id,
        tags={**lineage.tags(), f"{PREFIX}kind": "encoder"},
        params=dict(card.settings()),
        model_type="encoder",
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for file in (*BUNDLE_FILES, *listed_files(bundle)):
            shutil.copyfile(bundle / file, folder / file)
        (folder / CARD_FILE).write_text(render_card(name, card, lineage), encoding="utf-8")
        if receipt is not None:
            (folder / RECEIPT_FILE).write_text(json.dumps(dict(receipt), indent=1, sort_keys=True))
        write_mlmodel(folder, card, model_id=model.model_id, run_id=run_id)
        serving = {file: file_sha256(folder / file) for file in SERVING_FILES}
        try:
            client.log_model_artifacts(model.model_id, str(folder))
        except Exception:
            with suppress(Exception):  # the first error is the one to hear of
                client.finalize_logged_model(model.model_id, "FAILED")
            raise
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    return Uploaded(str(model.model_id), str(model.artifact_location), serving)


def listed_files(bundle: Path) -> tuple[str, ...]:
    """Which of `OPTIONAL_FILES` a bundle has, by its checksums."""
    listed = parse_json((bundle / CHECKSUMS).read_text(encoding="utf-8"))
    return tuple(file for file in OPTIONAL_FILES if file in listed)


def write_mlmodel(folder: Path, card: Card, *, model_id: str, run_id: str) -> None:
    """Write `SERVING_FILES` into `folder`, which holds the bundle; the example is one input of plausible values."""
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    # three decimals: 2048 points × 54 columns would be 2 MB of digits otherwise
    example = card.example(1).double().numpy().round(3).tolist()
    (folder / EXAMPLE).write_text(json.dumps({card.input_name: example}, separators=(",", ":")))
    _write_environment(folder)
    float32 = np.dtype(np.float32)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(float32, (-1, *card.input_shape), card.input_name)]),
        outputs=Schema([TensorSpec(float32, (-1, *card.output_shape), card.output_name)]),
    )
    model = Model(
        artifact_path=f"models:/{model_id}",
        run_id=run_id,
        signature=signature,
        saved_input_example_info={"artifact_path": EXAMPLE, "type": "ndarray", "format": "tf-serving"},
        model_id=model_id,
        model_size_bytes=sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
    )
    onnx = {"onnx": ONNX} if (folder / ONNX).exists() else {}
    model.add_flavor("splatsweep", weights=WEIGHTS, card=CARD, program=PROGRAM, data=card.kind, **onnx)
    env, python = {"virtualenv": PYTHON_ENV}, platform.python_version()
    model.add_flavor("python_function", loader_module=LOADER, code="code", data=PROGRAM, env=env, python_version=python)
    model.save(str(folder / "MLmodel"))


def _write_environment(folder: Path) -> None:
    """The loader, and what `mlflow models serve` installs when it makes an environment of its own."""
    (folder / "code").mkdir()
    shutil.copyfile(Path(__file__).with_name("pyfunc_model.py"), folder / "code" / f"{LOADER}.py")
    # without the build (+cpu): what runs a program is the release
    needed = [f"{name}=={version(name).partition('+')[0]}" for name in ("mlflow", "numpy", "torch")]
    (folder / REQUIREMENTS).write_text("\n".join(needed) + "\n", encoding="utf-8")
    lines = [f'python: "{platform.python_version()}"', "dependencies:", f"- -r {REQUIREMENTS}"]
    (folder / PYTHON_ENV).write_text("\n".join(lines) + "\n", encoding="utf-8")
