"""A trial: reproducible, resumable bit for bit, stopped by non-finite losses, able to overfit."""

import json
import math

import numpy as np
import pytest
import torch

from ssl_core.config import override
from ssl_core.data.object_pack import PackConfig
from ssl_core.errors import CheckpointError, DivergedError, InfeasibleError
from ssl_core.losses.cross_modal import CONSTANT_ACCURACY
from ssl_core.packing.pack_writer import write_pack
from ssl_core.recipes.cross_modal import CROSS_MODAL
from ssl_core.recipes.cross_modal.config import quick
from ssl_core.training.checkpoint import has_checkpoint
from ssl_core.training.contract import LossTerms, untrained_metrics
from ssl_core.training.loop import train_epoch
from ssl_core.training.session import train_single
from tests.conftest import write_tiny_set

TIMES = ("seconds/", "train/samples_per_second", "train/data_wait", "cost/")


def session(config, pack, seed=0):
    torch.set_num_threads(1)
    return CROSS_MODAL.open(config, pack, {}, seed)


def steady(metrics):
    """Metrics without the clock's."""
    return {name: value for name, value in metrics.items() if not name.startswith(TIMES)}


def weights(trial):
    return {k: v.clone() for k, v in trial.trial.module.state_dict().items()}


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def test_metrics_of_an_epoch(tiny_pack, tiny_config):
    metrics = session(tiny_config, tiny_pack).run_epoch()
    for name in (
        "train/loss", "train/triplet", "train/cross_entropy", "train/lr", "train/samples_per_second",
        "train/data_wait_seconds", "val/matching_accuracy", "val/matching_constant", "val/matching_class_oracle",
        "val/distance_positive", "val/distance_negative", "val/distance_ratio", "val/points_probe", "val/image_probe",
    ):  # fmt: skip
        assert math.isfinite(metrics[name]), name
    assert metrics["val/matching_constant"] == CONSTANT_ACCURACY
    assert metrics["val/matching_class_oracle"] == 1, "negatives of another class only: a class matcher is perfect"
    expected = metrics["train/triplet"] + tiny_config.loss.beta * metrics["train/cross_entropy"]
    assert metrics["train/loss"] == pytest.approx(expected, rel=1e-4)


def test_untrained_matching_loss_is_near_that_of_an_uninformed_predictor(tiny_pack, tiny_config):
    trial = session(tiny_config, tiny_pack)
    loss = trial.trial.losses(next(trial.trial.batches(0)))["all"]
    assert float(loss.terms["cross_entropy"].detach()) == pytest.approx(3 * math.log(2), abs=0.6)


@pytest.mark.parametrize("optimizer", ["adamw", pytest.param("sgd", marks=pytest.mark.slow)])
def test_resume_is_bit_for_bit(tiny_pack, tiny_config, tmp_path, optimizer):
    config = override(tiny_config, {"training.optimizer.kind": optimizer})
    whole = session(config, tiny_pack)
    expected = [steady(whole.run_epoch()) for _ in range(3)]
    first = session(config, tiny_pack)
    first.run_epoch()
    first.save(tmp_path / "last")
    second = session(config, tiny_pack)
    second.load(tmp_path / "last")
    assert second.epoch == 1
    assert [steady(second.run_epoch()) for _ in range(2)] == expected[1:]
    assert_same(weights(second), weights(whole))


def test_same_seed_same_trial_other_seed_other_trial(tiny_pack, tiny_config):
    a, b, c = session(tiny_config, tiny_pack), session(tiny_config, tiny_pack), session(tiny_config, tiny_pack, seed=1)
    torch.manual_seed(123)  # global randomness must not matter
    np.random.seed(5)  # noqa: NPY002
    ma, mb, mc = steady(a.run_epoch()), steady(b.run_epoch()), steady(c.run_epoch())
    assert ma == mb != mc
    assert_same(weights(a), weights(b))


def test_non_finite_loss_stops_before_the_optimizer(tiny_pack, tiny_config, monkeypatch):
    trial = session(tiny_config, tiny_pack)
    before = {k: v for k, v in weights(trial).items() if "running" not in k and "num_batches" not in k}
    real = trial.trial.losses

    def poisoned(batch):
        terms = real(batch)["all"]
        return {"all": LossTerms(total=terms.total * float("nan"), terms=terms.terms)}

    monkeypatch.setattr(trial.trial, "losses", poisoned)
    with pytest.raises(DivergedError, match="iteration 0"):
        trial.run_epoch()
    after = weights(trial)
    assert_same(before, {k: after[k] for k in before})


def test_checkpoint_of_another_trial_is_refused(tiny_pack, tiny_config, tmp_path):
    session(tiny_config, tiny_pack).save(tmp_path / "last")
    with pytest.raises(CheckpointError, match="seed"):
        session(tiny_config, tiny_pack, seed=3).load(tmp_path / "last")
    other = override(tiny_config, {"loss.beta": 1.0})
    with pytest.raises(CheckpointError, match="config_digest"):
        session(other, tiny_pack).load(tmp_path / "last")
    (tmp_path / "last/model.safetensors").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="unreadable"):
        session(tiny_config, tiny_pack).load(tmp_path / "last")
    assert not has_checkpoint(tmp_path / "elsewhere")


def test_infeasible_before_anything_is_built(tiny_pack, tiny_config):
    with pytest.raises(InfeasibleError, match="num_points"):
        session(override(tiny_config, {"points.num_points": 5000}), tiny_pack)


def test_measuring_the_untrained_models_changes_nothing_of_the_trial(tiny_pack, tiny_config):
    measured, plain = session(tiny_config, tiny_pack), session(tiny_config, tiny_pack)
    state = torch.random.get_rng_state()
    found = untrained_metrics(measured)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert found == plain.trial.validate()
    assert_same(weights(measured), weights(plain))
    assert steady(measured.run_epoch()) == steady(plain.run_epoch())
    assert untrained_metrics(measured) == {}, "it has trained"


def test_a_session_that_cannot_tell_of_its_untrained_models_goes_on(tiny_pack, tiny_config, monkeypatch):
    trial = session(tiny_config, tiny_pack)
    monkeypatch.setattr(trial, "untrained", lambda: {"val/probe": 1 / 0})
    assert untrained_metrics(trial) == {}
    monkeypatch.setattr(trial, "untrained", lambda: {"val/probe": math.nan, "val/other": 0.5})
    assert untrained_metrics(trial) == {"val/other": 0.5}


def test_train_single_resumes_and_exports(tiny_pack, tiny_config, tmp_path):
    seen = []

    def stop_after_one(epoch, metrics, left):
        seen.append(epoch)
        if len(seen) == 1:
            raise KeyboardInterrupt

    def single(config):
        return train_single(session(config, tiny_pack), tmp_path, stop_after_one, config=config.to_json(), lineage={})

    with pytest.raises(KeyboardInterrupt):
        single(tiny_config)
    written = single(tiny_config)
    assert seen == [1, 2, 3]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1, 2, 3]
    assert {"epoch", "val/probe"} <= lines[0].keys() < lines[1].keys()
    assert set(written) == {"points", "image"}
    assert (written["points"] / "encoder.safetensors").is_file()
    with pytest.raises(CheckpointError, match="another config"):
        single(override(tiny_config, {"loss.beta": 1.0}))


@pytest.mark.slow
def test_quick_overfits_eight_objects(tmp_path):
    root = write_tiny_set(tmp_path / "set", train=4, test=1)
    pack = write_pack(root / "points", root / "images", tmp_path / "pack", PackConfig(cached_points=128, starts=1))
    values = {
        "points.num_points": 64,
        "image.image_size": 24,
        "training.epochs": 150,
        "training.batch_size": 8,
        "augment.crop_min_scale": 1.0,
        "augment.flip": False,
    }
    trial = session(override(quick(), values), pack)
    trial.trial.fit = trial.trial.fit[:8]
    losses = [train_epoch(trial.training, trial.trial.batches(epoch))["train/cross_entropy"] for epoch in range(60)]
    assert np.mean(losses[-5:]) < 0.1 < 1.5 < losses[0]


def test_each_encoder_is_exported_from_its_own_best_epoch(tiny_pack, tiny_config, tmp_path, monkeypatch):
    probes = iter([(0.5, 0.9), (0.7, 0.2), (0.6, 0.3)])

    def validate():
        points, image = next(probes)
        return {"val/points_probe": points, "val/image_probe": image}

    trial = session(tiny_config, tiny_pack)
    monkeypatch.setattr(trial.trial, "validate", validate)
    states = []
    for epoch in range(3):
        trial.run_epoch()
        models = trial.trial.models()
        states.append({m: {k: v.clone() for k, v in e.state_dict().items()} for m, (e, _) in models.items()})
        if epoch == 1:
            trial.save(tmp_path / "best")
    resumed = session(tiny_config, tiny_pack)
    resumed.load(tmp_path / "best")
    for candidate in (trial, resumed):
        best = candidate.best.applied_to({name: model for name, (model, _) in candidate.trial.models().items()})
        assert_same(best["points"].state_dict(), states[1]["points"])
        assert_same(best["image"].state_dict(), states[0]["image"])
    assert_same(weights(resumed), {f"{m}.{k}": v for m, s in states[1].items() for k, v in s.items()} | {
        k: v for k, v in weights(resumed).items() if k.startswith("fusion")
    })  # fmt: skip
