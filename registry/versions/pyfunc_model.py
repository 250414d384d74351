"""The loader that travels with a registered encoder, so that MLflow serves it where this project is not installed.

MLflow imports this file as `splatsweep_encoder` from the model's `code/` folder; it needs torch and numpy. It checks
the program's sha256, loads `program.pt2` and answers batches. No pickle, no other file is read.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

BATCH = 32


class ServedEncoder:
    """`program.pt2` behind MLflow's `predict`."""

    def __init__(self, program: Path) -> None:
        sums = json.loads((program.parent / "checksums.json").read_text(encoding="utf-8"))
        with program.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != sums.get(program.name):
                raise ValueError(f"{program}: its sha256 is not the recorded one; pull the encoder again")
        self._encode = torch.export.load(program).module()

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> np.ndarray[Any, Any]:
        """Features [B, F] of prepared input [B, ...]: an array, or a dict with one (see the model's signature)."""
        if isinstance(model_input, dict):
            if len(model_input) != 1:
                raise ValueError(f"expected one input, got {sorted(model_input)}; see the model's signature")
            model_input = next(iter(model_input.values()))
        x = torch.from_numpy(np.ascontiguousarray(model_input, dtype=np.float32))
        if len(x) == 0:
            raise ValueError("expected at least one object, got none")
        with torch.inference_mode():
            features: np.ndarray[Any, Any] = torch.cat([self._encode(part) for part in x.split(BATCH)]).numpy()
        return features


def _load_pyfunc(data_path: str) -> ServedEncoder:
    """MLflow's way in; `data_path` is the program, as the MLmodel file says."""
    return ServedEncoder(Path(data_path))
