"""Channels in a .ply: what is written is read, readers that do not know them are not disturbed, wrong files refused."""

from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from ssl_core.errors import PlyError
from ssl_core.gaussians.channel_ply import read_channels
from ssl_core.gaussians.gaussian_cloud import GaussianCloud
from ssl_core.gaussians.gaussian_file import read_gaussians
from ssl_core.gaussians.ply import write_gaussian_ply

RNG = np.random.default_rng(0)


def some(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


CLOUD = GaussianCloud(some(7, 3), some(7), some(7, 3), some(7, 4), some(7, 3), some(7, 15, 3))


@pytest.mark.parametrize("count", [1, 64, 512])
def test_channels_come_back_and_so_does_the_cloud(tmp_path: Path, count: int) -> None:
    channels = some(7, count)
    write_gaussian_ply(tmp_path / "field.ply", CLOUD, prefix="label", channels=channels)
    assert np.array_equal(read_channels(tmp_path / "field.ply", "label"), channels)
    found = read_gaussians(tmp_path / "field.ply").cloud
    for name in ("xyz", "opacity_logits", "log_scales", "quaternions", "sh_dc", "sh_rest"):
        assert np.array_equal(getattr(found, name), getattr(CLOUD, name)), name


def test_names_between_others_and_doubles_in_text_are_read(tmp_path: Path) -> None:
    """As FiT3D writes them: before the opacity. plyfile writes what we do not."""
    rows = np.zeros(3, [("x", "f4"), ("sem_1", "f8"), ("opacity", "f4"), ("sem_0", "f8")])
    rows["sem_0"], rows["sem_1"] = [1, 2, 3], [4, 5, 6]
    PlyData([PlyElement.describe(rows, "vertex")], text=True).write(tmp_path / "other.ply")
    assert read_channels(tmp_path / "other.ply", "sem").tolist() == [[1, 4], [2, 5], [3, 6]]


@pytest.mark.parametrize(
    ("prefix", "channels", "message"),
    [
        ("label", np.zeros((6, 2), np.float32), "one row for each of the 7"),
        ("label", np.full((7, 2), np.nan, np.float32), "not finite"),
        ("scale", np.zeros((7, 2), np.float32), "cannot be named 'scale_0'"),
        ("f_rest", np.zeros((7, 2), np.float32), "cannot be named"),
        ("La bel", np.zeros((7, 2), np.float32), "cannot be named"),
    ],
)
def test_wrong_channels_are_not_written(tmp_path: Path, prefix: str, channels: np.ndarray, message: str) -> None:
    with pytest.raises(PlyError, match=message):
        write_gaussian_ply(tmp_path / "field.ply", CLOUD, prefix=prefix, channels=channels)
    assert not (tmp_path / "field.ply").exists()


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    write_gaussian_ply(tmp_path / "plain.ply", CLOUD)
    with pytest.raises(PlyError, match=r"plain\.ply.*has 0 properties 'label_0'"):
        read_channels(tmp_path / "plain.ply", "label")
    rows = np.zeros(3, [("label_0", "f4"), ("label_2", "f4"), ("kind_0", "i4")])
    PlyData([PlyElement.describe(rows, "vertex")]).write(tmp_path / "gap.ply")
    with pytest.raises(PlyError, match="lacks 'label_1'"):
        read_channels(tmp_path / "gap.ply", "label")
    with pytest.raises(PlyError, match="not all float"):
        read_channels(tmp_path / "gap.ply", "kind")
    write_gaussian_ply(tmp_path / "whole.ply", CLOUD, prefix="label", channels=some(7, 3))
    (tmp_path / "short.ply").write_bytes((tmp_path / "whole.ply").read_bytes()[:-9])
    with pytest.raises(PlyError, match="truncated"):
        read_channels(tmp_path / "short.ply", "label")
