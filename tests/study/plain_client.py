"""Encoders registered by somebody who has MLflow and nothing of ours; and small bundles for it."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from ssl_core.contracts import PointsContract
from ssl_core.evaluation.fine_tune import FineTuningConfig
from ssl_core.evaluation.fine_tuning_plan import FineTuningSettings
from ssl_core.evaluation.protocol import LabelSetting
from ssl_core.evaluation.sections.all_sections import NO_SECTIONS
from ssl_core.evaluation.tasks.probing_report import EvaluationConfig
from ssl_core.models.bundle import save_bundle
from ssl_core.models.cards import encoder_card
from ssl_core.models.pointnet import PointNetConfig

NAME = "cross-modal-points"
PROTOCOL = EvaluationConfig(
    label_settings=(LabelSetting(per_class=2, draws=3), LabelSetting()),
    probes=("svm",),
    point_draws=1,
    baselines=(),
    sections=NO_SECTIONS,
)
TUNING = FineTuningSettings(
    label_settings=(LabelSetting(per_class=2, draws=2),),
    seeds=(0,),
    training=FineTuningConfig(epochs=2, batch_size=8, test_draws=1),
    min_steps=1,
)
CONTRACT = PointsContract(num_points=64)
BACKBONE = PointNetConfig(input_transform=False, feature_transform=False, feature_dim=32)


def first_bundle(folder: Path) -> Path:
    """A bundle of an untrained encoder."""
    card = encoder_card(CONTRACT, BACKBONE)
    encoder = card.build(0)
    save_bundle(encoder, card, folder, name="tiny", lineage={})
    return folder


def another_bundle(first: Path, folder: Path, seed: int) -> Path:
    """A copy with other weights and true checksums; its program, which takes seconds to make, stays the first one's."""
    shutil.copytree(first, folder)
    weights = encoder_card(CONTRACT, BACKBONE).build(seed).state_dict()
    safetensors.torch.save_file(
        {key: value.contiguous() for key, value in weights.items()}, folder / "encoder.safetensors"
    )
    return with_checksums(folder)


def with_checksums(folder: Path) -> Path:
    """Make the checksums true."""
    names = ("encoder.json", "program.pt2", "encoder.safetensors")
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    (folder / "checksums.json").write_text(json.dumps(sums))
    return folder


def register(client: Any, folder: Path, name: str = NAME, kind: str | None = "encoder", **tags: str) -> str:
    """`name/version` of files registered with two calls of MLflow's client."""
    if name not in {model.name for model in client.search_registered_models()}:
        client.create_registered_model(name, {"splatsweep.kind": kind} if kind else None)
    tags = {f"splatsweep.{key}": value for key, value in tags.items()}
    return f"{name}/{client.create_model_version(name, str(folder), tags=tags).version}"


def edit_card(folder: Path, **changes: Any) -> Path:
    """Change encoder.json; the checksums are made true again."""
    bundle = json.loads((folder / "encoder.json").read_text())
    for key, value in changes.items():
        outer, _, inner = key.partition("__")
        (bundle["card"][outer] if inner else bundle)[inner or outer] = value
    (folder / "encoder.json").write_text(json.dumps(bundle))
    return with_checksums(folder)


def spoil_weights(folder: Path) -> Path:
    """One NaN."""
    state = safetensors.torch.load_file(folder / "encoder.safetensors")
    name = next(key for key, value in state.items() if value.is_floating_point())
    state[name].view(-1)[0] = torch.nan
    safetensors.torch.save_file(state, folder / "encoder.safetensors")
    return with_checksums(folder)
