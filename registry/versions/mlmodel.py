"""A model as MLflow sees it: an `MLmodel` file with flavours, signature and input example.

`splatsweep` is our own flavour: weights are safetensors, the program is a `torch.export` file. `python_function` is
MLflow's: `mlflow models serve` and `mlflow.pyfunc.load_model` run `program.pt2` through the loader in `code/`, which
needs torch and numpy. There is no pickle; what is run is that one file, whose digest stands on the version.
"""

import json
import platform
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np

from ssl_core.models.cards import Card

EXAMPLE = "input_example.json"
REQUIREMENTS, PYTHON_ENV, LOADER = "requirements.txt", "python_env.yaml", "splatsweep_encoder"
SERVING_FILES = ("MLmodel", EXAMPLE, REQUIREMENTS, PYTHON_ENV, f"code/{LOADER}.py")
"""What MLflow needs beside the bundle to show and serve it."""


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
    onnx = {"onnx": "encoder.onnx"} if (folder / "encoder.onnx").exists() else {}
    model.add_flavor(
        "splatsweep",
        weights="encoder.safetensors",
        card="encoder.json",
        program="program.pt2",
        data=card.kind,
        **onnx,
    )
    model.add_flavor(
        "python_function",
        loader_module=LOADER,
        code="code",
        data="program.pt2",
        env={"virtualenv": PYTHON_ENV},
        python_version=platform.python_version(),
    )
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
