"""From image collections to point clouds: see README.md in this folder."""

from collections.abc import Mapping
from pathlib import Path

from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.evaluation.few_shot import FewShotConfig, few_shot
from ssl_core.models.cards import ImageEncoderCard
from ssl_core.models.reconstruction_cards import PoseEstimatorCard, ReconstructorCard
from ssl_core.recipes.image_to_points.config import ImageToPointsConfig, paper, quick
from ssl_core.recipes.image_to_points.held_out import several_classes
from ssl_core.recipes.image_to_points.silhouette_neighbours import NEIGHBOURS
from ssl_core.recipes.image_to_points.template_poses import TEMPLATE
from ssl_core.recipes.image_to_points.trial import ImageToPointsTrial, check
from ssl_core.training.config import choose_device
from ssl_core.training.contract import Output, Recipe, Score
from ssl_core.training.session import TrainedSession, trained


def _open(config: ImageToPointsConfig, pack: ObjectPack, stages: Mapping[str, Path], seed: int) -> TrainedSession:
    device = choose_device(config.training.device)
    trial = ImageToPointsTrial(config, pack, stages, seed, device)
    return trained(trial, config, IMAGE_TO_POINTS, pack, seed)


def has_cameras(config: ImageToPointsConfig, pack: ObjectPack) -> bool:
    """Whether poses can be measured; who cannot measure a pose estimator should not register it."""
    return len(pack.views) > 0 and pack.camera(0) is not None


def has_classes(config: ImageToPointsConfig, pack: ObjectPack) -> bool:
    """Whether features can tell anything apart: of one class every probe is right, whoever answers."""
    return several_classes(pack)


def _image_probe(config: ImageToPointsConfig) -> FewShotConfig:
    return few_shot(config.validation)


_CHAMFER = Score(metric="val/chamfer", direction="minimize")
"""Of all three outputs: they are exported of one epoch, so that clouds and poses are of one frame, and every pack has
it, while a probe needs two classes."""

IMAGE_TO_POINTS = Recipe(
    name="image_to_points",
    title="From Image Collections to Point Clouds with Self-supervised Shape and Pose Networks",
    config=ImageToPointsConfig,
    presets={"quick": quick, "paper": paper},
    reads=ObjectPack,
    outputs=(
        Output("reconstructor", ReconstructorCard, _CHAMFER),
        Output("image", ImageEncoderCard, _CHAMFER, when=has_classes),
        Output("pose", PoseEstimatorCard, _CHAMFER, when=has_cameras),
    ),
    check=check,
    open=_open,
    measures={"val/image_probe": _image_probe},
    stages=(NEIGHBOURS, TEMPLATE),
)
