"""Labels on scenes: each variant and loss of label_3dgs against truth, beside its teacher, at equal iterations.

    python -m benchmarks.label_fields --pack runs/packs/rooms --out runs/labels.jsonl --scenes room_002 room_006 \\
        --seeds 0 1 2 --iterations 400 shipped logits vote feature_speed_up
    python -m benchmarks.label_fields --out runs/labels.jsonl --table

Each trial appends one line; those that are there are not run again. `--set` gives further settings as JSON, such as
`{"labelled_views": 4, "teacher.source": {"kind": "oracle", "noise": 0, "dilation": 0}}`.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measured_rows import MeasuredRows, Row
from ssl_core.config import override
from ssl_core.data.scene_pack import ScenePack
from ssl_core.evaluation.statistics import bootstrap_mean
from ssl_core.evaluation.tasks.scene_field import evaluate_field
from ssl_core.evaluation.tasks.scene_field_report import TEACHER, SceneFieldConfig
from ssl_core.models.bundle import load_bundle, read_card
from ssl_core.models.field_card import SceneFieldCard
from ssl_core.recipes.label_3dgs import LABEL_3DGS
from ssl_core.training.stages import Stages

ROWS: Mapping[str, Mapping[str, Any]] = {
    "shipped": {"loss.kind": "ce_on_softmax"},
    "logits": {"loss.kind": "ce_logits"},
    "probabilities": {"loss.kind": "nll_of_blended_probs"},
    "focal": {"loss.kind": "focal"},
    "vote_start": {"variant": {"kind": "label", "start": "teacher_vote"}},
    "vote": {"variant": {"kind": "vote"}},
    "feature_full": {"variant": {"kind": "feature", "speed_up": False}},
    "feature_speed_up": {"variant": {"kind": "feature"}},
}

MEANS = ("miou", "teacher_miou", "bytes_per_gaussian", "seconds_per_iteration")


def measured(pack: ScenePack, asked: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """Fit one trial to its last iteration and judge it. CPU seconds of one thread."""
    iterations = asked["iterations"]
    length = {"fit.iterations": iterations, "chunk": iterations, "teacher.scene": asked["scene"]}
    config = override(LABEL_3DGS.presets["quick"](), {**ROWS[asked["row"]], **length, **asked["set"]})
    session = Stages(LABEL_3DGS, root / "derived").open(config, pack, asked["seed"])
    began = time.process_time()
    session.run_epoch()
    spent = time.process_time() - began
    place = session.export(root / "fields" / f"{asked['scene']}-{asked['row']}-{asked['seed']}", {})["field"]
    card = read_card(place).card
    assert isinstance(card, SceneFieldCard)
    report = evaluate_field(load_bundle(place), card, pack, SceneFieldConfig(twin_seeds=(0,))).report
    teacher = next((row for row in report.rows if row.name == TEACHER), None)
    return {
        **asked,
        "miou": report.rows[0].miou,
        "accuracy": report.rows[0].accuracy,
        "teacher_miou": None if teacher is None else teacher.miou,
        "agreement": report.agreement,
        "psnr": report.metrics()["scene_field/psnr"],
        "gaussians": report.gaussians,
        "bytes_per_gaussian": report.bytes_per_gaussian,
        "seconds_per_iteration": spent / iterations,
    }


def table(lines: Sequence[Row]) -> str:
    """As markdown: a row for each variant and settings, means over fields, the worst field's gain over its teacher, and
    the difference from `logits` over the fields that both have, with a 95 % interval over those."""
    groups: dict[str, dict[tuple[str, int], Row]] = {}
    for line in lines:
        name = " ".join([line["row"], *([json.dumps(line["set"])] if line["set"] else [])])
        groups.setdefault(name, {})[line["scene"], line["seed"]] = line
    plain = groups.get("logits", {})
    heads = "| labels | fields | mIoU | teacher | over it, least | beside logits | bytes a Gaussian | s an iteration |"
    found = [heads, "|---|---|---|---|---|---|---|---|"]
    for name, fields in groups.items():
        means = {key: np.mean([line[key] or 0 for line in fields.values()]) for key in MEANS}
        over = [line["miou"] - (line["teacher_miou"] or 0) for line in fields.values()]
        pairs = [line["miou"] - plain[place]["miou"] for place, line in fields.items() if place in plain]
        apart = bootstrap_mean(np.array(pairs)) if pairs and fields is not plain else None
        beside = "" if apart is None else f"{apart.mean:+.1%} ({apart.low:+.1%} to {apart.high:+.1%})"
        found.append(
            f"| {name} | {len(fields)} | {means['miou']:.1%} | {means['teacher_miou']:.1%} | {np.mean(over):+.1%}, "
            f"{min(over):+.1%} | {beside} | {means['bytes_per_gaussian']:.0f} | {means['seconds_per_iteration']:.4f} |"
        )
    return "\n".join(found)


def main() -> None:
    """Run what is asked for and is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenes", nargs="+", default=[])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--iterations", type=int, default=400)
    parser.add_argument("--set", type=json.loads, default={})
    parser.add_argument("--table", action="store_true", help="print what is there as a table")
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []])  # none at all is checked, too
    given = parser.parse_args()
    torch.set_num_threads(1)
    there = MeasuredRows(given.out)
    if given.table:
        print(table(there.rows))
        return
    if given.pack is None:
        parser.error("--pack names the scenes' pack; --table alone needs none")
    pack = ScenePack.open(given.pack)
    for scene in given.scenes:
        for seed in given.seeds:
            for row in given.rows:
                asked = {"row": row, "scene": scene, "seed": seed, "iterations": given.iterations, "set": given.set}
                if there.has(asked):
                    continue
                found = measured(pack, asked, given.out.parent)
                print(json.dumps(found), flush=True)
                there.add(found)


if __name__ == "__main__":
    main()
