"""One run: a row with a seed, trained on a pack, looked at on validation objects and, when asked, on the test split.

<out>/<row>-<seed>/config.json, metrics.jsonl, encoders/<output>/     as `splatsweep train` writes
<out>/<row>-<seed>/costs.json                                         CPU seconds of stages and of training
<out>/<row>-<seed>/test-<output>-<draw seed>.json                     report of the probing task
"""

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.pretexts.rows import Row
from ssl_core.config import Config, override
from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.evaluation.extract import FeatureCache
from ssl_core.evaluation.protocol import LabelSetting
from ssl_core.evaluation.sections.all_sections import NO_SECTIONS
from ssl_core.evaluation.task import probing
from ssl_core.evaluation.task_contract import Context
from ssl_core.evaluation.tasks.probing_report import EvaluationConfig
from ssl_core.files.whole import atomic_write
from ssl_core.models.bundle import load_bundle, read_card
from ssl_core.recipes import preset_named
from ssl_core.recipes.recipe_source import recipe_source
from ssl_core.training.session import train_single
from ssl_core.training.stages import Stages


class Costs(Config):
    """CPU seconds of one process and one thread."""

    opening: float
    """stages, where this run was the first that needed them, and the trial's data"""
    training: float


@dataclass(frozen=True)
class Run:
    """A row with a seed. Paths are absolute or relative to the working folder."""

    row: Row
    seed: int
    pack: Path
    out: Path
    draw_seed: int

    @property
    def folder(self) -> Path:
        """Of what it leaves behind."""
        return self.out / f"{re.sub(r'[^a-z0-9]+', '_', self.row.name.lower()).strip('_')}-{self.seed}"


def train(run: Run) -> str:
    """Train it, unless that was done; what validation says."""
    torch.set_num_threads(1)
    if not (run.folder / "costs.json").is_file():
        recipe = recipe_source(run.row.recipe).load()
        config = override(preset_named(recipe, "quick"), run.row.values)
        data = ObjectPack.open(run.pack)
        began = time.process_time()
        session = Stages(recipe, run.out / "derived").open(config, data, run.seed)
        opened = time.process_time()
        train_single(session, run.folder, lambda *_: None, config=config.to_json(), lineage={"recipe": recipe.name})
        costs = Costs(opening=opened - began, training=time.process_time() - opened)
        with atomic_write(run.folder / "costs.json") as stream:
            stream.write(costs.to_json().encode())
    last = json.loads((run.folder / "metrics.jsonl").read_text().splitlines()[-1])
    shown = {name.removeprefix("val/"): value for name, value in last.items() if re.fullmatch(r"val/.*probe", name)}
    return "  ".join(f"{name} {100 * value:.1f}" for name, value in sorted(shown.items()))


def evaluate(run: Run) -> str:
    """Its encoders on the test split, unless that was done."""
    torch.set_num_threads(1)
    data, told = ObjectPack.open(run.pack), []
    for folder in sorted((run.folder / "encoders").iterdir()):
        target = run.folder / f"test-{folder.name}-{run.draw_seed}.json"
        if not target.is_file():
            card = read_card(folder)
            context = Context(
                cache=FeatureCache(run.out / "features"), identity=f"{run.folder.name} {folder.name} {card.digest()}"
            )
            found = probing(load_bundle(folder), card.card, data, protocol(run.draw_seed), context)
            with atomic_write(target) as stream:
                stream.write(found.report.to_json().encode())
        told.append(f"{folder.name} done")
    return ", ".join(told)


def protocol(draw_seed: int) -> EvaluationConfig:
    """Five labels per class and all labels, no sections."""
    return EvaluationConfig(
        draw_seed=draw_seed,
        label_settings=(LabelSetting(per_class=5, draws=10), LabelSetting()),
        probes=("svm", "knn"),
        pooling=("max",),
        sections=NO_SECTIONS,
    )
