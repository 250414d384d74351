"""Cross-modal learning on Gaussian splats: see README.md in this folder."""

from collections.abc import Mapping
from pathlib import Path

from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.evaluation.few_shot import few_shot
from ssl_core.models.cards import ImageEncoderCard, PointEncoderCard
from ssl_core.recipes.cross_modal.config import CrossModalConfig, paper, paper_pointnet2, quick
from ssl_core.recipes.cross_modal.trial import CrossModalTrial, check
from ssl_core.training.config import choose_device
from ssl_core.training.contract import Output, Recipe, Score
from ssl_core.training.session import TrainedSession, trained


def _open(config: CrossModalConfig, pack: ObjectPack, stages: Mapping[str, Path], seed: int) -> TrainedSession:
    trial = CrossModalTrial(config, pack, seed, choose_device(config.training.device))
    return trained(trial, config, CROSS_MODAL, pack, seed)


CROSS_MODAL = Recipe(
    name="cross_modal",
    title="Cross-modal learning on Gaussian splats",
    config=CrossModalConfig,
    presets={"quick": quick, "paper": paper, "paper_pointnet2": paper_pointnet2},
    reads=ObjectPack,
    outputs=(
        Output("points", PointEncoderCard, Score(metric="val/points_probe")),
        Output("image", ImageEncoderCard, Score(metric="val/image_probe")),
    ),
    check=check,
    open=_open,
    measures=dict.fromkeys(
        ("val/points_probe", "val/image_probe", "val/probe"), lambda config: few_shot(config.validation)
    ),
)
