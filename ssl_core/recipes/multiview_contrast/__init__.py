"""Self-supervised learning with multi-view rendering: see README.md in this folder."""

from collections.abc import Mapping
from pathlib import Path

from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.evaluation.few_shot import FewShotConfig, few_shot
from ssl_core.models.cards import ImageEncoderCard, PointEncoderCard
from ssl_core.recipes.multiview_contrast.config import MultiviewContrastConfig, paper, quick
from ssl_core.recipes.multiview_contrast.pairs import PAIRS
from ssl_core.recipes.multiview_contrast.points_alone import PointsAloneTrial
from ssl_core.recipes.multiview_contrast.points_trial import check
from ssl_core.recipes.multiview_contrast.teacher import TEACHER, has_views
from ssl_core.recipes.multiview_contrast.teacher_maps import MAPS
from ssl_core.recipes.multiview_contrast.trial import MultiviewContrastTrial
from ssl_core.training.config import choose_device
from ssl_core.training.contract import Output, Recipe, Score, Trial
from ssl_core.training.session import TrainedSession, trained


def _open(config: MultiviewContrastConfig, pack: ObjectPack, stages: Mapping[str, Path], seed: int) -> TrainedSession:
    device = choose_device(config.training.device)
    trial: Trial
    if has_views(config, pack):
        local = (stages[PAIRS.name], stages[MAPS.name]) if config.loss.local_weight > 0 else None
        trial = MultiviewContrastTrial(config, pack, stages[TEACHER.name], seed, device, local)
    else:
        trial = PointsAloneTrial(config, pack, seed, device)
    return trained(trial, config, MULTIVIEW_CONTRAST, pack, seed)


class TeacherViewsProbe(FewShotConfig):
    """Of images, over other views than those that are evenly spaced over an object's."""

    teacher_views: int


def _points_probe(config: MultiviewContrastConfig) -> FewShotConfig:
    return few_shot(config.validation)


def _image_probe(config: MultiviewContrastConfig) -> FewShotConfig:
    probe, seen = few_shot(config.validation), config.teacher.views
    return probe if seen % probe.views == 0 else TeacherViewsProbe(**probe.model_dump(), teacher_views=seen)


MULTIVIEW_CONTRAST = Recipe(
    name="multiview_contrast",
    title="Self-supervised learning with multi-view rendering",
    config=MultiviewContrastConfig,
    presets={"quick": quick, "paper": paper},
    reads=ObjectPack,
    outputs=(
        Output("points", PointEncoderCard, Score(metric="val/points_probe")),
        Output("image", ImageEncoderCard, Score(metric="val/image_probe"), when=has_views),
    ),
    check=check,
    open=_open,
    measures={"val/points_probe": _points_probe, "val/image_probe": _image_probe, "val/probe": _image_probe},
    stages=(TEACHER, PAIRS, MAPS),
)
