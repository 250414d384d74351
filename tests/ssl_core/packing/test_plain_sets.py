"""Sets of plain points and of meshes become packs, from folders and archives, and say what they have."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from plain_sets import (
    CLASSES,
    POINTS,
    shape,
    write_bare_npy,
    write_flat,
    write_h5,
    write_meshes,
    write_modelnet40_h5,
    write_normal_resampled,
    write_npy,
    write_scanobjectnn,
    write_txt,
    zipped,
)

from ssl_core.contracts import PointsContract
from ssl_core.data.object_pack import Pack, PackConfig
from ssl_core.data.point_columns import assemble
from ssl_core.data.point_sampler import PointSampler, check_contract
from ssl_core.errors import InfeasibleError, LayoutError, PackError
from ssl_core.files.image_files import write_image
from ssl_core.files.source import H5Source, read_bytes
from ssl_core.gaussians.gaussian_cloud import GAUSSIAN_GROUPS
from ssl_core.packing.layout import find_meshes, find_objects, view_path
from ssl_core.packing.pack_writer import PackJob, build_here, make_pack, write_pack

SMALL = PackConfig(cached_points=32, starts=2)
SURFACE = PackConfig(cached_points=32, starts=2, surface_points=200, rendered_views=2, rendered_size=24)


def pack_of(points: Path, out: Path, config: PackConfig = SMALL, **options: bool) -> Pack:
    return write_pack(points, None, out, config, **options)


def keys(found) -> list[str]:
    objects, problems = found
    assert problems == []
    return [item.key for item in objects]


# ---- layouts


@pytest.mark.parametrize(("write", "ending"), [(write_npy, "npy"), (write_txt, "txt")])
def test_files_in_the_folder_of_their_split(tmp_path: Path, write, ending: str) -> None:
    root = write_flat(tmp_path / "set", write, ending)
    folder, archive = keys(find_objects(root, None)), keys(find_objects(zipped(root, tmp_path / "a.zip", "set/"), None))
    assert folder == archive
    assert len(folder) == 16
    assert folder[0] == "ball/test/ball_0000"
    (root / "ball/train/readme.txt").write_text("points of a ball")
    assert ("ball/train/readme" in keys(find_objects(root, None))) == (ending == "txt")


def test_modelnet40_normal_resampled(tmp_path: Path) -> None:
    root = write_normal_resampled(tmp_path / "modelnet40_normal_resampled")
    found = keys(find_objects(root, None))
    assert len(found) == 12
    assert found[-1] == "night_stand/train/night_stand_0004"
    assert found == keys(find_objects(zipped(root, tmp_path / "a.zip", "modelnet40_normal_resampled/"), None))
    (root / "ball/ball_0001.txt").unlink()
    _, (problem,) = find_objects(root, None)
    assert problem.reason == "listed object without a file; fetch it or take it off the list"
    for file in root.glob("modelnet40_*.txt"):
        file.unlink()
    assert len(find_objects(root, None)[0]) == 5, "the ten classes' lists, where the forty's are not there"


def test_a_part_of_shapenet55_as_points(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(4):
        write_bare_npy(tmp_path / f"02691156-{i:04d}.npy", *shape("ball", rng))
        np.save(tmp_path / f"02691156-{i:04d}.parts.npy", np.zeros(POINTS, int))
    (tmp_path / "train.txt").write_text("02691156-0000.npy\n02691156-0001.npy\n02691156-0002.npy\n")
    (tmp_path / "test.txt").write_text("02691156-0003.npy\n")
    objects, problems = find_objects(tmp_path, None)
    assert problems == []
    assert [item.key for item in objects] == ["02691156/test/0003", *(f"02691156/train/000{i}" for i in range(3))]
    assert all(item.part_labels is not None for item in objects)


def test_zipped_meshes_in_a_folder_beside_an_unpacked_class(tmp_path: Path) -> None:
    """modelnet10_full: CLASS.zip with members CLASS/{train,test}/NAME.off."""
    root = write_meshes(tmp_path / "meshes")
    whole = keys(find_meshes(root))
    mixed = tmp_path / "mixed"
    zipped(root / "ball", mixed / "ball.zip", "ball/")
    shutil.copytree(root / "night_stand", mixed / "night_stand")
    assert keys(find_meshes(mixed)) == whole
    assert keys(find_meshes(zipped(root, tmp_path / "all.zip", "ModelNet2/"))) == whole


def test_a_member_with_an_unsafe_path_is_a_problem(tmp_path: Path) -> None:
    archive = zipped(write_meshes(tmp_path / "meshes"), tmp_path / "meshes.zip")
    with zipfile.ZipFile(archive, "a") as out:
        out.writestr("../ball/train/evil.off", "OFF")
    meshes, (problem,) = find_meshes(archive)
    assert len(meshes) == 8
    assert "leads out of the archive" in problem.reason


# ---- .h5


def test_modelnet40_h5(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    root = write_modelnet40_h5(tmp_path / "modelnet40_ply_hdf5_2048")
    objects, problems = find_objects(root, None)
    assert problems == []
    assert sum(item.split == "train" for item in objects) == 8
    assert sum(item.split == "test" for item in objects) == 4
    item = next(item for item in objects if item.key == "night_stand/train/ply_data_train1_00003")
    assert isinstance(item.gaussians, H5Source)
    rng = np.random.default_rng(1)
    wanted = [shape(CLASSES[label], rng) for label in (0, 1, 0, 1)][3]
    content = read_bytes(item.gaussians, 2**20)
    np.testing.assert_array_equal(np.frombuffer(content[-24 * POINTS :], "<f4").reshape(POINTS, 6), np.hstack(wanted))
    pack = pack_of(root, tmp_path / "a")
    assert pack.manifest.groups == ("xyz", "normals")
    zip_pack = pack_of(zipped(root, tmp_path / "m.zip", "modelnet40_ply_hdf5_2048/"), tmp_path / "b")
    assert zip_pack.digest == pack.digest


def test_scanobjectnn(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    root = write_scanobjectnn(tmp_path / "h5_files/main_split")
    found = keys(find_objects(root, None))
    assert len(found) == 7, "of the plain pair alone"
    assert found[0] == "chair/test/test_objectdataset_00000"
    assert {key.split("/")[0] for key in found} == {"chair", "toilet"}
    assert pack_of(root, tmp_path / "p").manifest.groups == ("xyz",)
    with pytest.raises(LayoutError, match=r"holds \.h5 files in main_split: give that folder"):
        find_objects(root.parent, None)
    (root / "training_objectdataset.h5").unlink()
    with pytest.raises(LayoutError, match="several variants"):
        find_objects(root, None)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda root: (root / "shape_names.txt").unlink(), "its labels have no names; put shape_names.txt"),
        (lambda root: (root / "shape_names.txt").write_text("ball\n"), "label 1 of row 0 has no name"),
        (
            lambda root: (root / "ply_data_test0.h5").write_bytes(b"no hdf"),
            "ply_data_test0.h5: is no readable .h5 file",
        ),
        (lambda root: (root / "extra.h5").write_bytes(b""), "of which split it is"),
        (lambda root: _without(root / "ply_data_test0.h5", "label"), "expected the arrays data"),
        (lambda root: _without(root / "ply_data_test0.h5", "data"), r"found label \[4, 1\], normal"),
    ],
)
def test_an_h5_set_that_is_not_what_it_should_be(tmp_path: Path, spoil, words: str) -> None:
    pytest.importorskip("h5py")
    root = write_modelnet40_h5(tmp_path / "set")
    spoil(root)
    with pytest.raises(LayoutError, match=words) as caught:
        find_objects(root, None)
    assert "\n" not in str(caught.value)


def _without(path: Path, key: str) -> None:
    import h5py

    with h5py.File(path, "a") as file:
        del file[key]


def test_what_an_h5_keeps_in_other_files_is_not_followed(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    root = write_modelnet40_h5(tmp_path / "set")
    write_h5(tmp_path / "secret.h5", [0, 1], normals=False)
    with h5py.File(root / "ply_data_test0.h5", "a") as file:
        del file["data"]
        file["data"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/data")
    with pytest.raises(LayoutError, match="expected the arrays data"):
        find_objects(root, None)


# ---- packs


def test_a_pack_of_points_says_what_it_has(tmp_path: Path) -> None:
    pack = pack_of(write_flat(tmp_path / "set", write_npy, "npy"), tmp_path / "p")
    assert pack.manifest.groups == ("xyz", "normals")
    assert not pack.manifest.views_rendered
    assert len(pack.views) == 0
    assert pack.num_views.tolist() == [0] * 16
    assert Pack.open(tmp_path / "p").digest == pack.digest
    for group in ("opacity", "scale", "rotation", "sh_dc", "sh_rest"):
        with pytest.raises(InfeasibleError, match=f"feature group '{group}' is not in this pack"):
            check_contract(pack, PointsContract(features=("xyz", group), num_points=16))
    bare = pack_of(write_flat(tmp_path / "bare", write_bare_npy, "npy"), tmp_path / "q")
    assert bare.manifest.groups == ("xyz",)
    for group in ("normals", "normal_tensor"):
        with pytest.raises(InfeasibleError, match=f"'{group}' is not in this pack"):
            check_contract(bare, PointsContract(features=("xyz", group), num_points=16))


def test_sampled_normals_are_those_of_the_file(tmp_path: Path) -> None:
    """Up to their sign, which the contract fixes; the outer product is the same for both."""
    pack = pack_of(write_flat(tmp_path / "set", write_npy, "npy"), tmp_path / "p")
    contract = PointsContract(features=("normals", "normal_tensor"), num_points=32)
    for index, item in enumerate(pack.manifest.objects):
        table = np.load(tmp_path / "set" / item.class_name / item.split / f"{item.name}.npy").astype("f4")
        of_point = {tuple(row[:3]): row[3:] for row in table}
        rows = pack.rows_of(index)
        wanted = np.array([of_point[tuple(xyz)] for xyz in rows[:, :3]])
        found = assemble(rows[None], contract)[0]
        np.testing.assert_allclose(np.abs((found[:, :3] * wanted).sum(axis=1)), 1, atol=1e-5)
        np.testing.assert_allclose(found[:, 3:6], wanted**2, atol=1e-5)
        np.testing.assert_allclose(found[:, 6], wanted[:, 0] * wanted[:, 1], atol=1e-5)


@pytest.mark.parametrize("codec", ["raw", "jpeg"])
def test_a_pack_without_views_in_every_codec(tmp_path: Path, codec: str) -> None:
    root = write_flat(tmp_path / "set", write_bare_npy, "npy", train=2, test=1)
    config = SMALL.model_copy(update={"codec": codec})
    pack = pack_of(root, tmp_path / "p", config)
    assert len(pack.views) == 0
    assert pack.views[np.zeros(0, np.int64)].shape == (0, 3, 64, 64)


def test_points_with_pictures(tmp_path: Path) -> None:
    root = write_flat(tmp_path / "points", write_npy, "npy", train=2, test=1)
    for item in find_objects(root, None)[0]:
        picture = view_path(tmp_path / "images", item.class_name, item.split, item.name, 0)
        picture.parent.mkdir(parents=True)
        write_image(picture, np.full((16, 16, 3), 40, np.uint8))
    pack = write_pack(root, tmp_path / "images", tmp_path / "p", SMALL)
    assert pack.num_views.tolist() == [1] * 6
    assert pack.image_size == 16
    assert pack.manifest.groups == ("xyz", "normals")
    (root / "ball/train/ball_0001.npy").unlink()
    (problem,) = find_objects(root, tmp_path / "images")[1]
    assert problem.reason == "views without object: no Gaussians of this name"


def test_columns_that_some_files_lack(tmp_path: Path) -> None:
    root = write_flat(tmp_path / "set", write_npy, "npy", train=2, test=1)
    write_bare_npy(root / "ball/train/ball_0001.npy", *shape("ball", np.random.default_rng(1)))
    with pytest.raises(PackError, match=r"1 of 6 objects have no 'normals' \(ball/train/ball_0001\), others have"):
        pack_of(root, tmp_path / "p")
    pack = pack_of(root, tmp_path / "p", skip_bad=True)
    assert pack.manifest.groups == ("xyz",)
    assert any("no 'normals'" in note for note in pack.manifest.notes)


def test_bad_clouds_are_named_before_there_is_a_pack(tmp_path: Path) -> None:
    root = write_flat(tmp_path / "set", write_bare_npy, "npy", train=3, test=1)
    np.save(root / "ball/train/ball_0000.npy", np.ones((1, 3)))
    np.save(root / "ball/train/ball_0001.npy", np.full((9, 3), 2.0))
    np.save(root / "ball/test/ball_0000.npy", np.full((9, 3), np.nan))
    with pytest.raises(PackError) as caught:
        pack_of(root, tmp_path / "p")
    for words in ("at least 2", "at one place", "9 of 9 points cannot be used"):
        assert words in str(caught.value)
    assert not (tmp_path / "p").exists()
    assert len(pack_of(root, tmp_path / "p", skip_bad=True).manifest.refused) == 3


def test_what_did_not_change_is_copied(tmp_path: Path) -> None:
    root = write_flat(tmp_path / "set", write_npy, "npy", train=3, test=1)
    pack_of(root, tmp_path / "p")
    write_npy(root / "ball/train/ball_0009.npy", *shape("ball", np.random.default_rng(9)))
    pack, stats = make_pack(PackJob(root, None, tmp_path / "p", SMALL, update=True), build_here)
    assert (stats.made, stats.copied) == (1, 8)
    assert pack.digest == pack_of(root, tmp_path / "q").digest
    assert pack.manifest.groups == ("xyz", "normals")


def test_gaussians_keep_all_their_groups(tiny_pack: Pack) -> None:
    assert set(GAUSSIAN_GROUPS) <= set(tiny_pack.manifest.groups)
    assert tiny_pack.manifest.groups[-2:] == ("sh_rest", "normals")


# ---- meshes


def test_a_pack_of_meshes(tmp_path: Path) -> None:
    root = write_meshes(tmp_path / "meshes")
    pack = pack_of(root, tmp_path / "p", SURFACE)
    assert pack.manifest.groups == ("xyz", "normals")
    assert pack.manifest.views_rendered
    assert pack.num_views.tolist() == [2] * 8
    assert pack.masks is not None
    assert pack.masks.max() == 255
    xyz = pack.gaussians[:, :3]
    assert np.linalg.norm(xyz, axis=1).max() <= 1 + 1e-5
    assert pack.digest == pack_of(zipped(root, tmp_path / "m.zip", "set/"), tmp_path / "q", SURFACE).digest


def test_points_of_a_mesh_lie_on_it_and_under_its_silhouette(tmp_path: Path) -> None:
    """A cube of side 2/sqrt(3) in the unit sphere: every point on a side, its normal along that side's axis; in every
    view it falls on a pixel that the mask covers, or next to one."""
    pack = pack_of(write_meshes(tmp_path / "meshes", train=2), tmp_path / "p", SURFACE)
    index = next(i for i, item in enumerate(pack.manifest.objects) if item.name == "night_stand_0000")
    contract = PointsContract(features=("normals",), num_points=32)
    normals = PointSampler(pack, contract, np.array([index])).draw(np.array([index]), 0)[0]
    np.testing.assert_allclose(np.abs(normals).max(axis=1), 1, atol=1e-5)
    item = pack.manifest.objects[index]
    xyz = pack.gaussians[item.first_row : item.first_row + item.rows, :3].astype(np.float64)
    np.testing.assert_allclose(np.abs(xyz).max(axis=1), 1 / np.sqrt(3), atol=1e-5)
    for view in range(item.first_view, item.first_view + item.views):
        camera = pack.camera(view)
        local = xyz @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
        pixel = local @ camera.K.T
        column, row = np.floor(pixel[:, 0] / pixel[:, 2]).astype(int), np.floor(pixel[:, 1] / pixel[:, 2]).astype(int)
        near = [
            pack.masks[view][max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2].max()
            for r, c in zip(row, column, strict=True)
        ]
        assert min(near) > 0


def test_an_empty_mesh_is_named(tmp_path: Path) -> None:
    root = write_meshes(tmp_path / "meshes", train=2)
    (root / "ball/train/ball_0000.off").write_text("OFF\n0 0 0\n")
    with pytest.raises(PackError, match=r"ball/train/ball_0000.*has no vertices"):
        pack_of(root, tmp_path / "p", SURFACE)


def test_faces_inside_a_body_give_no_points(tmp_path: Path) -> None:
    """A tetrahedron within a cube: no view shows it."""
    root = write_meshes(tmp_path / "meshes", train=2)
    cube = (root / "night_stand/train/night_stand_0000.off").read_text().splitlines()
    inner = [" ".join(str(0.4 + 0.2 * float(x)) for x in line.split()) for line in ("0 0 0", "1 0 0", "0 1 0", "0 0 1")]
    faces = ["3 8 10 9", "3 8 9 11", "3 8 11 10", "3 9 10 11"]
    lines = ["OFF", "12 10 0", *cube[2:10], *inner, *cube[10:], *faces]
    (root / "night_stand/train/night_stand_0000.off").write_text("\n".join(lines))
    pack = pack_of(root, tmp_path / "p", SURFACE)
    item = next(item for item in pack.manifest.objects if item.key == "night_stand/train/night_stand_0000")
    xyz = pack.gaussians[item.first_row : item.first_row + item.rows, :3]
    assert np.abs(xyz).max(axis=1).min() > 0.5


# ---- real data


def test_real_clouds(shared_data: Path) -> None:
    from ssl_core.clouds.cloud_file import read_point_cloud

    found = keys(find_objects(shared_data / "modelnet10_pcd1024", None))
    assert len(found) == 742
    item = find_objects(shared_data / "modelnet10_pcd1024", None)[0][0]
    assert read_point_cloud(item.gaussians).xyz.shape == (1024, 3)


def test_real_mesh_archives(shared_data: Path) -> None:
    from ssl_core.meshes.mesh_file import read_mesh

    if not (shared_data / "modelnet10_full").is_dir():
        pytest.skip("no modelnet10_full")
    meshes, problems = find_meshes(shared_data / "modelnet10_full")
    assert problems == []
    assert len(meshes) == 4077
    assert len(read_mesh(meshes[0].source).faces) > 10
