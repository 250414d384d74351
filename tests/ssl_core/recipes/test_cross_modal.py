"""The cross-modal recipe's batches, negatives and presets."""

import numpy as np
import pytest
import torch

from ssl_core.config import override
from ssl_core.contracts import PointsContract
from ssl_core.data.augment import Crops
from ssl_core.data.batches import draw_negatives, draw_views
from ssl_core.errors import ConfigError, InfeasibleError
from ssl_core.models.teachers import PackagedTeacher, build_teacher
from ssl_core.recipes.cross_modal.config import CrossModalConfig, paper, paper_pointnet2, quick
from ssl_core.recipes.cross_modal.trial import CrossModalTrial
from ssl_core.training.config import learning_rate_factor


def trial_of(config, pack):
    return CrossModalTrial(config, pack, 0, torch.device("cpu"))


def test_batches_have_their_shapes_and_repeat(tiny_pack, tiny_config):
    trial = trial_of(tiny_config, tiny_pack)
    first, again = list(trial.batches(0)), list(trial.batches(0))
    assert len(first) == trial.steps_per_epoch == len(tiny_pack.objects("fit")) // 6
    assert first[0]["points"].shape == (6, 64, 3)
    assert first[0]["images"].shape == (3, 6, 3, 24, 24)
    assert 0 <= first[0]["images"].min() <= first[0]["images"].max() <= 1
    assert all(torch.equal(a["images"], b["images"]) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0]["points"], next(iter(trial.batches(1)))["points"])


def test_views_are_distinct_and_of_the_right_objects(tiny_pack):
    rng = np.random.default_rng(0)
    fit = tiny_pack.objects("fit")
    owner = np.repeat(np.arange(len(tiny_pack.manifest.objects)), tiny_pack.num_views)
    for _ in range(20):
        views, negatives = draw_views(tiny_pack, fit, fit, "any", rng)
        assert (owner[views[0]] == fit).all()
        assert (owner[views[1]] == fit).all()
        assert (views[0] != views[1]).all()
        assert (owner[views[2]] == negatives).all()
        assert (negatives != fit).all()


def test_negatives_of_another_class(tiny_pack):
    rng, fit = np.random.default_rng(0), tiny_pack.objects("fit")
    other = draw_negatives(tiny_pack.labels, fit, fit, "other_class", rng)
    assert (tiny_pack.labels[other] != tiny_pack.labels[fit]).all()
    same = [np.mean(tiny_pack.labels[draw_negatives(tiny_pack.labels, fit, fit, "any", rng)] == tiny_pack.labels[fit])
            for _ in range(200)]  # fmt: skip
    per_class = np.bincount(tiny_pack.labels[fit])[0]
    assert np.mean(same) == pytest.approx((per_class - 1) / (len(fit) - 1), abs=0.03)
    with pytest.raises(InfeasibleError, match="no negative"):
        draw_negatives(np.zeros(9, dtype=np.int64), np.arange(4), np.arange(4), "other_class", rng)


class ReadViews:
    """The views of a pack, keeping which were read and how often they were asked for."""

    def __init__(self, views):
        self.views, self.calls = views, []

    def __getitem__(self, index):
        self.calls.append(np.asarray(index))
        return self.views[index]


def keep_read_objects(trial, monkeypatch):
    """Objects whose points are sampled, per call."""
    calls = []
    for name in ("sample", "draw"):
        real = getattr(trial.sampler, name)

        def kept(objects, *rest, real=real):
            calls.append(np.asarray(objects))
            return real(objects, *rest)

        monkeypatch.setattr(trial.sampler, name, kept)
    return calls


def test_validation_never_reads_test_objects(tiny_pack, tiny_config, monkeypatch):
    trial = trial_of(tiny_config, tiny_pack)
    owner = np.repeat(np.arange(len(tiny_pack.manifest.objects)), tiny_pack.num_views)
    test = set(tiny_pack.objects("test").tolist())
    monkeypatch.setattr(tiny_pack, "views", ReadViews(tiny_pack.views))
    sampled = keep_read_objects(trial, monkeypatch)
    trial.validate()
    list(trial.batches(0))
    points, seen = set(np.concatenate(sampled).tolist()), set(owner[np.concatenate(tiny_pack.views.calls)].tolist())
    assert points == set(trial.fit.tolist()) | set(trial.val.tolist())
    assert seen
    assert not (points | seen) & test


def test_a_batch_is_two_gathers(tiny_pack, tiny_config, monkeypatch):
    trial = trial_of(tiny_config, tiny_pack)
    monkeypatch.setattr(tiny_pack, "views", ReadViews(tiny_pack.views))
    sampled = keep_read_objects(trial, monkeypatch)
    batches = list(trial.batches(0))
    assert [len(objects) for objects in sampled] == [6] * len(batches)
    assert [len(views) for views in tiny_pack.views.calls] == [3 * 6] * len(batches)


def test_pictures_of_a_batch_are_crops_of_its_views(tiny_pack, tiny_config, monkeypatch):
    all_of_it = Crops(*torch.tensor([0.0, 0.0, 1.0, 1.0])[:, None].expand(4, 18), torch.zeros(18, dtype=torch.bool))
    monkeypatch.setattr("ssl_core.data.augment.draw_crops", lambda *_, **__: all_of_it)
    trial = trial_of(tiny_config, tiny_pack)
    monkeypatch.setattr(tiny_pack, "views", ReadViews(tiny_pack.views))
    for number, batch in enumerate(trial.batches(0)):
        stored = tiny_pack.views.views[tiny_pack.views.calls[number]].reshape(3, 6, 3, 24, 24)
        torch.testing.assert_close(batch["images"], torch.from_numpy(stored) / 255, rtol=0, atol=1e-5)


def test_class_oracle_counts_same_class_negatives(tiny_pack, tiny_config):
    trial = trial_of(override(tiny_config, {"negatives": "any"}), tiny_pack)
    metrics = trial.validate()
    assert 2 / 3 < metrics["val/matching_class_oracle"] < 1


def test_transform_regulariser_is_added(tiny_pack, tiny_config):
    values = {"point_backbone.feature_transform": True, "loss.transform_weight": 0.5}
    config = override(tiny_config, values)
    trial = trial_of(config, tiny_pack)
    loss = trial.losses(next(trial.batches(0)))["all"]
    terms = {name: float(value.detach()) for name, value in loss.terms.items()}
    assert terms["transform"] > 0
    expected = terms["triplet"] + config.loss.beta * terms["cross_entropy"] + 0.5 * terms["transform"]
    assert float(loss.total.detach()) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ConfigError, match="feature_transform"):
        override(tiny_config, {"loss.transform_weight": 0.5})


@pytest.mark.parametrize("preset", [quick, paper, paper_pointnet2])
def test_presets_round_trip(preset):
    assert CrossModalConfig.from_json(preset().to_json()) == preset()


def test_paper_is_the_logged_run():
    config = paper()
    assert config.points.num_points == 2048
    assert config.negatives == "any"
    assert (config.loss.beta, config.loss.margin) == (3.0, 2.0)
    schedule = config.training.schedule
    rates = [1e-3 * learning_rate_factor(schedule, (epoch - 1) * 124, 12400) for epoch in (1, 50, 51, 71)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-5])


def test_unknown_key_names_the_nearest():
    with pytest.raises(ConfigError, match=r"did you mean 'loss\.beta'"):
        override(quick(), {"loss.betta": 1})


def test_feature_group_missing_from_the_pack(tiny_pack, tiny_config):
    manifest = tiny_pack.manifest.model_copy(update={"groups": ("xyz", "opacity")})
    poor = type(tiny_pack)(tiny_pack.path, manifest)
    config = tiny_config.model_copy(update={"points": PointsContract(features=("xyz", "sh_rest"), num_points=32)})
    with pytest.raises(InfeasibleError, match="sh_rest"):
        trial_of(config, poor)


AGREEING = {"loss.agreement_points": 0.5, "loss.agreement_views": 0.25, "loss.agreement_cross": 2.0}
HEADS = {"heads": {"kind": "mlp", "hidden": 16, "output": 8, "points": ["hidden"], "image": ["backbone", "head"]}}
TEACHER = {"kind": "efficientnet_lite0", "image_size": 32}


def test_agreement_is_added_with_its_weights(tiny_pack, tiny_config):
    config = override(tiny_config, {**AGREEING, **HEADS})
    trial = trial_of(config, tiny_pack)
    batch = next(trial.batches(0))
    assert not torch.equal(batch["points"], batch["again"])
    loss = trial.losses(batch)["all"]
    terms = {name: float(value.detach()) for name, value in loss.terms.items()}
    expected = terms["triplet"] + config.loss.beta * terms["cross_entropy"]
    expected += sum(weight * terms[key.removeprefix("loss.")] for key, weight in AGREEING.items())
    assert float(loss.total.detach()) == pytest.approx(expected, rel=1e-5)


def test_agreement_of_points_and_images_is_the_plain_sum(tiny_pack, tiny_config):
    """Against a loop over objects and views, without heads: features of both backbones have 512 columns."""
    config = override(tiny_config, {"loss.agreement_cross": 1.0, "loss.agreement_temperature": 0.2})
    trial = trial_of(config, tiny_pack)
    trial.networks.eval()
    batch = next(trial.batches(0))
    with torch.no_grad():
        found = float(trial.losses(batch)["all"].terms["agreement_cross"])
        points = torch.nn.functional.normalize(trial.networks.points(batch["points"]), dim=-1).numpy()
        views = torch.nn.functional.normalize(trial.networks.image_features(batch["images"]), dim=-1).numpy()
    losses = []
    for view in (0, 1):
        rows = np.concatenate([points, views[view]])
        for i in range(12):
            logits = rows @ rows[i] / 0.2
            others = np.exp(np.delete(logits, i)).sum()
            losses.append(np.log(others) - logits[(i + 6) % 12])
    assert found == pytest.approx(np.mean(losses), rel=1e-4)


def test_each_agreement_reaches_what_it_compares(tiny_pack, tiny_config):
    reached = {
        "agreement_points": {"points", "points_head"},
        "agreement_views": {"image", "image_head"},
        "agreement_cross": {"points", "points_head", "image", "image_head"},
    }
    trial = trial_of(override(tiny_config, {**AGREEING, **HEADS}), tiny_pack)
    for term, wanted in reached.items():
        trial.networks.zero_grad()
        trial.losses(next(trial.batches(0)))["all"].terms[term].backward()
        moved = {
            name for name, part in trial.networks.named_children() if any(p.grad is not None for p in part.parameters())
        }
        assert moved == wanted, term


def test_the_parts_that_are_read_are_exported(tiny_pack, tiny_config):
    trial = trial_of(override(tiny_config, {**AGREEING, **HEADS}), tiny_pack)
    batch, metrics = next(trial.batches(0)), trial.validate()
    parts = {f"val/{name}_{part}_probe" for name in ("points", "image") for part in ("backbone", "hidden", "head")}
    assert parts <= metrics.keys()
    assert metrics["val/points_probe"] == metrics["val/points_hidden_probe"]
    trial.networks.eval()
    with torch.no_grad():
        (points, card), (image, image_card) = trial.models()["points"], trial.models()["image"]
        hidden = trial.networks.points_head.hidden(trial.networks.points(batch["points"]))
        torch.testing.assert_close(points.eval()(batch["points"]), hidden)
        backbone = trial.networks.image(batch["images"][0])
        both = torch.cat([backbone, trial.networks.image_head(backbone)["head"]], dim=1)
        torch.testing.assert_close(image.eval()(batch["images"][0]), both)
    assert (card.output_shape, image_card.output_shape) == ((16,), (512 + 8,))
    rebuilt = card.build(0).eval()
    rebuilt.load_state_dict(points.state_dict())
    torch.testing.assert_close(rebuilt(batch["points"]), hidden)


def test_points_are_augmented_and_crops_stay_as_they_were(tiny_pack, tiny_config):
    plain = next(trial_of(tiny_config, tiny_pack).batches(0))
    trial = trial_of(override(tiny_config, {"augment.points.jitter": 0.1}), tiny_pack)
    moved, again = next(trial.batches(0)), next(trial.batches(0))
    assert torch.equal(plain["images"], moved["images"])
    assert float((moved["points"] - plain["points"]).std()) == pytest.approx(0.1, rel=0.1)
    assert torch.equal(moved["points"], again["points"])


def test_a_frozen_image_network_stays_itself_and_in_no_checkpoint(tiny_pack, tiny_config):
    weights = {"image_weights": {"kind": "frozen", "network": TEACHER}}
    trial = trial_of(override(tiny_config, {**AGREEING, **HEADS, **weights}), tiny_pack)
    teacher = build_teacher(PackagedTeacher(image_size=32))
    image, card = trial.models()["image"]
    assert card.contract.image_size == 32
    assert not [name for name in trial.module.state_dict() if name.startswith("image.")]
    trial.module.train()
    batch = next(trial.batches(0))
    assert batch["images"].shape == (3, 6, 3, 32, 32)
    trial.losses(batch)["all"].total.backward()
    frozen = image.backbone.backbone
    assert not any(module.training for module in frozen.modules())
    assert all(parameter.grad is None for parameter in frozen.parameters())
    wanted = teacher.backbone.state_dict()
    assert all(torch.equal(wanted[name], tensor) for name, tensor in frozen.state_dict().items())


def test_trained_image_weights_train_on_at_a_rate_of_their_own(tiny_pack, tiny_config):
    weights = {"image_weights": {"kind": "trainable", "network": TEACHER, "rate": 0.25}}
    trial = trial_of(override(tiny_config, weights), tiny_pack)
    groups = trial.parameters()["all"]
    assert [group.rate for group in groups] == [1.0, 0.25]
    assert trial.config.supervision("points") == "an ImageNet-supervised teacher"
    assert tiny_config.supervision("points") == ""
    assert {id(p) for p in groups[1].parameters} == {id(p) for p in trial.networks.image.parameters()}
    assert sum(len(group.parameters) for group in groups) == len(list(trial.module.parameters()))
    wanted = build_teacher(PackagedTeacher(image_size=32)).state_dict()
    assert all(torch.equal(wanted[name], value) for name, value in trial.networks.image.state_dict().items())
    trial.module.train()
    trial.losses(next(trial.batches(0)))["all"].total.backward()
    assert all(p.grad is not None for p in trial.networks.image.parameters())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (HEADS, r"heads\.points exports a head that nothing trains"),
        ({**HEADS, "loss.agreement_points": 1}, r"heads\.image exports a head"),
        ({"image_weights": {"kind": "frozen"}}, r"set heads\.kind=mlp"),
        ({**AGREEING, "heads.kind": "mlp", "image_weights": {"kind": "frozen"}}, r"add a layer to heads\.image"),
        ({"loss.agreement_cross": 1, "point_backbone.feature_dim": 64}, "features of one width"),
        ({"loss.agreement_cross": 1, "image_weights": {"kind": "trainable"}}, "features of one width"),
        ({"augment.points.yaw": 9, "points.features": ["xyz", "scale"]}, "not 'scale'"),
    ],
)
def test_combinations_that_cannot_be_are_refused(tiny_config, values, said):
    with pytest.raises(ConfigError, match=said):
        override(tiny_config, values)


def test_what_is_unset_is_left_out_of_the_text(tiny_config):
    """So that configs, studies and checkpoints of before keep their digests; set, it is there, and is read again."""
    added = ("agreement", "image_weights", "heads", '"points": {"scale"')
    assert not [word for word in added if word in tiny_config.to_json()]
    config = override(tiny_config, {**AGREEING, **HEADS, "augment.points.scale": 1.2})
    assert CrossModalConfig.from_json(config.to_json()) == config
    back = override(config, {"loss": tiny_config.loss, "heads": {"kind": "none"}, "augment.points.scale": 1})
    assert back.digest() == tiny_config.digest()
