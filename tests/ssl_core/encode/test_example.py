"""The example of the README runs as it stands, on plain files."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ssl_core.contracts import PointsContract
from ssl_core.gaussians.gaussian_cloud import GaussianCloud
from ssl_core.gaussians.ply import write_gaussian_ply
from ssl_core.models.bundle import save_bundle
from ssl_core.models.cards import encoder_card
from ssl_core.models.pointnet import PointNetConfig
from ssl_core.models.readout import ReadoutConfig

ROOT = Path(__file__).resolve().parents[3]


def write(file: Path, flat: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    xyz = rng.normal(size=(60, 3)) * ((1, 1, 0.05) if flat else (0.05, 0.05, 1))
    cloud = GaussianCloud(
        xyz, np.full(60, 3.0), np.full((60, 3), -3.0), np.ones((60, 4)), np.zeros((60, 3)), np.zeros((60, 0, 3))
    )
    write_gaussian_ply(file, cloud)


def test_splats_are_classified(tmp_path: Path) -> None:
    backbone = PointNetConfig(input_transform=False, feature_transform=False, feature_dim=64)
    read = {"readout": ReadoutConfig(hidden=96, parts=("hidden",))}  # as multiview_contrast registers its own
    card = encoder_card(PointsContract(num_points=48), backbone).model_copy(update=read)
    encoder = card.build(0)
    save_bundle(encoder, card, tmp_path / "encoder", name="points", lineage={})
    for i in range(4):
        write(tmp_path / f"set/plate/{i}.ply", True, i)
        write(tmp_path / f"set/pole/{i}.ply", False, 10 + i)
    write(tmp_path / "set/unknown/a.ply", True, 20)
    write(tmp_path / "set/unknown/b.ply", False, 21)
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples/classify_your_splats.py"), "set", "encoder"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "8 objects of 2 classes -> (8, 96)" in done.stdout
    assert "100.0 ± 0.0 %" in done.stdout
    assert done.stdout.splitlines()[-2:] == ["a.ply: plate", "b.ply: pole"]


def test_what_cannot_be_classified_is_said_before_anything_is_encoded(tmp_path, monkeypatch):
    backbone = PointNetConfig(input_transform=False, feature_transform=False, feature_dim=64)
    card = encoder_card(PointsContract(num_points=48), backbone)
    encoder = card.build(0)
    save_bundle(encoder, card, tmp_path / "encoder", name="points", lineage={})
    for name in ("plate/0", "plate/1", "pole/0"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / f"{name}.ply").touch()
    for words, says in (
        ([str(tmp_path / "set"), str(tmp_path / "encoder")], "found Counter({'plate': 2, 'pole': 1})"),
        ([str(tmp_path / "nothing"), str(tmp_path / "encoder")], "found Counter()"),
        ([], "python examples/classify_your_splats.py my_splats"),
    ):
        monkeypatch.setattr(sys, "argv", ["classify_your_splats.py", *words])
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(ROOT / "examples/classify_your_splats.py"))
        assert says in str(left.value)
