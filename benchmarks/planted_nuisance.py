"""A control whose headroom is known: what fine-tuning to lifted features gives back of a nuisance that was planted.

    python -m benchmarks.planted_nuisance --pack runs/packs/rooms --out runs/planted.jsonl --seeds 0 1 2 3 4

A fixed random field is added to the tokens of a small vision transformer, one vector for each place of the picture.
Views that see the same point see another vector there, so lifting averages it away, while no linear probe of the tokens
can. Asked is at least half of the gap between probes of the transformer without and with it. Probes of validation
scenes, each asked about once with probes of the others, after the last epoch.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.measured_rows import MeasuredRows
from ssl_core.config import override
from ssl_core.data.scene_pack import ScenePack
from ssl_core.evaluation.dense_data import scene_of, token_maps
from ssl_core.models.dense_encoder import DenseEncoder
from ssl_core.models.dense_networks import DenseNetwork
from ssl_core.recipes.fit3d import FIT3D
from ssl_core.recipes.fit3d.config import Fit3dConfig
from ssl_core.recipes.fit3d.lift_stage import LiftTargets, lift_views
from ssl_core.recipes.fit3d.original_network import original_network
from ssl_core.recipes.fit3d.scene_lift import SceneViews, lifted
from ssl_core.recipes.fit3d.trial import Fit3dTrial
from ssl_core.training.loop import train_epoch
from ssl_core.training.session import trained

STRENGTH = 3.0
"""of the field, in standard deviations of each channel"""
SETTINGS: Mapping[str, Any] = {
    "backbone": {"kind": "vit", "channels": 128, "steps": 500, "batch": 16, "lr": 2e-3},
    "training.optimizer.lr": 2e-3,
    "training.epochs": 24,
}


class PlantedNuisance(DenseNetwork):
    """A network's tokens plus a field [D, h, w]."""

    def __init__(self, inner: DenseNetwork, field: Tensor) -> None:
        super().__init__()
        self.inner, self.network, self.multiple = inner, inner.network, inner.multiple
        self.register_buffer("field", field)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        tokens, whole = self.inner(images)
        return tokens + self.get_buffer("field"), whole

    def blocks(self) -> list[torch.nn.Module]:
        return self.inner.blocks()


def planted_row(
    pack: ScenePack, root: Path, config: Fit3dConfig, seed: int, strength: float
) -> dict[str, float | None]:
    """mIoU of probes, and the share of the gap that fine-tuning gave back: None where the nuisance costs nothing, as
    it tells places, too. The seed is the field's and training's."""
    cpu = torch.device("cpu")
    encoder, card = original_network(config.backbone, pack, config.views.side, root, cpu)
    views, size = lift_views(pack), (card.height, card.width)
    clean = token_maps(encoder, pack, views, size).original
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(clean.shape[1:], generator=generator)
    field = strength * clean.std(dim=(0, 2, 3))[:, None, None] * noise
    planted = DenseEncoder((card.mean, card.std), PlantedNuisance(encoder.original, field))
    planted = planted.eval().requires_grad_(False)
    targets = _lifted(pack, root, config, clean + field)
    without = Fit3dTrial(config, pack, targets, (encoder, card), seed, cpu)
    trial = Fit3dTrial(config, pack, targets, (planted, card), seed, cpu)
    nuisance_free = without.validate()["val/original_probe"]
    session = trained(trial, config, FIT3D, pack, seed)
    for epoch in range(session.epochs):
        train_epoch(session.training, trial.batches(epoch))
    metrics = trial.validate()
    original = metrics["val/original_probe"]
    gap = nuisance_free - original
    return {
        "nuisance_free": nuisance_free,
        "original": original,
        "lift": metrics["val/lift_probe"],
        "both": metrics["val/dense_probe"],
        "fine": metrics["val/fine_probe"],
        "recovered": (metrics["val/dense_probe"] - original) / gap if gap > 0 else None,
    }


def _lifted(pack: ScenePack, root: Path, config: Fit3dConfig, tokens: Tensor) -> LiftTargets:
    """As the stage `lift` makes them, of tokens [views, D, h, w] of all its views."""
    views = lift_views(pack)
    scenes = scene_of(pack, views)
    found, weights = [], []
    for scene in dict.fromkeys(scenes.tolist()):
        mine = scenes == scene
        field = lifted(SceneViews(pack, scene, views[mine], tokens[torch.from_numpy(mine)]), config.lift, root)
        for view in views[mine].tolist():
            target, weight = field.target(pack.camera(view), (tokens.shape[2], tokens.shape[3]))
            found.append(target)
            weights.append(weight)
    return LiftTargets(views, torch.stack(found).half().numpy(), torch.stack(weights).numpy())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--derived", type=Path, default=Path("runs/derived"))
    parser.add_argument("--strength", type=float, default=STRENGTH, help="of the field, in standard deviations")
    parser.add_argument("--set", type=json.loads, default={}, help="further keys of the config, as JSON")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    given = parser.parse_args()
    torch.set_num_threads(1)
    pack, there = ScenePack.open(given.pack), MeasuredRows(given.out)
    config = override(FIT3D.presets["quick"](), {**SETTINGS, **given.set})
    assert isinstance(config, Fit3dConfig)
    for seed in given.seeds:
        asked = {"seed": seed, "strength": given.strength, "set": given.set}
        if not there.has(asked):
            there.add({**asked, **planted_row(pack, given.derived, config, seed, given.strength)})
    rows = [row for row in there.rows if row["strength"] == given.strength and row["set"] == given.set]
    for row in rows:
        print({name: round(value, 4) for name, value in row.items() if isinstance(value, float)}, flush=True)
    shares = [row["recovered"] for row in rows if row["recovered"] is not None]
    if shares:
        print(f"recovered, mean over {len(shares)} of {len(rows)} seeds: {np.mean(shares):.3f}")


if __name__ == "__main__":
    main()
