"""Files of Gaussians from the command line: what is refused, in one line, and what an option drops."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_sets import put
from typer.testing import CliRunner

from ssl_core.errors import ConfigError, GaussianFileError
from ssl_core.packing.packed_object import MAX_RENDERED
from study.commands.cli import app


def run(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def spoilt(tmp_path) -> Path:
    """A set of four objects; one has a Gaussian whose x is no number."""
    root = tmp_path / "set"
    for i, key in enumerate(("box/train/a", "box/test/b", "rod/train/c", "rod/test/d")):
        put(root, key, i, views=1)
    (file,) = (root / "points/box/train/a").rglob("*.ply")
    content = file.read_bytes()
    start = content.index(b"end_header\n") + 11
    file.write_bytes(content[:start] + np.float32(np.nan).tobytes() + content[start + 4 :])
    return root


def test_pack_drops_bad_rows_when_it_is_told_to(spoilt, tmp_path):
    words = [sys.executable, "-m", "study.commands.cli", "pack", "--workers", "1", "--out", str(tmp_path / "p")]
    words += ["--points", str(spoilt / "points"), "--images", str(spoilt / "images")]
    environment = {**os.environ, "SPLATSWEEP_HOME": str(tmp_path / "home")}
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=200, env=environment)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()[-1:]
    assert "point_cloud.ply: 1 of 48 Gaussians have values that cannot be used: 'x' (1 NaN)" in line
    assert "--drop-bad-rows" in line
    assert "Traceback" not in done.stderr
    facts: dict[str, Any] = json.loads(run(*words[3:], "--drop-bad-rows", "--json"))
    assert facts["gaussians"]["dropped_rows"] == 1
    manifest = json.loads((tmp_path / "p/manifest.json").read_text())
    assert manifest["dropped_rows"] == {"box/train/a": 1}


def test_inspect_drops_bad_rows_when_it_is_told_to(spoilt, tmp_path):
    (file,) = (spoilt / "points/box/train/a").rglob("*.ply")
    with pytest.raises(GaussianFileError, match=r"'x' is nan.*--drop-bad-rows"):
        run("inspect", file)
    page = tmp_path / "page.html"
    assert "47, all values finite; 1 dropped" in run("inspect", file, "--drop-bad-rows", "--html", page)
    assert "rows that are not finite" in page.read_text()


def test_inspect_names_what_is_no_file_of_gaussians(tmp_path):
    path = tmp_path / "scan.pcd"
    path.write_bytes(b"# .PCD v0.7\n")
    with pytest.raises(GaussianFileError, match=r"is a point cloud \(\.pcd\), not Gaussians; .*train Gaussians"):
        run("inspect", path)


def test_pack_says_how_many_gaussians_views_are_rendered_from():
    assert f"{MAX_RENDERED:,}" in run("pack", "--help")


TETRAHEDRON = "OFF\n4 4 0\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n3 0 2 1\n3 0 1 3\n3 0 3 2\n3 1 2 3\n"


def test_pack_reads_meshes_and_plain_points(tmp_path):
    for place in ("a/train/1", "a/train/2", "a/test/3"):
        (tmp_path / "meshes" / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "meshes" / f"{place}.off").write_text(TETRAHEDRON)
        (tmp_path / "points" / place).parent.mkdir(parents=True, exist_ok=True)
        np.savetxt(tmp_path / "points" / f"{place}.xyz", np.random.default_rng(0).normal(size=(30, 3)))
    small = ("--workers", 1, "--cached-points", 16, "--json", "--image-size", 16)
    meshes = ("pack", "--meshes", tmp_path / "meshes", "--views", 2, "--surface-points", 64)
    facts = json.loads(run(*meshes, "--out", tmp_path / "m", *small))
    assert facts["groups"] == ["xyz", "normals"]
    assert facts["gaussians"]["kept"] == 3 * 64
    assert (facts["views"]["total"], facts["views"]["cameras"], facts["views"]["masks"]) == (6, True, True)
    facts = json.loads(run("pack", "--points", tmp_path / "points", "--out", tmp_path / "p", *small))
    assert facts["groups"] == ["xyz"]
    assert facts["views"]["total"] == 0
    assert "90" in run("inspect", tmp_path / "p")


def test_pack_reads_renders_with_split_lists(tmp_path):
    picture = np.zeros((16, 16, 4), np.uint8)
    picture[4:12, 4:12] = 200
    for i, split in enumerate(("train", "val", "test")):
        model = f"03001627/abc{i}"
        for folder in (tmp_path / "images" / model, tmp_path / "points" / model, tmp_path / "splits"):
            folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(tmp_path / "images" / model / "render_0.png")
        (tmp_path / "images" / model / "view.txt").write_text("0 0 0 2\n")
        cloud = np.random.default_rng(i).uniform(-0.2, 0.2, (30, 3))
        np.save(tmp_path / "points" / model / "pcl_1024_fps_trimesh.npy", cloud)
        names = np.array([[f"abc{i}_0"]], dtype=object)
        np.save(tmp_path / "splits" / f"images_list_03001627_{split}.npy", names)
    words = ["pack", "--workers", 1, "--cached-points", 16, "--json", "--out", tmp_path / "p"]
    words += ["--points", tmp_path / "points", "--images", tmp_path / "images", "--splits"]
    facts = json.loads(run(*words, tmp_path / "splits"))
    assert (facts["views"]["total"], facts["views"]["cameras"], facts["views"]["masks"]) == (3, True, True)
    manifest = json.loads((tmp_path / "p/manifest.json").read_text())
    assert [item["validation"] for item in manifest["objects"]] == [False, False, True]
    assert manifest["notes"] == {}
    with pytest.raises(ConfigError, match="--splits are lists for renders"):
        run("pack", "--out", tmp_path / "q", "--points", tmp_path / "points", "--splits", tmp_path / "splits")


@pytest.mark.parametrize("words", [(), ("--points", "a", "--meshes", "b"), ("--meshes", "b", "--images", "c")])
def test_pack_takes_one_kind_of_data(tmp_path, words):
    with pytest.raises(ConfigError, match="give one of them"):
        run("pack", "--out", tmp_path / "p", *words)


def test_surface_needs_meshes(tmp_path, monkeypatch):
    monkeypatch.setenv("SPLATSWEEP_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="--surface says what becomes of --meshes"):
        run("sweep", "--surface", "--data", tmp_path)


def test_surfaces_are_of_objects_and_not_of_scenes(tmp_path, monkeypatch):
    monkeypatch.setenv("SPLATSWEEP_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="read scenes, and --meshes furnish their rooms; leave it out"):
        run("sweep", "search_spaces/fit3d_quick.yaml", "--surface", "--meshes", tmp_path)
