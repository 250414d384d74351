"""One run: a row with a seed, trained on a pack, looked at on validation objects and, when asked, on the test split.

<out>/<row>-<seed>/config.json, metrics.jsonl, encoders/<output>/     as `splatsweep train` writes
<out>/<row>-<seed>/costs.json                                         CPU seconds of stages and of training
<out>/<row>-<seed>/test-<output>-<draw seed>.json                     report of the probing task
<out>/<row>-<seed>/tuned-<output>-<draw seed>.json                    rows of fine-tuning and of training from scratch
"""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.pretexts.rows import Row
from ssl_core.config import Config, override
from ssl_core.contracts import PointsContract
from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.evaluation.extract import FeatureCache
from ssl_core.evaluation.features import FeatureSource
from ssl_core.evaluation.fine_tune import FineTuningConfig, fine_tune
from ssl_core.evaluation.fine_tuning_plan import FineTuningSettings
from ssl_core.evaluation.protocol import LabelSetting
from ssl_core.evaluation.report import Report
from ssl_core.evaluation.sections.all_sections import NO_SECTIONS
from ssl_core.evaluation.supervised_data import supervised_data
from ssl_core.evaluation.task import parse_report, probing
from ssl_core.evaluation.task_contract import Context
from ssl_core.evaluation.tasks.fine_tuned import fine_tuned, fine_tuning_words, with_fine_tuning
from ssl_core.evaluation.tasks.probing_report import EvaluationConfig
from ssl_core.files.whole import atomic_write
from ssl_core.models.bundle import WEIGHTS, load_bundle, read_card, save_bundle
from ssl_core.models.cards import Card, ImageEncoderCard, PointEncoderCard
from ssl_core.models.pointnet import PointNetConfig
from ssl_core.models.weights_file import file_sha256
from ssl_core.recipes import preset_named
from ssl_core.recipes.recipe_source import recipe_source
from ssl_core.training.session import train_single
from ssl_core.training.stages import Stages


class Costs(Config):
    """CPU seconds of one process and one thread."""

    opening: float
    """stages, where this run was the first that needed them, and the trial's data"""
    training: float


_ALL_VIEWS = 1000


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
    if run.row.recipe == "supervised":
        return train_supervised(run)
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


def train_supervised(run: Run) -> str:
    """The same network from scratch with every label of the training split: what labels alone would give."""
    folder = run.folder / "encoders" / "points"
    if not folder.is_dir():
        data, features = ObjectPack.open(run.pack), run.row.values
        contract = PointsContract(
            features=tuple(features["points.features"]), num_points=features["points.num_points"], sampling="uniform"
        )
        backbone = PointNetConfig(input_transform=False, feature_transform=False)
        card = PointEncoderCard(contract=contract, backbone=backbone)
        train, test = data.objects("train"), data.objects("test")
        config, began = FineTuningConfig().from_scratch(), time.process_time()
        source = FeatureSource(data, np.concatenate([train, test]), card, protocol(run.draw_seed))
        batches = supervised_data(source, train, test, config, run.seed)
        shape = card.output_shape[0], len(data.manifest.class_names)
        found = fine_tune(card.build(run.seed), shape, batches, config, run.seed)
        save_bundle(found.encoder.eval(), card, folder, name="supervised-points", lineage={})
        costs = Costs(opening=0, training=time.process_time() - began)
        with atomic_write(run.folder / "costs.json") as stream:
            stream.write(costs.to_json().encode())
        (run.folder / "metrics.jsonl").write_text("{}\n")
    return "trained"


def evaluate(run: Run) -> str:
    """Its encoders on the test split, unless that was done."""

    def measured(folder: Path, card: Card, data: ObjectPack, context: Context) -> Report:
        return probing(load_bundle(folder), card, data, _asked(card, run.draw_seed), context).report

    return ", ".join(f"{folder.name} done" for folder in _reported(run, "test", measured))


def tune(run: Run) -> str:
    """Its encoders fine-tuned on the test split's labels, beside training from scratch, unless that was done."""

    def measured(folder: Path, card: Card, data: ObjectPack, context: Context) -> Report:
        asked = with_fine_tuning(_asked(card, run.draw_seed), FINE_TUNING)
        before = parse_report((run.folder / f"test-{folder.name}-{run.draw_seed}.json").read_bytes())
        assert asked is not None, "encoders can be fine-tuned"
        return fine_tuned(load_bundle(folder), card, data, asked, context, before).report

    reports = _reported(run, "tuned", measured)
    return ", ".join(
        f"{folder.name} {fine_tuning_words(parse_report(reports[folder].read_bytes()))}" for folder in reports
    )


def _reported(run: Run, what: str, measured: Callable[[Path, Card, ObjectPack, Context], Report]) -> dict[Path, Path]:
    """Bundle of each output -> the file of its report, which is measured where it is not there."""
    torch.set_num_threads(1)
    data, found = ObjectPack.open(run.pack), dict[Path, Path]()
    for folder in [run.folder / "encoders" / output for output in run.row.outputs]:
        found[folder] = run.folder / f"{what}-{folder.name}-{run.draw_seed}.json"
        if not found[folder].is_file():
            context = Context(cache=FeatureCache(run.out / "features"), identity=file_sha256(folder / WEIGHTS))
            report = measured(folder, read_card(folder).card, data, context)
            with atomic_write(found[folder]) as stream:
                stream.write(report.to_json().encode())
    return found


FINE_TUNING = FineTuningSettings(label_settings=(LabelSetting(per_class=5, draws=5), LabelSetting()), seeds=(0, 1))


def _asked(card: Card, draw_seed: int) -> EvaluationConfig:
    """All views alone of images; over a frozen network that network alone, as its random twins are no match for it."""
    config = protocol(draw_seed)
    match card:
        case ImageEncoderCard(frozen_backbone=True):
            return config.model_copy(update={"baselines": ("frozen_networks",), "views": (_ALL_VIEWS,)})
        case ImageEncoderCard():
            return config.model_copy(update={"views": (_ALL_VIEWS,)})
        case _:
            return config


def protocol(draw_seed: int) -> EvaluationConfig:
    """Five labels per class and all labels, no sections."""
    return EvaluationConfig(
        draw_seed=draw_seed,
        label_settings=(LabelSetting(per_class=5, draws=10), LabelSetting()),
        probes=("svm", "one_scale_svm", "knn"),
        pooling=("max",),
        sections=NO_SECTIONS,
    )
