"""The training loop over trials of all kinds: teachers, groups, several optimisers, clipping, outputs' scores."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ssl_core.contracts import PointsContract
from ssl_core.errors import ConfigError
from ssl_core.models.cards import PointEncoderCard
from ssl_core.models.pointnet import PointNetConfig
from ssl_core.training.checkpoint import BestStates
from ssl_core.training.config import (
    AdamWConfig,
    ConstantSchedule,
    CosineSchedule,
    RecipeConfig,
    SGDConfig,
    TrainingConfig,
)
from ssl_core.training.contract import LossTerms, Output, ParameterGroup, Recipe, Score
from ssl_core.training.session import trained

DATA = SimpleNamespace(digest="d")
CARD = PointEncoderCard(
    contract=PointsContract(num_points=16),
    backbone=PointNetConfig(input_transform=False, feature_transform=False),
)
PLAIN = SGDConfig(lr=0.1, momentum=0.0, weight_decay=0.0)


class SmallTrial:
    """A network of a batch norm and two layers; what a test changes is replaced in its instance."""

    def __init__(self):
        torch.manual_seed(0)
        self.module = nn.ModuleDict({"norm": nn.BatchNorm1d(3), "one": nn.Linear(3, 3), "two": nn.Linear(3, 1)})
        self.steps_per_epoch = 3
        self.scores = itertools.count(1)
        self.metrics = lambda number: {"val/error": 1.0 / number}

    def batches(self, epoch):
        generator = torch.Generator().manual_seed(epoch)
        for _ in range(self.steps_per_epoch):
            yield {"rays": torch.randn(5, 3, generator=generator), "colours": torch.randn(7, 2, generator=generator)}

    def samples(self, batch):
        return len(batch["colours"])

    def predicted(self, batch):
        return self.module["two"](self.module["one"](self.module["norm"](batch["rays"])))

    def losses(self, batch):
        total = self.predicted(batch).square().mean()
        return {"all": LossTerms(total, {"square": total})}

    def parameters(self):
        return {"all": [ParameterGroup(list(self.module.parameters()))]}

    def validate(self):
        return self.metrics(next(self.scores))

    def models(self):
        return {"field": (self.module["one"], CARD)}


def session(trial, optimizer=PLAIN, schedule=ConstantSchedule(), select=None, **training):
    select = select or Score(metric="val/error", direction="minimize")
    recipe = Recipe(
        *("small", "", RecipeConfig, {}, object), (Output("field", PointEncoderCard, select),), lambda *_: None, None
    )
    settings = TrainingConfig(
        **{"epochs": 2, "device": "cpu", "optimizer": optimizer, "schedule": schedule, **training}
    )
    return trained(trial, RecipeConfig(training=settings), recipe, DATA, 0)


def copied(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def test_a_frozen_teacher_is_neither_trained_nor_saved(tmp_path):
    trial = SmallTrial()
    teacher = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1)).eval().requires_grad_(False)

    def losses(batch):
        total = (trial.predicted(batch) - teacher(batch["rays"])).square().mean()
        return {"all": LossTerms(total, {})}

    trial.losses, trial.teacher = losses, teacher
    before, ours = copied(teacher), session(trial)
    ours.run_epoch()
    ours.save(tmp_path / "last")
    assert not any(part.training for part in teacher.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())
    assert trial.module["norm"].num_batches_tracked == 3, "the student's batch norm is trained"
    again = session(SmallTrial())
    again.load(tmp_path / "last")
    assert set(again.trial.module.state_dict()) == set(trial.module.state_dict())


def test_samples_are_counted_by_the_trial():
    trial, counted = SmallTrial(), []
    real = trial.samples
    trial.samples = lambda batch: counted.append(real(batch)) or counted[-1]
    metrics = session(trial).run_epoch()
    assert counted == [7, 7, 7], "not the first tensor's length, nor that of `points`"
    assert metrics["train/samples_per_second"] > 0


def test_groups_keep_their_rates_under_the_schedule():
    trial = SmallTrial()
    fast, slow = trial.module["one"], trial.module["two"]
    trial.parameters = lambda: {
        "all": [
            ParameterGroup(list(fast.parameters())),
            ParameterGroup(list(slow.parameters()), rate=0.1, weight_decay=0.0),
        ]
    }
    ours = session(trial, AdamWConfig(lr=0.01, weight_decay=0.3), CosineSchedule(warmup=0.0))
    rates = []
    for _ in range(2):
        metrics = ours.run_epoch()
        groups = ours.training.optimizers["all"].optimizer.param_groups
        rates.append([group["lr"] for group in groups])
        assert metrics["train/lr"] == rates[-1][0]
        assert rates[-1][1] == pytest.approx(0.1 * rates[-1][0])
        assert [group["weight_decay"] for group in groups] == [0.3, 0.0]
    assert rates[1][0] < rates[0][0] < 0.01


def test_several_optimisers_step_on_their_own_loss_alone():
    """As for a generator and its critic: both losses pass through both networks, taken at the same weights."""
    trial = SmallTrial()
    one, two = trial.module["one"], trial.module["two"]

    def losses(batch):
        score = trial.predicted(batch).mean()
        return {"maker": LossTerms(-score, {"fooled": score}), "critic": LossTerms(score * 2 + 1, {})}

    trial.losses, trial.steps_per_epoch = losses, 1
    trial.parameters = lambda: {
        "maker": [ParameterGroup(list(one.parameters()))],
        "critic": [ParameterGroup(list(two.parameters()), rate=0.5)],
    }
    ours = session(trial)
    trial.module.train()
    terms = losses(next(trial.batches(0)))
    expected = {}
    for module, loss, rate in ((one, terms["maker"].total, 0.1), (two, terms["critic"].total, 0.05)):
        slopes = torch.autograd.grad(loss, list(module.parameters()), retain_graph=True)
        expected[module] = [p.detach() - rate * slope for p, slope in zip(module.parameters(), slopes, strict=True)]
    metrics = ours.run_epoch()
    for module, wanted in expected.items():
        for parameter, value in zip(module.parameters(), wanted, strict=True):
            torch.testing.assert_close(parameter.detach(), value)
    assert {"train/maker_loss", "train/critic_loss", "train/fooled"} <= metrics.keys()
    assert trial.module["norm"].weight.grad is None, "what no optimiser steps gathers no gradient"


def test_several_optimisers_resume_bit_for_bit(tmp_path):
    def made():
        trial = SmallTrial()
        trial.losses = lambda batch: {
            "a": LossTerms(trial.predicted(batch).square().mean(), {}),
            "b": LossTerms(trial.module["one"](batch["rays"]).square().mean(), {}),
        }
        trial.parameters = lambda: {
            "a": [ParameterGroup(list(trial.module["two"].parameters()))],
            "b": [ParameterGroup(list(trial.module["one"].parameters()))],
        }
        return session(trial, AdamWConfig(lr=0.05))

    whole, first, second = made(), made(), made()
    whole.run_epoch(), whole.run_epoch()
    first.run_epoch()
    first.save(tmp_path / "last")
    second.load(tmp_path / "last")
    second.run_epoch()
    found = second.trial.module.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in whole.trial.module.state_dict().items())


@pytest.mark.parametrize(("norm", "group", "bound"), [(None, None, None), (0.01, None, 0.01), (5.0, 0.02, 0.02)])
def test_clipping_bounds_a_step(norm, group, bound):
    trial = SmallTrial()
    parameters = list(trial.module["one"].parameters())
    trial.losses = lambda batch: {"all": LossTerms(1e4 * trial.predicted(batch).square().mean(), {})}
    trial.parameters, trial.steps_per_epoch = lambda: {"all": [ParameterGroup(parameters, clip_norm=group)]}, 1
    before = [p.detach().clone() for p in parameters]
    session(trial, clip_norm=norm).run_epoch()
    step = torch.stack([(p.detach() - b).norm() for p, b in zip(parameters, before, strict=True)]).norm() / 0.1
    assert float(step) > 1 if bound is None else float(step) == pytest.approx(bound, rel=1e-3)


def test_a_config_without_clipping_has_the_digest_it_had():
    assert "clip_norm" not in RecipeConfig().to_json()
    assert RecipeConfig.from_json(RecipeConfig().to_json()) == RecipeConfig()
    clipped = RecipeConfig(training=TrainingConfig(clip_norm=1.0))
    assert RecipeConfig.from_json(clipped.to_json()) == clipped


@pytest.mark.parametrize(("direction", "best"), [("maximize", 2), ("minimize", 0)])
def test_the_direction_of_an_output_decides_which_state_is_kept(direction, best):
    layer, states = nn.Linear(2, 2), []
    output = Output("field", PointEncoderCard, Score(metric="val/x", direction=direction))
    kept = BestStates([output])
    for value in (0.1, float("nan"), 0.9, 0.5):
        nn.init.normal_(layer.weight)
        kept.observe({"field": layer}, {"val/x": value}, layer)
        states.append(copied(layer))
    found = kept.applied_to({"field": layer})["field"].state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in states[best].items())


def test_a_score_that_never_comes_is_an_error_that_names_what_came(tmp_path):
    ours = session(SmallTrial(), select=Score(metric="val/probe"))
    ours.run_epoch()
    with pytest.raises(ConfigError, match=r"'field' is selected by 'val/probe'.*there is .*val/error"):
        ours.export(tmp_path / "out", {})
    assert not (tmp_path / "out").exists(), "the last epoch is not exported instead"
    with pytest.raises(ConfigError, match="val/probe"):
        ours.run_epoch()


def test_checkpoints_with_one_optimiser_of_before_are_read(tmp_path):
    ours = session(SmallTrial(), AdamWConfig(lr=0.05))
    ours.run_epoch()
    ours.save(tmp_path / "last")
    file = tmp_path / "last/training.pt"
    state = torch.load(file, weights_only=True)
    torch.save({"optimizer": state["optimizers"]["all"], "scaler": state["scaler"]}, file)
    again = session(SmallTrial(), AdamWConfig(lr=0.05))
    again.load(tmp_path / "last")
    ours.run_epoch(), again.run_epoch()
    found = again.trial.module.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in ours.trial.module.state_dict().items())
