"""The cross-modal recipe's batches, negatives and presets."""

import numpy as np
import pytest
import torch

from ssl_core.config import override
from ssl_core.contracts import PointsContract
from ssl_core.data.augment import Crops
from ssl_core.data.batches import draw_negatives, draw_views
from ssl_core.errors import ConfigError, InfeasibleError
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
