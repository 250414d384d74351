"""The example of the README runs as it stands, on plain files."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from ssl_core.data.gaussians import GaussianCloud
from ssl_core.data.ply import write_gaussian_ply
from ssl_core.models.build import build_encoder
from ssl_core.models.bundle import save_bundle
from ssl_core.models.encoder import PointsContract
from ssl_core.models.pointnet import PointNetConfig

ROOT = Path(__file__).resolve().parents[2]


def write(file: Path, flat: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    xyz = rng.normal(size=(60, 3)) * ((1, 1, 0.05) if flat else (0.05, 0.05, 1))
    cloud = GaussianCloud(
        xyz, np.full(60, 3.0), np.full((60, 3), -3.0), np.ones((60, 4)), np.zeros((60, 3)), np.zeros((60, 0, 3))
    )
    write_gaussian_ply(file, cloud)


def example(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(ROOT / "examples/classify_your_splats.py"), *words],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=200,
    )


def test_splats_are_classified(tmp_path: Path) -> None:
    backbone = PointNetConfig(input_transform=False, feature_transform=False, feature_dim=64)
    encoder = build_encoder(PointsContract(num_points=48), backbone, seed=0)
    save_bundle(encoder, backbone, tmp_path / "encoder", name="points", lineage={})
    for i in range(4):
        write(tmp_path / f"set/plate/{i}.ply", True, i)
        write(tmp_path / f"set/pole/{i}.ply", False, 10 + i)
    write(tmp_path / "set/unknown/a.ply", True, 20)
    write(tmp_path / "set/unknown/b.ply", False, 21)
    done = example(tmp_path, "set", "encoder")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "8 objects of 2 classes -> (8, 64)" in done.stdout
    assert "100.0 ± 0.0 %" in done.stdout
    assert done.stdout.splitlines()[-2:] == ["a.ply: plate", "b.ply: pole"]
    for i in range(1, 4):
        (tmp_path / f"set/pole/{i}.ply").unlink()
    few = example(tmp_path, "set", "encoder")
    assert few.returncode == 1
    assert few.stderr.strip().splitlines()[-1].endswith("found Counter({'plate': 4, 'pole': 1})")
