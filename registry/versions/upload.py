"""A bundle's files into an MLflow logged model, with what MLflow needs to show and to serve them."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from registry.tracking.run_log import RunLog
from registry.versions.mlmodel import SERVING_FILES, write_mlmodel
from registry.versions.model_card import render_card
from registry.versions.records import PREFIX, Lineage
from ssl_core.config import parse_json
from ssl_core.models.bundle import CARD, CHECKSUMS, ONNX, PROGRAM, WEIGHTS, read_card

BUNDLE_FILES = (WEIGHTS, CARD, PROGRAM, CHECKSUMS)
"""Every bundle has them."""
OPTIONAL_FILES = (ONNX,)
"""A bundle may have them; then its checksums say so."""
CARD_FILE, RECEIPT_FILE = "model_card.md", "receipt.json"


class Uploaded(NamedTuple):
    """Where a version's files are.

    Args:
        model_id: MLflow's logged model.
        location: of its artifacts.
        serving: sha256 of each of `SERVING_FILES`. Those of the bundle stand in its checksums.json.
    """

    model_id: str
    location: str
    serving: dict[str, str]


def upload(
    run_log: RunLog, bundle: Path, name: str, lineage: Lineage, run_id: str, receipt: Mapping[str, float] | None
) -> Uploaded:
    """Put the files of a checked bundle into a new logged model of the run.

    MLflow's exceptions pass through.
    """
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
        serving = {file: file_digest(folder / file) for file in SERVING_FILES}
        client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    return Uploaded(str(model.model_id), str(model.artifact_location), serving)


def listed_files(bundle: Path) -> tuple[str, ...]:
    """Which of `OPTIONAL_FILES` a bundle has, by its checksums."""
    listed = parse_json((bundle / CHECKSUMS).read_text(encoding="utf-8"))
    return tuple(file for file in OPTIONAL_FILES if file in listed)


def file_digest(path: Path) -> str:
    """sha256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
