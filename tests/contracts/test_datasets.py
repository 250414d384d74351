"""What holds for every kind of dataset: study and registry move and remember packs by these facts alone."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_core.data.dataset import Dataset, open_dataset, parse_manifest
from ssl_core.data.manifest import BLOCK_BYTES
from ssl_core.data.object_pack import PackConfig
from ssl_core.data.scene_pack import ScenePackConfig
from ssl_core.errors import PackError
from ssl_core.packing.pack_writer import write_pack
from ssl_core.packing.scene_writer import write_scene_pack
from ssl_core.scenes.cameras import orbit_cameras
from study.datasets.pack_storage import open_data, push_pack
from tests.small_sets import put
from tests.ssl_core.camera_writers import opengl_pose, write_json

Make = Callable[[Path, Path], Dataset]


def object_pack(root: Path, out: Path) -> Dataset:
    """A pack of four objects; their files are written under `root` unless they are there."""
    if not root.exists():
        for seed, key in enumerate(("a/train/x", "a/test/y", "b/train/x", "b/test/y")):
            put(root, key, seed)
    return write_pack(root / "points", root / "images", out, PackConfig(cached_points=16, starts=1), update=True)


def scene_pack(root: Path, out: Path) -> Dataset:
    """A pack of ten views; their files are written under `root` unless they are there."""
    if not root.exists():
        cameras = orbit_cameras(10, 8)
        frames = [{"file_path": f"{i}", "transform_matrix": opengl_pose(camera)} for i, camera in enumerate(cameras)]
        write_json(root / "transforms.json", {"camera_angle_x": 0.8, "w": 8, "h": 8, "frames": frames})
        for i in range(10):
            Image.fromarray(np.full((8, 8, 3), 20 * i, np.uint8)).save(root / f"{i}.png")
    return write_scene_pack(root, out, ScenePackConfig(), update=True)


@pytest.fixture(params=[object_pack, scene_pack], ids=["objects", "scene"])
def make(request) -> Make:
    return request.param


@pytest.fixture
def made(make, tmp_path) -> Dataset:
    return make(tmp_path / "input", tmp_path / "pack")


def test_the_manifest_lists_the_files_and_their_bytes(made):
    names = {file.name for file in made.path.iterdir()} - {"manifest.json", "sources.json"}
    assert names == made.files.keys()
    for name, facts in made.files.items():
        assert facts.bytes == (made.path / name).stat().st_size
        assert len(facts.blocks) == -(-facts.bytes // BLOCK_BYTES)


def test_equal_input_gives_equal_bytes_and_one_digest(make, made, tmp_path):
    again = make(tmp_path / "input", tmp_path / "again")
    assert (again.digest, again.files) == (made.digest, made.files)
    assert open_dataset(made.path).digest == made.manifest.content_digest() == made.digest
    picture = next((tmp_path / "input").rglob("*.png"))
    Image.fromarray(np.full((8, 8, 3), 7, np.uint8)).save(picture)
    assert make(tmp_path / "input", made.path).digest != again.digest


def test_a_moved_pack_is_the_same_pack(made, tmp_path):
    moved = open_dataset(shutil.move(made.path, tmp_path / "moved"))
    assert (moved.digest, moved.files, moved.path) == (made.digest, made.files, tmp_path / "moved")


def test_it_travels_through_a_store(made, tmp_path, monkeypatch):
    monkeypatch.setenv("SPLATSWEEP_CACHE", str(tmp_path / "cache"))
    uri = f"file://{tmp_path / 'store'}"
    push_pack(made, uri)
    fetched = open_data(uri, digest=made.digest)
    assert type(fetched) is type(made)
    assert {name: (fetched.path / name).read_bytes() for name in fetched.files} == {
        name: (made.path / name).read_bytes() for name in made.files
    }


def test_what_is_not_whole_is_refused(made):
    name = max(made.files, key=lambda name: made.files[name].bytes)
    content = (made.path / name).read_bytes()
    (made.path / name).write_bytes(content[:-1])
    with pytest.raises(PackError, match=f"{name}: .*make the pack again"):
        open_dataset(made.path)
    (made.path / name).unlink()
    with pytest.raises(PackError, match=f"{name}: .*make the pack again"):
        open_dataset(made.path)
    (made.path / "manifest.json").unlink()
    with pytest.raises(PackError, match="half-written"):
        open_dataset(made.path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"schema_version": 9}, "pack schema 9, this version reads 2 and 3"),
        ({"files": {"../strange": {"bytes": 1, "blocks": []}}}, "names a file '../strange' that no pack has"),
        ({"config": None}, "is damaged"),
        ({"kind": "film"}, "is the pack of films"),
    ],
)
def test_a_manifest_that_cannot_be_is_refused(made, change, match):
    file = made.path / "manifest.json"
    text = json.dumps(json.loads(file.read_text()) | change)
    with pytest.raises(PackError, match=match):
        parse_manifest(text.encode(), file)
    file.write_text(text)
    with pytest.raises(PackError, match=match):
        open_dataset(made.path)
