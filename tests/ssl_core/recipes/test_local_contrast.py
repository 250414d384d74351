"""Local contrast of points and pixels: its stages against plain loops, its loss, its gradients, what is refused."""

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from ssl_core.config import override
from ssl_core.config_roles import role
from ssl_core.data.object_pack import Pack, PackConfig
from ssl_core.errors import ConfigError, InfeasibleError, SplatsweepError
from ssl_core.evaluation.extract import spaced_views
from ssl_core.meshes.household import HouseholdConfig
from ssl_core.models.bundle import load_bundle
from ssl_core.models.teachers import build_teacher
from ssl_core.packing.pack_writer import write_pack
from ssl_core.recipes.multiview_contrast import MULTIVIEW_CONTRAST
from ssl_core.recipes.multiview_contrast.config import MultiviewContrastConfig, quick
from ssl_core.recipes.multiview_contrast.pairs import PAIRS, VisiblePairs
from ssl_core.recipes.multiview_contrast.points_trial import check
from ssl_core.recipes.multiview_contrast.teacher_maps import TeacherMaps
from ssl_core.recipes.multiview_contrast.trial import MultiviewContrastTrial
from ssl_core.render.gaussian_depth import Ellipsoids, depth_map
from ssl_core.splatting.household_set import write_household
from ssl_core.training.stages import Stages
from tests.reference.pairs import plain_projection

torch.set_num_threads(1)
SMALL = {
    "points.num_points": 96,
    "heads.hidden": 32,
    "teacher.network.image_size": 64,
    "teacher.views": 5,
    "training.batch_size": 10,
    "training.epochs": 2,
    "validation.label_draws": 2,
    "validation.point_draws": 1,
    "validation.labels_per_class": 1,
    "loss.local_weight": 0.5,
    "pairs.per_object": 48,
    "pairs.feature_dim": 32,
}


def small(**values: object) -> MultiviewContrastConfig:
    return override(quick(), {**SMALL, **values})


def household(root: Path, **values: int) -> Pack:
    """A pack of the household set with cameras."""
    settings = {"train_per_class": 3, "test_per_class": 1, "views": 6, "image_size": 32, "gaussians": 300, **values}
    write_household(root / "set", HouseholdConfig(**settings))
    config = PackConfig(cached_points=128, starts=2, val_fraction=0.34)
    return write_pack(root / "set" / "points", root / "set" / "images", root / "pack", config)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return household(tmp_path_factory.mktemp("household"))


@pytest.fixture(scope="module")
def stages(pack: Pack) -> Mapping[str, Path]:
    return Stages(MULTIVIEW_CONTRAST, pack.path.parent / "derived").made(small(), pack)


def trial_of(pack: Pack, stages: Mapping[str, Path], **values: object) -> MultiviewContrastTrial:
    local = stages["pairs"], stages["maps"]
    return MultiviewContrastTrial(small(**values), pack, stages["teacher"], 0, torch.device("cpu"), local)


# ---- stages


def test_pairs_are_those_of_a_plain_loop_over_points(pack: Pack, stages: Mapping[str, Path]) -> None:
    found, train = VisiblePairs.of(stages["pairs"], pack, 5), pack.objects("train")
    views = spaced_views(pack, train, 5)
    for index in train[[0, 17]].tolist():
        first, count = int(pack.first_row[index]), int(pack.num_rows[index])
        rows = pack.gaussians[first : first + count].astype(np.float64)
        radius = np.quantile(np.linalg.norm(rows[:, :3] - np.median(rows[:, :3], axis=0), axis=1), 0.99)
        solid = rows[1 / (1 + np.exp(-rows[:, 3])) > 0.3]
        hiding = Ellipsoids.of_gaussians(solid[:, :3], solid[:, 4:7], solid[:, 7:11])
        everything = np.arange(count)[None]
        seen = found.seen(np.array([index]), everything)[0]
        for place, view in enumerate(views[found.row[index]].tolist()):
            camera = pack.camera(view)
            assert camera is not None
            depth, P = depth_map(hiding, camera, 2.0), camera.K @ camera.viewmat[:3]
            row, column = found.pixels(np.array([index]), everything, np.full((1, count), place))
            for point in range(count):
                x, y, z = plain_projection(P, rows[point, :3])
                inside = 0 <= x < 32 and 0 <= y < 32
                visible = inside and z <= depth[math.floor(y), math.floor(x)] + 0.03 * radius
                assert bool(seen[point, place]) == visible
                if visible:
                    assert (row[0, point], column[0, point]) == (math.floor(y), math.floor(x))
        np.testing.assert_array_equal(found.counts(index), seen.sum(axis=1))


def test_pixels_of_pairs_lie_on_the_object_that_the_pictures_show(pack: Pack, stages: Mapping[str, Path]) -> None:
    found, train = VisiblePairs.of(stages["pairs"], pack, 5), pack.objects("train")
    views, masks, hit, all_pairs = spaced_views(pack, train, 5), pack.masks, 0, 0
    assert masks is not None
    for index in train.tolist():
        everything = np.arange(int(pack.num_rows[index]))[None]
        solid = pack.gaussians[int(pack.first_row[index]) + everything[0], 3] > 0
        seen = found.seen(np.array([index]), everything)[0] & solid[:, None]
        for place, view in enumerate(views[found.row[index]].tolist()):
            row, column = found.pixels(np.array([index]), everything, np.full_like(everything, place))
            hit += int((masks[view][row[0], column[0]] > 0)[seen[:, place]].sum())
            all_pairs += int(seen[:, place].sum())
    assert hit > 0.95 * all_pairs, "but for silhouettes, where a pixel is covered in part"


def test_pixel_features_are_those_of_the_enlarged_map(pack: Pack, stages: Mapping[str, Path]) -> None:
    maps = TeacherMaps.of(stages["maps"], pack, 5)
    assert isinstance(maps.maps, np.memmap)
    assert maps.maps.dtype == np.float16
    assert maps.maps.shape[:4] == (30, 5, 4, 4)  # 64 pixels by stride 16
    objects, rng = pack.objects("fit")[:3], np.random.default_rng(0)
    views, row, column = rng.integers(0, 5, (3, 9)), rng.integers(0, 32, (3, 9)), rng.integers(0, 32, (3, 9))
    row[0, :2], column[0, :2] = (0, 31), (31, 31)
    found = maps.at(objects, views, (row, column), 32)
    raw = torch.from_numpy(np.array(maps.maps[maps.row[objects]], dtype=np.float32)).flatten(0, 1).permute(0, 3, 1, 2)
    large = F.interpolate(raw, size=(32, 32), mode="bilinear", align_corners=True).unflatten(0, (3, 5)).numpy()
    wanted = large[np.arange(3)[:, None], views, :, row, column]
    np.testing.assert_allclose(found, (wanted - maps.statistics[0]) / maps.statistics[1], atol=2e-4)
    over_fit = np.array(maps.maps[maps.row[pack.objects("fit")]], dtype=np.float64).reshape(-1, maps.dim)
    np.testing.assert_allclose(over_fit.mean(axis=0), maps.statistics[0], atol=2e-3)
    np.testing.assert_allclose(over_fit.std(axis=0), maps.statistics[1], rtol=2e-3)


def test_stages_are_made_where_local_contrast_is_asked_for_and_shared(pack: Pack, stages: Mapping[str, Path]) -> None:
    ours = Stages(MULTIVIEW_CONTRAST, pack.path.parent / "derived")
    assert stages.keys() == {"teacher", "pairs", "maps"}
    assert ours.made(small(**{"loss.local_weight": 0}), pack) == {"teacher": stages["teacher"]}
    assert ours.made(small(**{"pairs.sampler": "fps", "loss.local_temperature": 0.2}), pack) == dict(stages)
    assert ours.folder(PAIRS, small(**{"pairs.eps": 0.02}), pack) != stages["pairs"]
    balls = ours.made(small(**{"pairs.depth.kind": "balls"}), pack)
    assert balls["maps"] == stages["maps"]
    shares = [json.loads((one["pairs"] / "facts.json").read_text())["points_seen"] for one in (stages, balls)]
    assert all(0.5 < share < 1 for share in shares)
    assert role(MultiviewContrastConfig, "loss.local_weight") == "fixed"
    assert role(MultiviewContrastConfig, "loss.local_temperature") == "live"


# ---- training


def test_the_loss_starts_at_the_logarithm_of_its_rivals(pack: Pack, stages: Mapping[str, Path]) -> None:
    trial = trial_of(pack, stages)
    terms = trial.losses(next(iter(trial.batches(0))))["points"].terms
    assert float(terms["local"].detach()) == pytest.approx(math.log(2 * 48 - 1), rel=0.1)
    assert float(terms["pairs_repeated"]) == 0


@pytest.mark.parametrize("backbone", ["pointnet", "dgcnn"])
def test_local_contrast_reaches_the_points_and_the_projections(
    pack: Pack, stages: Mapping[str, Path], backbone: str
) -> None:
    values = {"loss.global_weight": 0, "loss.local_weight": 1, "point_backbone.kind": backbone}
    trial = trial_of(pack, stages, **values)
    trial.losses(next(iter(trial.batches(0))))["points"].total.backward()
    networks = trial.networks
    assert networks.local is not None
    for module in (networks.local, networks.points):
        assert all(p.grad is not None for p in module.parameters())
        assert sum(float(p.grad.abs().sum()) for p in module.parameters()) > 0
    assert float(networks.local.convup.weight.grad.abs().sum()) > 0
    assert all(p.grad is None or float(p.grad.abs().sum()) == 0 for p in networks.image.parameters())
    trained = {id(p) for groups in trial.parameters().values() for group in groups for p in group.parameters}
    assert {id(p) for p in trial.module.parameters()} == trained
    teacher = trial.models()["image"][0].backbone.backbone
    assert not trained & {id(p) for p in teacher.parameters()}
    assert not any(p.requires_grad for p in teacher.parameters())


def test_a_pair_holds_the_point_that_its_pixel_shows(pack: Pack, stages: Mapping[str, Path]) -> None:
    """Whatever sampling, dropping and augmenting did to the points: jitter aside, they are where the pack has them."""
    calm = {"augment.scale": 1, "augment.shift": 0, "augment.jitter": 0, "augment.drop_points": 0.9}
    trial = trial_of(pack, stages, **calm)
    batch = next(iter(trial.batches(0)))
    local, rng = trial.local, np.random.default_rng([0, 1, 0])
    assert local is not None
    rng.integers(2**62)
    objects = rng.permutation(trial.fit)[:10]
    trial.networks.image.batch(objects, rng)
    picked = local.complete(objects, trial.sampler.pick(objects, rng), rng)
    points = trial.sampler.gather(objects, picked)
    pairs = local.draw(objects, picked, points[..., :3], rng)
    torch.testing.assert_close(batch["pair_pixels"], pairs["pair_pixels"])
    of = pairs["pair_points"]
    torch.testing.assert_close(
        torch.gather(batch["points"][..., :3], 1, of[..., None].expand(-1, -1, 3)),
        torch.gather(torch.from_numpy(points[..., :3]), 1, of[..., None].expand(-1, -1, 3)),
    )
    assert len(torch.unique(batch["points"][0], dim=0)) < 96  # others were dropped
    assert pairs["in_pairs"].sum(dim=1).tolist() == [len(set(row)) for row in of.tolist()]


def test_the_same_seed_gives_the_same_metrics_and_a_resumed_trial_goes_on_alike(
    pack: Pack, stages: Mapping[str, Path], tmp_path: Path
) -> None:
    def opened():
        return MULTIVIEW_CONTRAST.open(small(), pack, stages, 0)

    def told(metrics: Mapping[str, float]) -> dict[str, float]:
        return {
            k: v
            for k, v in metrics.items()
            if not k.startswith(("seconds", "cost")) and "second" not in k and "wait" not in k
        }

    one, two = opened(), opened()
    first = told(one.run_epoch())
    assert first == told(two.run_epoch())
    assert {"train/local", "val/pixel_top1", "val/pixel_top1_chance"} <= first.keys()
    two.save(tmp_path / "checkpoint")
    three = opened()
    three.load(tmp_path / "checkpoint")
    assert told(one.run_epoch()) == told(three.run_epoch())


def test_samples_that_fall_short_are_completed_and_others_left_alone(pack: Pack, stages: Mapping[str, Path]) -> None:
    trial = trial_of(pack, stages)
    local, objects = trial.local, trial.fit
    assert local is not None
    picked = trial.sampler.pick(objects, np.random.default_rng(0))
    assert local.complete(objects, picked, np.random.default_rng(1)) is picked
    hidden = picked.copy()
    for row in (0, 3):
        unseen = np.argsort(local.pairs.counts(int(objects[row])), kind="stable")
        hidden[row] = unseen[:96]
    before = hidden.copy()
    done = local.complete(objects, hidden, np.random.default_rng(1))
    np.testing.assert_array_equal(hidden, before)
    have = local.pairs.seen(objects, done).sum(axis=(1, 2))
    assert (have >= 48).all()
    changed = (done != hidden).sum(axis=1)
    assert set(np.flatnonzero(changed)) <= {0, 3}
    assert 0 < changed.max() < 24, "no more than it takes"
    assert all(len(set(row)) == 96 for row in done.tolist())


# ---- what is refused


def test_views_without_cameras_are_refused(tiny_pack: Pack) -> None:
    check(small(**{"loss.local_weight": 0}), tiny_pack)
    with pytest.raises(InfeasibleError, match=r"views without cameras.*cameras\.json"):
        check(small(), tiny_pack)


def test_too_few_pairs_are_refused_before_training_unless_repeats_are_asked_for(
    pack: Pack, stages: Mapping[str, Path]
) -> None:
    with pytest.raises(InfeasibleError, match=r"/train/\w+: 96 of its points are seen in \d+ pixels at most \(and"):
        trial_of(pack, stages, **{"pairs.per_object": 470})
    trial = trial_of(pack, stages, **{"pairs.per_object": 470, "pairs.repeat": True})
    assert float(trial.losses(next(iter(trial.batches(0))))["points"].terms["pairs_repeated"]) > 0


def test_stages_of_other_views_or_another_pack_are_refused(
    pack: Pack, stages: Mapping[str, Path], tmp_path: Path
) -> None:
    for name in ("teacher", "pairs", "maps"):
        folder = shutil.copytree(stages[name], tmp_path / name)
        facts = json.loads((folder / "facts.json").read_text())
        if name != "teacher":
            (folder / "facts.json").write_text(json.dumps({**facts, "views": 2}))
            with pytest.raises(ConfigError, match="was made of 2 views per object"):
                trial_of(pack, {**stages, name: folder})
        (folder / "facts.json").write_text(json.dumps({**facts, "pack": "0" * 16}))
        with pytest.raises(ConfigError, match="was made of pack 0000000000000000"):
            trial_of(pack, {**stages, name: folder})


def test_points_outside_every_view_are_refused(pack: Pack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert pack._viewmats is not None
    moved = np.array(pack._viewmats)
    index = int(pack.objects("train")[4])
    moved[pack.first_view[index] : pack.first_view[index] + 6, :3, 3] += (50, 0, 0)
    monkeypatch.setattr(pack, "_viewmats", moved)
    key = pack.manifest.objects[index].key
    with pytest.raises(InfeasibleError, match=f"{key}: none of its .* points falls into any of its 5 views"):
        PAIRS.make(small(), pack, tmp_path, torch.device("cpu"))


def test_backbones_and_teachers_without_what_is_asked_are_refused(pack: Pack, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pointnet2_ssg keeps none"):
        small(**{"point_backbone.kind": "pointnet2_ssg"})
    with pytest.raises(ConfigError, match=r"loss\.local_weight are all 0"):
        small(**{"loss.global_weight": 0, "loss.local_weight": 0})


# ---- what it is good for


@pytest.mark.slow
def test_training_learns_where_points_are_seen_and_helps_few_labels(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    root = tmp_path_factory.mktemp("larger")
    pack = household(root, train_per_class=20, test_per_class=1, gaussians=400)
    config = small(
        **{
            "points.num_points": 256,
            "points.features": ["xyz"],
            "heads.hidden": 128,
            "training.epochs": 36,
            "training.batch_size": 16,
            "validation.labels_per_class": 3,
            "validation.label_draws": 5,
            "loss.local_weight": 1,
            "pairs.per_object": 96,
        }
    )
    teacher = build_teacher(config.teacher.network)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    session = Stages(MULTIVIEW_CONTRAST, root / "derived").open(config, pack, 0)
    trial = session.trial  # type: ignore[attr-defined]
    random = trial.validate()
    start = {name: float(v.detach()) for name, v in trial.losses(next(iter(trial.batches(0))))["points"].terms.items()}
    assert start["local"] == pytest.approx(math.log(2 * 96 - 1), rel=0.1)
    while session.epoch < session.epochs:
        metrics = session.run_epoch()
    assert metrics["train/local"] < 0.85 * start["local"]
    assert metrics["train/global"] < 0.5 * start["global"]
    spread = math.hypot(random["val/points_probe_se"], metrics["val/points_probe_se"]) * math.sqrt(5)
    assert metrics["val/points_probe"] - random["val/points_backbone_probe"] > 2 * spread / math.sqrt(2)
    assert metrics["val/pixel_top1"] > 5 * metrics["val/pixel_top1_chance"]
    image = dict(trial.models())["image"][0].backbone.backbone.state_dict()
    names = {name.removeprefix("backbone."): tensor for name, tensor in before.items() if name.startswith("backbone.")}
    assert all(torch.equal(image[name], tensor) for name, tensor in names.items())
    session.save(tmp_path / "checkpoint")
    assert sum(file.stat().st_size for file in (tmp_path / "checkpoint").iterdir()) < 14e6


@pytest.mark.slow
def test_a_bundle_brings_every_tensor_of_the_backbone_or_is_refused(
    pack: Pack, stages: Mapping[str, Path], tmp_path: Path
) -> None:
    """The reference's segmentation networks took 0.1 to 20 % of the pretrained numbers, and said nothing."""
    session = MULTIVIEW_CONTRAST.open(small(**{"training.epochs": 1}), pack, stages, 0)
    session.run_epoch()
    folder = session.export(tmp_path / "out", {})["points"]
    trained = session.trial.networks.points.backbone.state_dict()  # type: ignore[attr-defined]
    loaded = load_bundle(folder).backbone.backbone.state_dict()
    assert loaded.keys() == trained.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in trained.items())
    assert not [name for name in load_bundle(folder).state_dict() if "local" in name or "convup" in name]
    weights = folder / "encoder.safetensors"

    some = load_file(weights)
    some.pop(next(name for name in some if "points_1" in name))
    save_file(some, weights)
    with pytest.raises(SplatsweepError):
        load_bundle(folder)
