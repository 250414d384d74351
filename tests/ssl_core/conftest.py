"""Clouds of any degree and .ply files of any dialect, for the tests of this folder."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from ssl_core.data.scene_pack import ScenePack
from ssl_core.gaussians.gaussian_cloud import SH_REST, GaussianCloud
from tests.small_rooms import small_rooms


def random_cloud(n: int = 6, degree: int = 3, seed: int = 0) -> GaussianCloud:
    rng = np.random.default_rng(seed)
    return GaussianCloud(
        xyz=rng.normal(size=(n, 3)),
        opacity_logits=rng.normal(size=n),
        log_scales=rng.normal(-4, 1, (n, 3)),
        quaternions=rng.normal(size=(n, 4)) * rng.uniform(0.1, 9, (n, 1)),
        sh_dc=rng.normal(size=(n, 3)),
        sh_rest=rng.normal(size=(n, SH_REST[degree], 3)),
    )


def named_columns(cloud: GaussianCloud) -> dict[str, np.ndarray]:
    """Property name -> values, spelled out one by one so that it is no copy of the writer."""
    columns = {name: cloud.xyz[:, i] for i, name in enumerate("xyz")}
    columns |= {f"f_dc_{i}": cloud.sh_dc[:, i] for i in range(3)}
    per_channel = cloud.sh_rest.shape[1]
    for channel in range(3):
        for k in range(per_channel):
            columns[f"f_rest_{channel * per_channel + k}"] = cloud.sh_rest[:, k, channel]
    columns["opacity"] = cloud.opacity_logits
    columns |= {f"scale_{i}": cloud.log_scales[:, i] for i in range(3)}
    columns |= {f"rot_{i}": cloud.quaternions[:, i] for i in range(4)}
    return columns


def write_columns(path: Path, columns: dict[str, np.ndarray], form: str = "little") -> Path:
    """A .ply with these properties in this order; `form` is little, big or ascii."""
    rows = np.empty(len(next(iter(columns.values()))), dtype=[(name, c.dtype) for name, c in columns.items()])
    for name, column in columns.items():
        rows[name] = column
    element = PlyElement.describe(rows, "vertex")
    PlyData([element], text=form == "ascii", byte_order=">" if form == "big" else "<").write(str(path))
    return path


def same_cloud(a: GaussianCloud, b: GaussianCloud) -> bool:
    """Equal to the last bit."""
    return all(
        getattr(a, field.name).shape == getattr(b, field.name).shape
        and getattr(a, field.name).tobytes() == getattr(b, field.name).tobytes()
        for field in fields(a)
    )


@pytest.fixture(scope="session")
def make_cloud() -> Callable[..., GaussianCloud]:
    return random_cloud


@pytest.fixture(scope="session")
def columns_of() -> Callable[[GaussianCloud], dict[str, np.ndarray]]:
    return named_columns


@pytest.fixture(scope="session")
def write_ply() -> Callable[..., Path]:
    return write_columns


@pytest.fixture(scope="session")
def same() -> Callable[[GaussianCloud, GaussianCloud], bool]:
    return same_cloud


@pytest.fixture(scope="session")
def scratch(tmp_path_factory) -> Path:
    """One folder for property tests, which may not use a folder per test."""
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="session")
def room_pack(tmp_path_factory: pytest.TempPathFactory) -> ScenePack:
    """Three rooms of eight views with labels and depth: one each for training, test and val."""
    return small_rooms(tmp_path_factory.mktemp("rooms"))
