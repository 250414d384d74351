"""An encoder as MLflow sees it: an `MLmodel` file with flavour, signature and input example.

The flavour is our own (`splatsweep`): weights are safetensors, the program is a `torch.export` file. MLflow
shows the signature on the model's page; nothing in the file can make a reader run code.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from ssl_core.config import Config
from ssl_core.models.encoder import ImageContract, PointsContract

EXAMPLE = "input_example.json"


def input_shape(contract: PointsContract | ImageContract) -> tuple[int, ...]:
    """Shape of one input without the batch: [N, D] or [3, H, W]."""
    match contract:
        case PointsContract():
            return (contract.num_points, contract.columns)
        case ImageContract():
            return (3, contract.image_size, contract.image_size)


def write_mlmodel(
    folder: Path, contract: PointsContract | ImageContract, feature_dim: int, *, model_id: str, run_id: str
) -> None:
    """Write `MLmodel` and `input_example.json` (one object, values of the right range) into `folder`."""
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    shape = input_shape(contract)
    rng = np.random.default_rng(0)
    if isinstance(contract, ImageContract):
        example = rng.uniform(0, 1, (1, *shape))
    else:
        example = rng.uniform(-0.5, 0.5, (1, *shape))
    # three decimals: 2048 points × 54 columns would be 2 MB of digits otherwise
    (folder / EXAMPLE).write_text(json.dumps({contract.modality: np.round(example, 3).tolist()}, separators=(",", ":")))
    float32 = np.dtype(np.float32)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(float32, (-1, *shape), contract.modality)]),
        outputs=Schema([TensorSpec(float32, (-1, feature_dim), "features")]),
    )
    model = Model(
        artifact_path=f"models:/{model_id}",
        run_id=run_id,
        signature=signature,
        saved_input_example_info={"artifact_path": EXAMPLE, "type": "ndarray", "format": "tf-serving"},
        model_id=model_id,
        model_size_bytes=sum(file.stat().st_size for file in folder.iterdir() if file.is_file()),
    )
    model.add_flavor(
        "splatsweep",
        weights="encoder.safetensors",
        card="encoder.json",
        program="program.pt2",
        data=contract.modality,
    )
    model.save(str(folder / "MLmodel"))


def contract_params(contract: PointsContract | ImageContract, backbone: Config) -> dict[str, str]:
    """Contract and backbone as flat texts, for the parameters on the model's page."""
    flat: dict[str, Any] = {f"contract.{key}": value for key, value in contract.model_dump(mode="json").items()}
    flat |= {f"backbone.{key}": value for key, value in backbone.model_dump(mode="json").items()}
    return {key: _text(value) for key, value in flat.items()}


def _text(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return " + ".join(value)
    return value if isinstance(value, str) else json.dumps(value)
