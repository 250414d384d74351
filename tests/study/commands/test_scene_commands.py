"""Scenes from the command line: made, packed together, looked at; and a study without data makes rooms."""

import json
from pathlib import Path

import pytest

from ssl_core.data.object_pack import PackConfig
from ssl_core.data.scene_pack import ScenePack
from ssl_core.errors import ConfigError, MissingDependencyError
from ssl_core.splatting import rooms
from study.commands.sweep_command import _of_data
from study.registration.sweep import Request
from tests.small_rooms import SMALL
from tests.study.commands.test_pack_scene import run

ROOT = Path(__file__).resolve().parents[3]


def test_rooms_are_made_packed_and_looked_at(tmp_path):
    words = ("--rooms", 3, "--views", 4, "--image-size", 16, "--workers", 1)
    made = json.loads(run("rooms", "--out", tmp_path / "rooms", *words, "--json"))
    assert len(made["classes"]) == 13
    folders = sorted((tmp_path / "rooms").glob("room_*"))
    words = ("--out", tmp_path / "pack", "--test-scenes", "room_002", "--val-scenes", 0, "--downscale", 2)
    facts = json.loads(run("pack", "--scene", *folders, *words, "--json"))
    assert [scene["split"] for scene in facts["scenes"]] == ["train", "train", "test"]
    assert facts["views"] == 12
    assert facts["image_sizes"] == {"8x8": 12}
    assert sum(facts["classes"].values()) == pytest.approx(1, abs=1e-3)
    assert (facts["unlabelled"], facts["without_depth"]) == (0, 0)
    text = run("inspect", tmp_path / "pack", "--html", tmp_path / "page.html")
    assert "3 scenes (train 2, test 1)" in text
    assert "13 classes: " in text
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image") >= 3 * 12, "photograph, labels and depth of each view"
    assert "3 scenes (train 2, test 1)" in page
    with pytest.raises(ConfigError, match="downscale"):
        run("pack", "--scene", folders[0], "--out", tmp_path / "other", "--downscale", 3)
    with pytest.raises(ConfigError, match="give one of them"):
        run("pack", folders[0], "--points", tmp_path, "--out", tmp_path / "other")


def test_cameras_of_photographs_need_colmap(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="is not installed; install it"):
        run("scene-from", tmp_path, "--out", tmp_path / "scene")


def test_a_study_of_scenes_without_data_makes_rooms(tmp_path, monkeypatch):
    monkeypatch.setenv("SPLATSWEEP_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(rooms, "RoomsConfig", lambda: SMALL)
    text = (ROOT / "examples/own_recipe.py").read_text()
    assert " Pack, (OUTPUT" in text
    (tmp_path / "own_recipe.py").write_text(
        "from ssl_core.data.scene_pack import ScenePack\n" + text.replace(" Pack, (OUTPUT", " ScenePack, (OUTPUT")
    )
    space = tmp_path / "own.yaml"
    space.write_text((ROOT / "examples/own_recipe.yaml").read_text())
    told: list[str] = []
    request = _of_data(Request(space, "", None, None, None, {}), None, None, PackConfig(), told.append)
    assert ScenePack.open(request.pack).scenes_of("test") == (1,)
    assert told[0].startswith("furnished rooms at ")
    assert Path(request.pack).name == "rooms", "the sample set of objects has a name of its own"
    again = _of_data(Request(space, "", None, None, None, {}), None, None, PackConfig(), told.append)
    assert ScenePack.open(again.pack).digest == ScenePack.open(request.pack).digest
