"""The same features, trained and saved, on a CUDA device."""

import copy
from pathlib import Path

import pytest
import torch

from ssl_core.models.bundle import load_bundle, save_bundle
from tests.contracts import encoders as kit

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.parametrize("case", [c for c in kit.CASES if not c.slow_export], ids=lambda case: case.name),
]


def test_features_are_those_of_the_cpu(case: kit.EncoderCase, monkeypatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    encoder, x = case.build().eval(), case.input(7)
    with torch.no_grad():
        expected = encoder(x)
        there = copy.deepcopy(encoder).cuda()(x.cuda()).cpu()
    torch.testing.assert_close(there, expected, rtol=1e-3, atol=1e-4)


def test_trains_in_half_precision(case: kit.EncoderCase) -> None:
    encoder, x = case.build().cuda().train(), case.input(16).cuda()
    scaler = torch.amp.GradScaler("cuda", init_scale=128.0)
    with torch.autocast("cuda", dtype=torch.float16):
        loss = encoder(x).float().square().mean()
    scaler.scale(loss).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in encoder.parameters())


def test_is_saved_for_the_cpu(case: kit.EncoderCase, tmp_path: Path) -> None:
    encoder = case.build(seed=2).cuda()
    save_bundle(encoder, case.card, tmp_path / "bundle", name=case.name, lineage={})
    assert next(encoder.parameters()).is_cuda
    loaded = load_bundle(tmp_path / "bundle")
    with torch.no_grad():
        torch.testing.assert_close(loaded(case.input(2)), case.build(seed=2).eval()(case.input(2)))
