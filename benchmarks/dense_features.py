"""What fine-tuning to lifted features gives to dense probes: rows of the task on test scenes, over seeds of training.

    python -m benchmarks.dense_features --pack runs/packs/rooms --out runs/dense.jsonl \\
        --backbone '{"kind": "efficientnet_lite0", "stride": 16}' --seeds 0 1 2 head lora last_k all lift

Each trial appends one line; those that are there are not run again. `lift` renders the lifted features of test scenes,
too, and probes those: what fine-tuning could reach at best. `identity` and `wrong_scene` are controls of `all`.
"""

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measured_rows import MeasuredRows
from ssl_core.config import override
from ssl_core.data.scene_pack import ScenePack
from ssl_core.evaluation.dense_answers import DenseTruth, probed
from ssl_core.evaluation.dense_data import scene_of, token_maps, views_of
from ssl_core.evaluation.dense_gains import depth_gain, iou_gain
from ssl_core.evaluation.tasks.dense_probing import evaluate_dense
from ssl_core.evaluation.tasks.dense_report import DenseProbingConfig
from ssl_core.recipes.fit3d import FIT3D
from ssl_core.recipes.fit3d.config import Fit3dConfig
from ssl_core.recipes.fit3d.lift_stage import LIFT, LiftTargets
from ssl_core.recipes.fit3d.original_network import original_network
from ssl_core.recipes.fit3d.scene_lift import SceneViews, lifted
from ssl_core.training.session import TrainedSession
from ssl_core.training.stages import Stages

CONTROLS = ("identity", "wrong_scene")
RATES = {"head": 1e-3, "lora": 1e-3, "last_k": 3e-4, "all": 3e-4}


def config_of(row: str, given: Mapping[str, Any]) -> Fit3dConfig:
    """Of a row's trial: `quick()` with what is given."""
    trainable = "all" if row in CONTROLS else row
    own = {"tuning.trainable": trainable, "training.optimizer.lr": RATES[trainable]}
    target = {"lift.target": row} if row in CONTROLS else {}
    found = override(FIT3D.presets["quick"](), {**own, **target, **given})
    assert isinstance(found, Fit3dConfig)
    return found


def trained_row(row: str, seed: int, pack: ScenePack, root: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Train one trial and judge its best state."""
    config, began = config_of(row, given), time.process_time()
    session = Stages(FIT3D, root).open(config, pack, seed)
    assert isinstance(session, TrainedSession)
    for _ in range(session.epochs):
        metrics = session.run_epoch()
    spent = time.process_time() - began
    models = session.trial.models()
    best = session.best.applied_to({name: module for name, (module, _) in models.items()})
    report = evaluate_dense(best["dense"], models["dense"][1], pack, asked()).report
    rows = [json.loads(each.to_json()) for each in report.rows]
    told = {name: round(value, 5) for name, value in metrics.items() if name.startswith("val/")}
    return {"rows": rows, "val": told, "best": session.best.values, "train_cpu_seconds": round(spent, 1)}


def lift_row(pack: ScenePack, root: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Probes of the rendered features of validation and test scenes, beside the original tokens of the same views."""
    config, cpu = config_of("head", given), torch.device("cpu")
    stage = Stages(FIT3D, root).made(config, pack)[LIFT.name]
    original, card = original_network(config.backbone, pack, config.views.side, root, cpu)
    fit, test = views_of(pack, "val"), views_of(pack, "test")
    views, size = np.concatenate((fit, test)), (card.height, card.width)
    tokens = token_maps(original, pack, views, size)
    rendered = [LiftTargets.of(stage, pack).of_views(fit)[0]]
    for scene in pack.scenes_of("test"):
        mine = test[scene_of(pack, test) == scene]
        seen = tokens.original[torch.from_numpy(np.isin(views, mine))]
        field = lifted(SceneViews(pack, scene, mine, seen), config.lift, root)
        rendered.append(torch.stack([field.target(pack.camera(view), tokens.grid)[0] for view in mine.tolist()]))
    probe = asked()
    truth = DenseTruth(pack, views, tokens.grid, probe.probe.finer)
    chosen = np.arange(len(views)) < len(fit), np.arange(len(views)) >= len(fit)
    parts = {"original": tokens.original, "lift": torch.cat(rendered)}
    answers = {k: probed((v, tokens.whole), truth, chosen, probe.probe, probe.probe_seeds) for k, v in parts.items()}
    scenes = scene_of(pack, test)
    gains = [gain(answers["lift"], answers["original"], scenes, probe.confidence) for gain in (iou_gain, depth_gain)]
    return {
        **{name: answer.metrics() for name, answer in answers.items()},
        "gains": [None if each is None else json.loads(each.to_json()) for each in gains],
    }


def asked() -> DenseProbingConfig:
    """As the gate asks."""
    return DenseProbingConfig()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="+", choices=[*RATES, *CONTROLS, "lift"])
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--derived", type=Path, default=Path("runs/derived"))
    parser.add_argument("--backbone", type=json.loads, default={"kind": "efficientnet_lite0"})
    parser.add_argument("--set", type=json.loads, default={}, help="further keys of the config, as JSON")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    given = parser.parse_args()
    torch.set_num_threads(1)
    pack, values = ScenePack.open(given.pack), {"backbone": given.backbone, **given.set}
    there = MeasuredRows(given.out)
    for row in given.rows:
        for seed in given.seeds if row != "lift" else given.seeds[:1]:
            asked_for = {"row": row, "seed": seed, "values": values}
            if there.has(asked_for):
                continue
            measure = lift_row(pack, given.derived, values) if row == "lift" else None
            found = measure or trained_row(row, seed, pack, given.derived, values)
            there.add({**asked_for, **found})
            print(row, seed, {k: v for k, v in found.items() if k != "rows"}, flush=True)
            for each in found.get("rows", ()):
                print("   ", each["name"], each["metrics"].get("miou"), each["miou_gain"], flush=True)


if __name__ == "__main__":
    main()
