"""From a probe to a prediction: laws that hold whatever was measured."""

import dataclasses
from functools import partial

import pytest
import ray

from study.forecast.pilot import Pilot, PilotTrial
from study.forecast.predict import Prediction, advice, predict
from study.forecast.resources import Capacity, study_room
from study.forecast.simulations import MOST_TRIALS, without_targets
from study.spec.budget import AllOf, AnyOf, Hours, NoImprovement, Target, Trials
from study.spec.study_spec import StudySpec


@pytest.fixture
def make_plan(make_plan):
    """Studies whose suggestions cost nothing: the laws are of budgets, schedulers and pace, whatever is suggested."""
    return partial(make_plan, sampler={"kind": "random"})


TWO = Capacity(slots=2, cpus=2, gpus=0, gpus_per_slot=0, memory_bytes=16e9)


def piloted(pace=1.0, **changes):
    given = {"values": {"quality": 0.5}, "epoch_seconds": pace, "opening_seconds": 0.5, "epochs": 6, "trained": 3,
             "resident_bytes": 6e8, "checkpoint_bytes": 5e7}  # fmt: skip
    return PilotTrial(**{**given, **changes})


def a_probe(*configurations, start=4.0, **changes):
    found = configurations or (piloted(), piloted(1.05), piloted(0.95))
    return Pilot(configurations=found, seconds=20, start_seconds=start, between_seconds=0.5, **changes)


def test_a_study_without_a_scheduler_takes_what_can_be_worked_out(make_plan):
    plan = make_plan(base={"epochs": 6}, trials=8, scheduler={"kind": "none"})
    found = predict(plan, a_probe(), TWO)
    assert found.trials.low == found.trials.high == 8
    assert found.epochs.middle == 48
    # four trials one after the other on each slot: 6 epochs of 1 s, 1 s beside them
    expected = 4 + 4 * (6 * 1.0 + 0.5 + 0.5)
    assert 3600 * found.hours.middle == pytest.approx(expected, rel=0.15)
    assert found.hours.low <= found.hours.middle <= found.hours.high
    assert found.gpu_hours.high == 0
    assert found.trial_overhead_seconds == pytest.approx(1.0)
    assert found.disk_bytes == pytest.approx(5e7 * (3 * 2 + 2 * plan.spec.top_k))
    assert found.bounded
    assert not found.advice
    assert Prediction.from_json(found.to_json()) == found


@pytest.mark.slow
def test_a_scheduler_saves_epochs_and_gpus_are_counted(make_plan):
    alone = dataclasses.replace(TWO, gpus=2, gpus_per_slot=0.5)
    whole = predict(make_plan(base={"epochs": 6}, trials=12, name="a", scheduler={"kind": "none"}), a_probe(), alone)
    halved = predict(make_plan(base={"epochs": 6}, trials=12, name="b"), a_probe(), alone)
    assert halved.epochs.high < whole.epochs.low == 72
    assert halved.hours.middle < whole.hours.middle
    wall = 3600 * whole.hours.middle - 4.0
    assert 3600 * whole.gpu_hours.middle == pytest.approx(wall * 2 * 0.5, rel=0.01), "two slots of half a GPU"


def test_budgets_bound_the_prediction(make_plan):
    plan = make_plan(base={"epochs": 6}, trials=500, hours=60 / 3600, scheduler={"kind": "none"})
    found = predict(plan, a_probe(), TWO)
    # a minute, and at most one more epoch of what runs
    assert 60 <= 3600 * found.hours.low - 4 <= 3600 * found.hours.high - 4 <= 63
    assert found.trials.high < 40


def test_dearer_configurations_are_seen_in_the_range(make_plan):
    space = {"quality": {"float": [0.1, 1.0]}, "pace": {"choice": [0.1, 0.4]}}
    plan = make_plan(space=space, base={"epochs": 6}, trials=12, scheduler={"kind": "none"})
    cheap, dear = {"quality": 0.5, "pace": 0.1}, {"quality": 0.5, "pace": 0.4}
    pilot = a_probe(piloted(1.0, values=cheap), piloted(4.0, values=dear), piloted(1.1, values=cheap))
    found = predict(plan, pilot, TWO)
    assert 1.2 < found.epoch_seconds.low < found.epoch_seconds.high < 4.5
    assert found.hours.high > 1.1 * found.hours.low


def test_the_same_probe_gives_the_same_prediction(make_plan):
    one, other = (predict(make_plan(trials=6, base={"epochs": 6}), a_probe(), TWO) for _ in range(2))
    assert one == other


def test_a_study_that_only_a_target_ends_has_no_upper_end(make_plan, monkeypatch):
    monkeypatch.setattr("study.forecast.simulations.MOST_TRIALS", 30)
    plan = make_plan(base={"epochs": 2}, trials=None, budget={"target": 0.99}, scheduler={"kind": "none"})
    found = predict(plan, a_probe(piloted(epochs=2)), TWO)
    assert not found.bounded
    assert "at least" not in found.advice[0]
    assert "nothing bounds this study" in found.advice[0]


def test_targets_are_taken_out_of_budgets():
    target, trials = Target(target=0.9), Trials(trials=3)
    assert without_targets(AnyOf(any=(target, trials))) == AnyOf(any=(trials,))
    assert without_targets(AnyOf(any=(target,))) is None
    assert without_targets(AllOf(all=(target, trials))) is None, "it waits for the target"
    nested = AnyOf(any=(Hours(hours=2), AllOf(all=(trials, NoImprovement(no_improvement=2)))))
    assert without_targets(nested) == nested
    assert MOST_TRIALS >= 1000


def test_advice_names_what_does_not_fit_and_what_would(make_plan, tmp_path):
    spec = StudySpec(trials=4, metric="val/probe")
    sound = predict(make_plan(trials=2, base={"epochs": 2}), a_probe(), TWO)

    def said(room=TWO, **changes):
        return advice(sound.model_copy(update=changes), spec, room, tmp_path)

    assert said() == []
    assert "use --concurrency 1" in said(memory_bytes=12e9)[0]
    assert "free some" in said(disk_bytes=1e18)[0]
    gpu = Capacity(slots=2, cpus=16, gpus=2, gpus_per_slot=1.0)
    small = a_probe(piloted(peak_bytes=2e9, device_bytes=80e9))
    assert "8 trials fit on a GPU; set gpus_per_trial: 0.125" in said(gpu, pilot=small, gpu_memory_bytes=2e9)[0]
    large = a_probe(piloted(peak_bytes=60e9, device_bytes=80e9))
    shared = dataclasses.replace(gpu, gpus_per_slot=0.5)
    assert "raise gpus_per_trial to 1" in said(shared, pilot=large, gpu_memory_bytes=60e9)[0]
    failed = a_probe(piloted(trained=1), failed=("boom", "boom"))
    assert ["boom" in said(pilot=failed)[0], "--probe-minutes" in said(pilot=failed)[1]] == [True, True]


def test_room_of_this_machine_follows_the_spec():
    room = study_room(StudySpec(trials=1, concurrency=3, cpus_per_trial=1.0, gpus_per_trial=0.0))
    # a Ray that runs here already is what a study would use
    offered = int(ray.cluster_resources()["CPU"]) if ray.is_initialized() else 3
    assert room.slots == min(3, offered), "asking for more trials than cores is allowed"
    assert room.cpus >= room.slots
    assert room.memory_bytes is None or room.memory_bytes > 2**30
