"""Part-labelled meshes as scenes: each pixel has the part of the face that it shows."""

import json
from pathlib import Path

import numpy as np
import pytest

from ssl_core.data.scene_pack import VOID, ScenePackConfig
from ssl_core.errors import LayoutError, MeshError
from ssl_core.packing.scene_writer import write_scene_pack
from ssl_core.splatting.part_scenes import PartScenesConfig, find_labelled_meshes, make_part_scenes, read_parts

CONFIG = PartScenesConfig(views=6, image_size=24, points=100)


def two_boxes() -> str:
    """A lower and an upper box, twelve triangles each; after the first triangle one without area."""
    corners = [(x, y, z) for low in (0, 2) for x in (0, 1) for y in (0, 1) for z in (low, low + 1)]
    quads = [(0, 1, 3, 2), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 7, 6), (0, 2, 6, 4), (1, 3, 7, 5)]
    halves = [half for a, b, c, d in quads for half in ((a, b, c), (a, c, d))]
    faces = [[base + corner for corner in half] for base in (0, 8) for half in halves]
    faces.insert(1, [0, 0, 1])
    lines = ["OFF", f"16 {len(faces)} 0", *(f"{x} {y} {z}" for x, y, z in corners)]
    return "\n".join([*lines, *("3 " + " ".join(map(str, face)) for face in faces)])


@pytest.fixture
def meshes(tmp_path) -> Path:
    for name in ("1", "2"):
        folder = tmp_path / "meshes/Lamp"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.off").write_text(two_boxes())
        (folder / f"{name}_labels.txt").write_text(
            "foot\n" + " ".join(map(str, range(1, 14))) + "\n\nshade\n" + " ".join(map(str, range(14, 26))) + "\n"
        )
    return tmp_path / "meshes"


def test_labels_follow_the_faces_past_those_that_are_dropped(meshes, tmp_path):
    make_part_scenes(meshes, tmp_path / "scenes", CONFIG)
    pack = write_scene_pack(tmp_path / "scenes", tmp_path / "pack", ScenePackConfig())
    assert pack.classes == ("lamp foot", "lamp shade")
    assert json.loads((tmp_path / "scenes/scenes.json").read_text()).keys() == {"Lamp_1", "Lamp_2"}
    for index in range(len(pack)):
        camera, labels, depth = pack.camera(index), pack.labels(index), pack.depth(index)
        np.testing.assert_array_equal(labels == VOID, depth == 0)
        rows, columns = np.nonzero(labels != VOID)
        rays = np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))], 1) @ np.linalg.inv(camera.K).T
        points = (rays * depth[rows, columns, None] - camera.viewmat[:3, 3]) @ camera.viewmat[:3, :3]
        # the middle of the mesh, between the boxes, is the origin
        np.testing.assert_array_equal(labels[rows, columns] == 1, points[:, 2] > 0)
        assert pack.mask(index)[labels != VOID].min() > 0
    assert {0, 1} <= set(np.unique(pack.labels(0)))


def test_what_is_no_labelling_is_refused(meshes, tmp_path):
    labels = meshes / "Lamp/2_labels.txt"
    for text, match in (
        ("1 2 3\n", "line 1 is neither a part's name nor numbers"),
        ("foot\n1 two\n", "line 2 is neither"),
        ("foot\n", "labels no face"),
        ("foot\n1 2 99\n", "'foot' has face 99 of 25 in 2.off"),
        ("foot\n0 1\n", "'foot' has face 0 of 25"),
        ("foot\n1 2\nshade\n2 3\n", "'shade' names a face twice, or that of another part"),
    ):
        labels.write_text(text)
        with pytest.raises(MeshError, match=match):
            make_part_scenes(meshes, tmp_path / "scenes", CONFIG)
    labels.unlink()
    with pytest.raises(LayoutError, match="holds 1 labelled meshes"):
        make_part_scenes(meshes, tmp_path / "scenes", CONFIG)


def test_real_labels_name_every_face_once(shared_data):
    items = find_labelled_meshes(shared_data / "psb_partlabels", limit=1)
    assert len(items) == 6
    for item in items:
        faces = np.sort(np.concatenate(list(read_parts(item.labels).values())))
        np.testing.assert_array_equal(faces, np.arange(len(faces)))
        assert f"{len(faces)}" == item.mesh.read_text().split()[2]
