"""Clouds from single images: rows of image_to_points on test objects of each class, over seeds.

    python -m benchmarks.clouds_from_images --pack runs/packs/objects --out runs/clouds.jsonl --classes chair sofa \\
        --seeds 0 1 2 --mirror '{"sofa": "y", "table": "xy"}' cc nn no_cycle true_poses
    python -m benchmarks.clouds_from_images --out runs/clouds.jsonl --table

`cc`: `quick()`, as many epochs as make `--steps`; `nn`: that model trained on beside silhouettes of its neighbours;
`no_cycle`: without the geometric cycle; `true_poses`: the pack's cameras (an upper line). Clouds are symmetric in the
coordinates of `--mirror`, or x; a seed is that of the shape of all images, too. Each trial appends one line; those that
are there are not run again. Best and worst test objects are drawn beside each trained model, under `--root`.
"""

import argparse
import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measured_rows import MeasuredRows, Row
from ssl_core.config import override, short_digest
from ssl_core.data.object_pack import Pack
from ssl_core.data.single_views import objects_of
from ssl_core.evaluation.statistics import paired_bootstrap
from ssl_core.evaluation.tasks.reconstructing import evaluate_reconstructor
from ssl_core.evaluation.tasks.reconstruction_report import ReconstructionConfig
from ssl_core.models.bundle import WEIGHTS, load_bundle, read_card
from ssl_core.models.reconstruction_cards import ReconstructorCard
from ssl_core.models.weights_file import file_sha256
from ssl_core.recipes.image_to_points import IMAGE_TO_POINTS
from ssl_core.recipes.image_to_points.config import ImageToPointsConfig
from ssl_core.training.stages import Stages

ROWS = ("cc", "nn", "no_cycle", "true_poses")
STEPS = 600
_NEIGHBOURS_SHARE = 1 / 3
"""of the steps of cc are made on from there"""
CONSTANT = ("mean_shape", "medoid_shape", "untrained_network")


def values_of(row: str, given: Row, before: Path) -> dict[str, Any]:
    """Of a row's config. before: bundles of the cc row of the same class and seed."""
    match row:
        case "no_cycle":
            return {"loss.cycle": 0.0}
        case "true_poses":
            return {"poses.source": "true_pose"}
        case "nn":
            folder, pose = before / "reconstructor", before / "pose"
            sha256 = file_sha256(folder / WEIGHTS)
            start = {"kind": "bundle", "folder": str(folder), "sha256": sha256, "pose_folder": str(pose)}
            return {
                "start": {**start, "pose_sha256": file_sha256(pose / WEIGHTS)},
                "neighbours.source": {"kind": "bundle", "folder": str(folder), "sha256": sha256},
                "training.optimizer.lr": 5e-4,
            }
        case _:
            return {}


def measured(pack: Pack, given: Row, root: Path) -> dict[str, Any]:
    """Train one trial, judge its best epoch on test objects."""
    settings = short_digest(json.dumps([given["set"], given["steps"], given["mirror"].get(given["class"])]))
    place = root / "clouds" / f"{given['class']}-{given['seed']}-{settings}"
    own = {
        "data.classes": [given["class"]],
        "networks.mirror": given["mirror"].get(given["class"], "x"),
        "template.seed": given["seed"],
        **values_of(given["row"], given, place / "cc"),
        **given["set"],
    }
    config = override(IMAGE_TO_POINTS.presets["quick"](), own)
    assert isinstance(config, ImageToPointsConfig)
    steps = round(given["steps"] * (_NEIGHBOURS_SHARE if given["row"] == "nn" else 1))
    in_epoch = max(1, len(objects_of(pack, "fit", [given["class"]])) // config.training.batch_size)
    config = override(config, {"training.epochs": math.ceil(steps / in_epoch)})
    began = time.process_time()
    session = Stages(IMAGE_TO_POINTS, root / "derived").open(config, pack, given["seed"])
    for _ in range(session.epochs):
        metrics = session.run_epoch()
    spent = time.process_time() - began
    bundle = session.export(place / given["row"], {})["reconstructor"]
    card = read_card(bundle).card
    assert isinstance(card, ReconstructorCard)
    found = evaluate_reconstructor(load_bundle(bundle), card, pack, ReconstructionConfig(twin_seeds=(0,), shown=4))
    report = found.report
    for name, picture in found.pictures.items():
        (bundle.parent / name).write_bytes(picture)
    baseline = report.baseline
    assert report.deciding is not None
    told = {name: round(value, 5) for name, value in metrics.items() if name.startswith("val/")}
    return {
        **given,
        "scores": report.deciding.values[0],
        "baseline": {"name": report.baseline_name, "scores": None if baseline is None else baseline.values[0]},
        "metrics": report.metrics(),
        "val": told,
        "train_cpu_seconds": round(spent, 1),
    }


def table(lines: Sequence[Row]) -> str:
    """As markdown: CD-L2 x 1000 on test objects, each seed's and the mean, and 95 % intervals over objects. Rows are
    set beside cc on the seeds that both have."""
    found = [
        "| class | row | seeds | distance | better than the strongest baseline by | better than cc by |",
        "|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(map(_group, lines)):
        mine = [line for line in lines if _group(line) == name]
        metrics, constant = mine[0]["metrics"], np.array(mine[0]["baseline"]["scores"])
        for constant_name in CONSTANT:
            told, distance = constant_name.replace("_", " "), metrics[f"reconstruction/{constant_name}/cd_l2"]
            strongest = " (strongest)" if told == mine[0]["baseline"]["name"] else ""
            found.append(f"| {name} | {told}{strongest} | | {1000 * distance:.1f} | | |")
        scores = {row: _scores(mine, row) for row in ROWS if any(line["row"] == row for line in mine)}
        for row, values in scores.items():
            each = "/".join(f"{-1000 * one.mean():.1f}" for one in values.values())
            both = [seed for seed in values if row != "cc" and seed in scores.get("cc", {})]
            mean = _mean(values, values)
            beside = _gain(_mean(values, both), _mean(scores["cc"], both)) if both else ""
            found.append(
                f"| {name} | {row} | {each} | {-1000 * mean.mean():.1f} | {_gain(mean, constant)} | {beside} |"
            )
    return "\n".join(found)


def _group(line: Row) -> str:
    """The class, and what is not as by default."""
    own = {**line["set"], **({"steps": line["steps"]} if line["steps"] != STEPS else {})}
    return " ".join([line["class"], *([json.dumps(own)] if own else [])])


def _scores(lines: Sequence[Row], row: str) -> dict[int, np.ndarray]:
    """[objects] of each seed."""
    return {line["seed"]: np.array(line["scores"]) for line in lines if line["row"] == row}


def _mean(values: Mapping[int, np.ndarray], seeds: Iterable[int]) -> np.ndarray:
    return np.mean([values[seed] for seed in seeds], axis=0)


def _gain(ours: np.ndarray, theirs: np.ndarray) -> str:
    found = paired_bootstrap(ours, theirs)
    return f"{1000 * found.mean:+.1f} ({1000 * found.low:+.1f} to {1000 * found.high:+.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []])  # none at all is checked, too
    parser.add_argument("--pack", type=Path, help="of objects with masks, cameras and points")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--root", type=Path, default=Path("runs"), help="for stages and trained models")
    parser.add_argument("--classes", nargs="+", default=[])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--mirror", type=json.loads, default={}, help="coordinates of a class's symmetry, as JSON")
    parser.add_argument("--steps", type=int, default=STEPS, help="of training, whatever the number of objects")
    parser.add_argument("--set", type=json.loads, default={}, help="further keys of the config, as JSON")
    parser.add_argument("--table", action="store_true", help="print what is there as a table")
    given = parser.parse_args()
    torch.set_num_threads(1)
    there = MeasuredRows(given.out)
    if given.table:
        print(table(there.rows))
        return
    if given.pack is None:
        parser.error("--pack names the objects' pack; --table alone needs none")
    pack = Pack.open(given.pack)
    for seed in given.seeds:
        for name in given.classes:
            for row in given.rows:
                asked = {"row": row, "class": name, "seed": seed, "mirror": given.mirror, "set": given.set}
                asked["steps"] = given.steps
                if there.has(asked):
                    continue
                found = measured(pack, asked, given.root)
                there.add(found)
                print(name, row, seed, found["val"], f"{found['train_cpu_seconds']} s", flush=True)
                print("   ", {k: v for k, v in found["metrics"].items() if k.endswith("cd_l2")}, flush=True)


if __name__ == "__main__":
    main()
