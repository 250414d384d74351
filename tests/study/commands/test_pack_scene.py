"""A scene from the command line: packed, looked at, pushed and fetched."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ssl_core.data.scene_pack import ScenePack
from ssl_core.errors import ConfigError
from ssl_core.scenes.cameras import orbit_cameras
from study.commands.cli import app
from study.datasets.pack_storage import open_data
from tests.ssl_core.camera_writers import opengl_pose, write_json


def run(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def scene(tmp_path) -> Path:
    folder = tmp_path / "scene"
    frames = [
        {"file_path": f"{i:02d}", "transform_matrix": opengl_pose(camera)}
        for i, camera in enumerate(orbit_cameras(10, 8))
    ]
    write_json(folder / "transforms.json", {"camera_angle_x": 0.8, "w": 8, "h": 8, "frames": frames})
    for i in range(10):
        Image.fromarray(np.full((8, 8, 3), 20 * i, np.uint8)).save(folder / f"{i:02d}.png")
    return folder


def test_packed_and_looked_at(scene, tmp_path):
    pack, page = tmp_path / "pack", tmp_path / "page.html"
    made: dict[str, Any] = json.loads(run("pack", "--scene", scene, "--out", pack, "--holdout", 4, "--json"))
    assert made["splits"] == {"test": 3, "val": 2, "train": 5}
    assert json.loads(run("inspect", pack, "--json"))["digest"] == made["digest"] == ScenePack.open(pack).digest
    text = run("inspect", pack, "--html", page)
    assert f"digest {made['digest']}" in text
    assert "train 5" in text
    assert page.read_text().count("data:image") >= 10


def test_pushed_and_fetched(scene, tmp_path, monkeypatch):
    monkeypatch.setenv("SPLATSWEEP_CACHE", str(tmp_path / "cache"))
    run("pack", "--scene", scene, "--out", tmp_path / "pack")
    uri = f"file://{tmp_path / 'store'}"
    run("push", tmp_path / "pack", uri)
    fetched = open_data(uri)
    assert isinstance(fetched, ScenePack)
    assert fetched.path.is_relative_to(tmp_path / "cache")
    np.testing.assert_array_equal(fetched.image(3), ScenePack.open(tmp_path / "pack").image(3))


@pytest.mark.parametrize("words", [(), ("--scene", "a", "--points", "b"), ("--scene", "a", "--images", "b")])
def test_either_points_or_a_scene(words):
    with pytest.raises(ConfigError, match="either --points"):
        run("pack", "--out", "nowhere", *words)
