"""Costs of a trial: counted right, and the trial does not notice."""

import copy
import subprocess
import sys
import time

import pytest
import torch

from ssl_core.config import override
from ssl_core.recipes.cross_modal import CROSS_MODAL
from ssl_core.training import trial_costs as costs
from ssl_core.training.trial_costs import PeakMemory, latencies, trained_parameters

CPU = torch.device("cpu")


def session(config, pack, seed=0):
    torch.set_num_threads(1)
    return CROSS_MODAL.open(config, pack, {}, seed)


def test_every_epoch_reports_all_costs_and_their_sum(tiny_pack, tiny_config):
    trial = session(tiny_config, tiny_pack)
    first, second = trial.run_epoch(), trial.run_epoch()
    assert first["cost/parameters"] == sum(p.numel() for p in trial.trial.module.parameters())
    for metrics in (first, second):
        parts = metrics["cost/points_latency_ms"] + metrics["cost/image_latency_ms"]
        assert metrics["cost/latency_ms"] == pytest.approx(parts)
        assert parts > 0
        assert 50 * 2**20 < metrics["cost/peak_memory_bytes"] < 100 * 2**30
    assert first["cost/latency_ms"] == second["cost/latency_ms"], "measured once"
    assert second["cost/peak_memory_bytes"] >= first["cost/peak_memory_bytes"]


def test_a_resumed_trial_keeps_its_latency_and_never_lowers_its_peak(tiny_pack, tiny_config, tmp_path):
    trial = session(tiny_config, tiny_pack)
    before = trial.run_epoch()
    trial.save(tmp_path / "last")
    resumed = session(tiny_config, tiny_pack)
    resumed.load(tmp_path / "last")
    after = resumed.run_epoch()
    assert {k: v for k, v in after.items() if "latency" in k} == {k: v for k, v in before.items() if "latency" in k}
    assert after["cost/peak_memory_bytes"] >= before["cost/peak_memory_bytes"]


def test_a_trial_is_the_same_without_measuring(tiny_pack, tiny_config, monkeypatch):
    measured = session(tiny_config, tiny_pack)
    measured.run_epoch()
    measured.run_epoch()
    plain = session(tiny_config, tiny_pack)
    monkeypatch.setattr(costs, "latencies", lambda models, device: {})
    plain.run_epoch()
    plain.run_epoch()
    expected, found = plain.trial.module.state_dict(), measured.trial.module.state_dict()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.parametrize("backbone", ["pointnet", "pointnet2_ssg", "dgcnn"])
def test_measuring_leaves_models_modes_and_global_randomness_alone(tiny_pack, tiny_config, backbone):
    trial = session(override(tiny_config, {"point_backbone.kind": backbone}), tiny_pack)
    module = trial.trial.module.train()
    models = trial.trial.models()
    next(models["points"][0].children()).eval()  # a part that someone froze
    modes = [part.training for part in module.modules()]
    before, state = copy.deepcopy(module.state_dict()), torch.random.get_rng_state()
    found = latencies(models, CPU)
    assert all(value > 0 for value in found.values())
    assert [part.training for part in module.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_measuring_is_cheap_for_small_models(tiny_pack, tiny_config):
    """Not a timing: a bound on how many forwards are made, told by the passes of a hook."""
    trial = session(tiny_config, tiny_pack)
    encoder = trial.trial.models()["points"][0]
    passes: list[int] = []
    encoder.register_forward_hook(lambda *_: (passes.append(1), time.sleep(0.05))[0])
    latencies(trial.trial.models(), CPU)
    assert 3 <= len(passes) <= 6, "a slow model is not run more often than needed"


def test_frozen_parameters_are_not_counted():
    layer = torch.nn.Linear(3, 2)
    layer.weight.requires_grad_(False)
    assert trained_parameters(layer) == 2


PEAKS = """
import torch
from ssl_core.training.trial_costs import PeakMemory
torch.ones(150 * 2**18).sum()  # 150 MiB, gone at once
later = PeakMemory(torch.device("cpu"))
calm = later.bytes()
torch.ones(200 * 2**18).sum()
print(later.bytes() - calm, later.bytes() - later.bytes())
"""


def test_peak_memory_of_the_process_is_that_since_the_beginning():
    """In a process of its own: one that has run for long may keep freed memory and use it again."""
    done = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True, timeout=120)
    grown, fallen = map(int, done.stdout.split())
    assert grown > 150 * 2**20, "an earlier peak does not hide this one"
    assert fallen == 0, "a peak does not fall"


def test_peak_memory_where_the_earlier_peak_cannot_be_forgotten(monkeypatch):
    marks = iter([(100, 500), (120, 500), (90, 500), (300, 700), (200, 700)])
    monkeypatch.setattr("ssl_core.training.trial_costs._resident", lambda: next(marks))
    monkeypatch.setattr("pathlib.Path.write_text", _refuse)
    peak = PeakMemory(CPU)
    assert [peak.bytes() for _ in range(4)] == [120, 120, 700, 700]


def _refuse(*_):
    raise PermissionError


@pytest.mark.gpu
def test_peak_memory_of_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    device = torch.device("cuda")
    torch.ones(2**28, device=device)  # 1 GiB of an earlier trial
    peak = PeakMemory(device)
    assert peak.bytes() < 2**29
    torch.ones(2**27, device=device)
    assert 2**29 <= peak.bytes() < 2**30
