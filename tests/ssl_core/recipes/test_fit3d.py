"""The recipe fit3d: what is lifted and rendered, what is trained towards it, and the controls that have to be null."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ssl_core.config import override
from ssl_core.data.scene_pack import ScenePack, ScenePackConfig
from ssl_core.errors import ConfigError, InfeasibleError
from ssl_core.evaluation.dense_data import token_maps, views_of
from ssl_core.evaluation.view_consistency import agreement, shared_points
from ssl_core.models.dense_encoder import DenseEncoder
from ssl_core.packing.scene_writer import write_scene_pack
from ssl_core.recipes.fit3d import FIT3D
from ssl_core.recipes.fit3d.config import Fit3dConfig, LiftConfig, OptimisedLift
from ssl_core.recipes.fit3d.lift_stage import LIFT, LiftTargets, lift_views
from ssl_core.recipes.fit3d.original_network import input_size, original_network
from ssl_core.recipes.fit3d.scene_lift import SceneViews, at_size, lifted
from ssl_core.recipes.fit3d.trial import Fit3dTrial
from ssl_core.training.session import TrainedSession
from ssl_core.training.stages import Stages
from tests.small_rooms import small_rooms
from tests.small_sets import write_scene

torch.set_num_threads(1)
pytest.importorskip("timm")
CPU = torch.device("cpu")
SMALL: dict[str, Any] = {
    "backbone": {"kind": "vit", "patch": 4, "channels": 16, "depth": 2, "heads": 2, "steps": 0},
    "views.side": 32,
    "lift.geometry.iterations": 8,
    "probe.steps": 5,
    "probe.bins": 4,
    "tuning.head_hidden": 8,
    "training.batch_size": 4,
}


def config(**values: object) -> Fit3dConfig:
    found = override(FIT3D.presets["quick"](), {**SMALL, **values})
    assert isinstance(found, Fit3dConfig)
    return found


@pytest.fixture
def pack(room_pack: ScenePack) -> ScenePack:
    return room_pack


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of derived work; what is made once is shared."""
    return tmp_path_factory.mktemp("derived")


def targets(pack: ScenePack, root: Path, **values: object) -> LiftTargets:
    return LiftTargets.of(Stages(FIT3D, root).made(config(**values), pack)[LIFT.name], pack)


def trial(pack: ScenePack, root: Path, **values: object) -> Fit3dTrial:
    chosen = config(**values)
    original = original_network(chosen.backbone, pack, chosen.views.side, root, CPU)
    return Fit3dTrial(chosen, pack, targets(pack, root, **values), original, 0, CPU)


def test_rendered_features_agree_over_views_where_the_network_s_do_not(pack: ScenePack, root: Path) -> None:
    found = targets(pack, root)
    assert np.array_equal(found.views, lift_views(pack))
    assert not set(found.views.tolist()) & set(views_of(pack, "test").tolist())
    views = views_of(pack, "train")
    rendered, weights = found.of_views(views)
    assert rendered.shape == (8, 16, 8, 8)
    assert 0 <= float(weights.min()) <= float(weights.max()) <= 1
    assert bool((rendered.abs().amax(dim=1)[weights == 0] == 0).all())
    chosen = config()
    original, card = original_network(chosen.backbone, pack, 32, root, CPU)
    before = token_maps(original, pack, views, (card.height, card.width)).original
    shared = shared_points(pack, views)
    mine, theirs = agreement(rendered, shared), agreement(before, shared)
    assert mine is not None
    assert theirs is not None
    assert mine.same - mine.other > theirs.same - theirs.other + 0.1


def test_a_closed_form_of_constant_features_gives_them_back(pack: ScenePack, root: Path) -> None:
    views = views_of(pack, "train")
    tokens = torch.tensor([1.0, -2.0, 3.0])[:, None, None].expand(len(views), 3, 8, 8)
    scene = lifted(SceneViews(pack, 0, views, tokens), config().lift, root)
    told, weight = scene.target(pack.camera(int(views[0])), (8, 8))
    seen = weight > 0
    assert bool(seen.any())
    wanted = torch.tensor([1.0, -2.0, 3.0])[:, None].expand(-1, int(seen.sum()))
    torch.testing.assert_close(told[:, seen], wanted, rtol=1e-3, atol=1e-3)


def test_the_geometry_of_a_scene_is_fitted_once_for_all_networks(pack: ScenePack, root: Path) -> None:
    targets(pack, root)
    before = sorted(place.name for place in root.glob("fit3d-geometry-*") if place.is_dir())
    assert len(before) == 2  # of training and validation
    targets(pack, root, backbone={**SMALL["backbone"], "channels": 8})
    assert sorted(place.name for place in root.glob("fit3d-geometry-*") if place.is_dir()) == before


@pytest.mark.slow
def test_the_optimised_lift_learns_the_features_and_moves_no_gaussian(pack: ScenePack, root: Path) -> None:
    views = views_of(pack, "train")
    tokens = torch.randn(1, 6, 1, 1).expand(len(views), 6, 8, 8) + 1
    lift = OptimisedLift(low_dim=4, kernel=1)
    geometry = config().lift.geometry.model_copy(
        update={"iterations": 60, "channel_travel": 6.0, "decoder_travel": 6.0}
    )
    scene = lifted(SceneViews(pack, 0, views, tokens), LiftConfig(geometry=geometry, lift=lift), root)
    plain = lifted(SceneViews(pack, 0, views, tokens), LiftConfig(geometry=geometry), root)
    for name, tensor in plain.tensors().items():
        assert name == "features" or torch.equal(tensor, scene.tensors()[name]), name
    told, weight = scene.target(pack.camera(int(views[0])), (8, 8))
    error = ((told - tokens[0]).abs() * (weight > 0.5)).mean()
    assert float(error) < 0.7 * float((tokens[0].abs() * (weight > 0.5)).mean())


def test_an_identity_target_is_the_network_itself_and_teaches_nothing(pack: ScenePack, root: Path) -> None:
    one = trial(pack, root, **{"lift.target": "identity", "tuning.hflip": 0.0})
    (batch, *_) = one.batches(0)
    loss = one.losses(batch)["fine"].total
    assert float(loss.detach()) < 2e-3  # targets are of half precision
    assert one.held_out.metrics(one._models["dense"])["val/lift_loss"] < 2e-3


def test_a_wrong_scene_s_targets_are_others(pack: ScenePack, root: Path) -> None:
    right, wrong = (targets(pack, root, **{"lift.target": kind}) for kind in ("lift", "wrong_scene"))
    assert np.array_equal(right.views, wrong.views)
    assert np.abs(right.targets.astype(np.float32) - wrong.targets).mean() > 0.01


@pytest.mark.parametrize("trainable", ["all", "last_k", "lora", "head"])
def test_steps_move_what_is_trained_and_nothing_else(pack: ScenePack, root: Path, trainable) -> None:
    one = trial(pack, root, **{"tuning.trainable": trainable, "tuning.last_k": 1})
    frozen = {name: value.clone() for name, value in one.original.state_dict().items()}
    before = {name: value.clone() for name, value in one.fine.state_dict().items()}
    moved = {name for name, p in one.fine.named_parameters() if p.requires_grad}
    assert len(moved) == len(one.parameters()["fine"][0].parameters)
    optimiser = torch.optim.SGD(one.parameters()["fine"][0].parameters, lr=0.1)
    one.fine.train()
    losses = []
    for epoch in range(2):
        for batch in one.batches(epoch):
            loss = one.losses(batch)["fine"].total
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert all(torch.equal(value, frozen[name]) for name, value in one.original.state_dict().items())
    for name, value in one.fine.state_dict().items():
        assert name in moved or torch.equal(value, before[name]), name
    if trainable == "last_k":
        assert all(".blocks.1." in name or ".norm." in name for name in moved)


def test_pictures_and_targets_are_mirrored_together(pack: ScenePack, root: Path) -> None:
    plain, mirrored = (trial(pack, root, **{"tuning.hflip": share}) for share in (0.0, 1.0))
    for one, other in zip(plain.batches(3), mirrored.batches(3), strict=True):
        for name in ("images", "targets", "weights"):
            assert torch.equal(one[name].flip(-1), other[name]), name


def test_the_same_epoch_has_the_same_batches(pack: ScenePack, root: Path) -> None:
    one = trial(pack, root)
    for first, again in zip(one.batches(1), one.batches(1), strict=True):
        assert all(torch.equal(first[name], again[name]) for name in first)


def test_validation_scenes_are_asked_about_by_probes_of_others(pack: ScenePack, root: Path) -> None:
    one = trial(pack, root)
    metrics = one.validate()
    assert metrics["val/fine_probe"] == metrics["val/original_probe"]  # before any step
    assert metrics["val/gain"] == pytest.approx(metrics["val/dense_probe"] - metrics["val/original_probe"])
    folds = one.held_out._folds
    assert all(not (fit & asked).any() and (fit | asked).all() for fit, asked in folds)
    assert sum(asked.sum() for _, asked in folds) == 8


def test_a_camera_of_another_size_sees_the_same(pack: ScenePack) -> None:
    camera = pack.camera(0)
    other = at_size(camera, (16, 64))
    point = np.array([0.2, 0.3, 2.0])
    for mine, theirs, factor in ((camera, other, np.array([2.0, 0.5])),):
        seen, small = mine.K @ point, theirs.K @ point
        np.testing.assert_allclose(small[:2] / small[2], factor * seen[:2] / seen[2])
    assert (other.height, other.width) == (16, 64)
    assert input_size(config().backbone, pack, 34) == (32, 32)


def test_what_a_pack_cannot_serve_is_said_before_anything_is_made(pack: ScenePack, tmp_path: Path) -> None:
    bare = write_scene_pack(write_scene(tmp_path / "scene"), tmp_path / "pack", ScenePackConfig(holdout=4))
    with pytest.raises(InfeasibleError, match="neither labels nor depth"):
        FIT3D.check(config(), bare)
    with pytest.raises(InfeasibleError, match="several scenes"):
        FIT3D.check(config(**{"lift.target": "wrong_scene"}), single(pack))
    with pytest.raises(ConfigError, match="assembly 'fine' is the output"):
        config(assembly="fine")
    made = targets(pack, tmp_path / "derived")
    assert len(made.views) == 16
    (folder,) = (tmp_path / "derived").glob("fit3d-lift-*/")
    with pytest.raises(ConfigError, match="give it its own stage"):
        LiftTargets.of(folder, bare)


def single(pack: ScenePack) -> ScenePack:
    """The same views as if they were of one scene with validation views."""

    class One:
        path, classes, scenes = pack.path, pack.classes, pack.scenes[:1]

        def views(self, split: str | None = None, scene: int | None = None) -> np.ndarray:
            return np.arange(4)

        def scenes_of(self, split: str) -> tuple[int, ...]:
            return (0,) if split == "train" else ()

    return One()  # type: ignore[return-value]


@pytest.mark.slow
def test_fine_tuned_tokens_come_nearer_to_the_scene_and_agree_better_in_rooms_never_seen(tmp_path: Path) -> None:
    """FiT3D's aim, on rooms that nothing was trained on: spec of the loss and of the agreement of views."""
    rooms = small_rooms(tmp_path, rooms=8, views=12, image_size=48)
    values = {"views.side": 48, "lift.geometry.iterations": 40, "tuning.trainable": "all", "probe.steps": 2}
    values["backbone"] = {**SMALL["backbone"], "patch": 8, "channels": 48, "steps": 150}
    chosen = config(**values, **{"training.epochs": 12, "training.optimizer.lr": 1e-3})
    session = Stages(FIT3D, tmp_path / "derived").open(chosen, rooms, 0)
    assert isinstance(session, TrainedSession)
    before = session.untrained()["val/lift_loss"]
    for _ in range(session.epochs):
        after = session.run_epoch()["val/lift_loss"]
    assert after < 0.9 * before
    encoder = session.trial.models()["dense"][0]
    assert isinstance(encoder, DenseEncoder)
    views = views_of(rooms, "test")
    tokens, shared = token_maps(encoder, rooms, views, (48, 48)), shared_points(rooms, views)
    assert tokens.fine is not None
    original, fine = agreement(tokens.original, shared), agreement(tokens.fine, shared)
    assert original is not None
    assert fine is not None
    # features of two points that have nothing to do with each other come nearer, too: the map gets smoother
    assert fine.same > original.same
