"""FiT3D: fine-tuning a 2D network to features that were lifted to 3D; see README.md in this folder."""

from collections.abc import Mapping
from pathlib import Path

from ssl_core.data.scene_pack import ScenePack
from ssl_core.models.dense_cards import DenseEncoderCard
from ssl_core.recipes.fit3d.config import Fit3dConfig, paper, quick
from ssl_core.recipes.fit3d.lift_stage import LIFT, LiftTargets
from ssl_core.recipes.fit3d.original_network import original_network
from ssl_core.recipes.fit3d.trial import Fit3dTrial, check
from ssl_core.training.config import choose_device
from ssl_core.training.contract import Output, Recipe, Score
from ssl_core.training.session import TrainedSession, trained


def _open(config: Fit3dConfig, pack: ScenePack, stages: Mapping[str, Path], seed: int) -> TrainedSession:
    device, folder = choose_device(config.training.device), stages[LIFT.name]
    original = original_network(config.backbone, pack, config.views.side, folder.parent, device)
    trial = Fit3dTrial(config, pack, LiftTargets.of(folder, pack), original, seed, device)
    return trained(trial, config, FIT3D, pack, seed)


FIT3D = Recipe(
    name="fit3d",
    title="Improving 2D Feature Representations by 3D-Aware Fine-Tuning",
    config=Fit3dConfig,
    presets={"quick": quick, "paper": paper},
    reads=ScenePack,
    outputs=(
        Output("dense", DenseEncoderCard, Score(metric="val/dense_probe")),
        Output("fine", DenseEncoderCard, Score(metric="val/fine_probe")),
    ),
    check=check,
    open=_open,
    stages=(LIFT,),
)
