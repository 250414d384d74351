"""Layouts with classes and splits: what is found, in which order, and what is listed as a problem."""

import os
import zipfile
from dataclasses import replace
from pathlib import Path
from unicodedata import normalize

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_core.errors import LayoutError
from ssl_core.files.source import read_bytes
from ssl_core.gaussians.gaussian_cloud import SUFFIXES
from ssl_core.packing.layout import SAFE_NAME, find_meshes, find_objects, ply_path, stamp_of, view_path


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.fixture
def roots(tmp_path):
    """Two classes, both splits, two views each, in the cross-modal reference's layout."""
    points, images = tmp_path / "points", tmp_path / "images"
    for class_name in ("night_stand", "bed"):
        for split in ("train", "test"):
            for name in ("b 2", "a-1"):
                touch(ply_path(points, class_name, split, name))
                for index in (0, 1):
                    touch(view_path(images, class_name, split, name, index))
    return points, images


def zipped(folder: Path, archive: Path, around: str = "") -> Path:
    """The folder as an archive, empty folders too."""
    with zipfile.ZipFile(archive, "w") as made:
        for path in sorted(folder.rglob("*")):
            made.write(path, f"{around}{path.relative_to(folder)}")
    return archive


def described(objects) -> list[tuple]:
    """Everything about objects but where they are, bytes included."""
    return [
        (found.key, *((source.name, read_bytes(source, 1000)) for source in (found.gaussians, *found.views)))
        for found in objects
    ]


def reasons(problems) -> list[str]:
    return [f"{Path(problem.path).name}: {problem.reason}" for problem in problems]


def test_the_paths_are_the_references():
    root = Path("root")
    assert str(ply_path(root, "bed", "train", "bed_1")) == (
        "root/bed/train/bed_1/point_cloud/iteration_30000/point_cloud.ply"
    )
    assert str(view_path(root, "bed", "test", "bed_1", 63)) == "root/bed/test/bed_1/images/063.png"


def test_objects_are_sorted_and_whole(roots):
    objects, problems = find_objects(*roots)
    assert problems == []
    keys = [found.key for found in objects]
    assert keys == sorted(keys)
    assert len(set(keys)) == 8
    first = objects[0]
    assert (first.class_name, first.split, first.name) == ("bed", "test", "a-1")
    assert [view.name for view in first.views] == ["000.png", "001.png"]
    assert first.gaussians.path.is_file()


def test_without_images_there_are_no_views_and_no_problem(roots):
    objects, problems = find_objects(roots[0], None)
    assert len(objects) == 8
    assert problems == []
    assert all(found.views == () for found in objects)


def test_the_highest_whole_iteration_is_taken(roots):
    points, _ = roots
    for iteration in (7000, 100_000, 99_000):
        touch(ply_path(points, "bed", "train", "a-1", iteration))
    # Begun but never written, and not a number.
    ply_path(points, "bed", "train", "a-1", 200_000).parent.mkdir()
    touch(ply_path(points, "bed", "train", "a-1").parents[1] / "iteration_last" / "point_cloud.ply")
    found = next(found for found in find_objects(points, None)[0] if found.key == "bed/train/a-1")
    assert found.gaussians.path.parent.name == "iteration_100000"


def test_modelnet_splats_layout(tmp_path):
    for split in ("train", "test"):
        touch(tmp_path / "chair" / split / "chair_0001" / "point_cloud.ply")
    objects, problems = find_objects(tmp_path, None)
    assert [found.key for found in objects] == ["chair/test/chair_0001", "chair/train/chair_0001"]
    assert problems == []


def test_views_are_in_the_order_of_their_numbers(roots):
    points, images = roots
    for name in ("10.jpg", "9.JPEG", "notes.txt", ".hidden.png"):
        touch(view_path(images, "bed", "train", "a-1", 0).parent / name)
    found = next(found for found in find_objects(points, images)[0] if found.key == "bed/train/a-1")
    assert [view.name for view in found.views] == ["000.png", "001.png", "9.JPEG", "10.jpg"]


def test_what_does_not_fit_is_listed(roots):
    points, images = roots
    ply_path(points, "bed", "train", "a-1").unlink()
    for view in view_path(images, "bed", "test", "a-1", 0).parent.iterdir():
        view.unlink()
    touch(view_path(images, "bed", "test", "stray", 0))
    (points / "desk" / "train").mkdir(parents=True)
    (points / "sofa").mkdir()
    (points / "bed" / "validation").mkdir()
    touch(ply_path(points, "lamp", "train", "lamp_1"))
    touch(view_path(images, "lamp", "train", "lamp_1", 0))
    objects, problems = find_objects(points, images)
    assert "bed/train/a-1" not in {found.key for found in objects}
    assert "bed/test/a-1" not in {found.key for found in objects}
    found = "\n".join(sorted(reasons(problems)))
    for expected in (
        "a-1: object without .ply",
        "a-1: object without views",
        "stray: views without object",
        "train: empty class",
        "desk: class without 'test'",
        "sofa: empty class",
        "validation: unknown split",
        "lamp: class without 'test'",
    ):
        assert expected in found
    assert len(problems) == 8


@pytest.mark.parametrize("name", ["a\nb", "a;b", "-a", "a'b", "x" * 200, "a\x1b[31m"])
def test_unsafe_names_are_listed_and_printable(roots, name):
    points, _ = roots
    touch(ply_path(points, "bed", "train", name))
    objects, problems = find_objects(points, None)
    assert len(objects) == 8
    assert len(problems) == 1
    assert "unsafe name" in problems[0].reason
    assert problems[0].path.isprintable()


def test_names_that_are_no_text(roots):
    points, _ = roots
    try:
        touch(points / "bed" / "train" / "a\udcff" / "point_cloud.ply")
    except OSError:
        pytest.skip("this file system takes text names only")
    problem = find_objects(points, None)[1][0]
    assert problem.reason.encode()
    assert problem.path.encode()


def test_hidden_and_stray_entries_are_not_looked_at(roots):
    points, _ = roots
    touch(points / ".cache" / "train" / "x")
    touch(points / "__MACOSX" / "x")
    touch(points / "README.txt")
    touch(points / "bed" / "train" / "list.txt")
    assert find_objects(points, None)[1] == []


def test_nothing_found_says_what_was_expected(tmp_path, roots):
    with pytest.raises(LayoutError, match="is not a folder"):
        find_objects(tmp_path / "none", None)
    with pytest.raises(LayoutError, match="is not a folder"):
        find_objects(roots[0], tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(LayoutError, match=r"it is empty.*expected <class>/<train.test>/<object>"):
        find_objects(tmp_path / "empty", None)
    with pytest.raises(LayoutError, match=r"give .*points"):
        find_objects(tmp_path, None)
    with pytest.raises(LayoutError, match="looks like one class"):
        find_objects(roots[0] / "bed", None)


def test_meshes(tmp_path):
    for name in ("b.off", "a.OFF", "notes.txt"):
        touch(tmp_path / "bed" / "train" / name)
    touch(tmp_path / "bed" / "test" / "c.off")
    (tmp_path / "sofa" / "test").mkdir(parents=True)
    meshes, problems = find_meshes(tmp_path)
    assert [found.key for found in meshes] == ["bed/test/c", "bed/train/a", "bed/train/b"]
    assert reasons(problems) == [
        "test: empty class: no object in this split; add some or leave the class out",
        "sofa: class without 'train', which other classes have",
    ]
    with pytest.raises(LayoutError, match="splatsweep splat"):
        find_objects(tmp_path, None)
    with pytest.raises(LayoutError, match=r"expected <class>/<train.test>/<name>\.off"):
        find_meshes(tmp_path / "bed" / "train")


def test_real_meshes_are_all_found(shared_data):
    meshes, problems = find_meshes(shared_data / "modelnet10_off")
    assert problems == []
    assert len(meshes) == 750
    assert len({found.class_name for found in meshes}) == 10


def fill(root: Path) -> None:
    """Each file gets content of its own."""
    for path in root.rglob("*"):
        if path.is_file():
            path.write_text(str(path.relative_to(root)))


@pytest.mark.parametrize("flat", [False, True], ids=["reference", "ModelNet_Splats"])
@pytest.mark.parametrize("around", ["", "points/", "./", "a/b/"])
def test_an_archive_is_like_its_folder(roots, tmp_path, flat, around):
    points, images = roots
    if flat:
        for path in list(points.rglob("point_cloud.ply")):
            path.rename(path.parents[2] / path.name)
    fill(tmp_path)
    (points / "desk").mkdir()
    archives = zipped(points, tmp_path / "p.zip", around), zipped(images, tmp_path / "i.ZIP")
    expected, problems = find_objects(points, images)
    found, archived = find_objects(*archives)
    assert described(found) == described(expected)
    assert (
        reasons(archived)
        == reasons(problems)
        == ["desk: empty class: no train or test folder; fill it or leave it out"]
    )
    assert str(archives[0]) in str(found[0].gaussians)


def test_an_archive_of_a_whole_data_set(roots, tmp_path):
    fill(tmp_path)
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for root in roots:
            for path in root.rglob("*"):
                made.write(path, f"mine/{path.relative_to(tmp_path)}")
    found, problems = find_objects(archive, archive)
    assert problems == []
    assert described(found) == described(find_objects(*roots)[0])


def test_archives_by_class_and_split(roots, tmp_path):
    """bed.zip holds train/ and test/, as the public set does; night_stand/ lies open but for its train.zip."""
    points, images = roots
    fill(tmp_path)
    expected = described(find_objects(points, images)[0])
    zipped(points / "bed", points / "bed.zip")
    zipped(points / "night_stand/train", points / "night_stand/train.zip")
    for folder in (points / "bed", points / "night_stand/train"):
        folder.rename(tmp_path / f"away {folder.name}")
    found, problems = find_objects(points, images)
    assert problems == []
    assert described(found) == expected


def test_unpacked_files_win_over_their_archive(roots):
    points, _ = roots
    zipped(points, points / "all.zip")
    fill(points / "bed")
    (points / "bed/train/a-1").rename(points / "bed/train/a-2")
    found, problems = find_objects(points, None)
    assert problems == []
    sources = {item.key: item.gaussians for item in found}
    assert len(sources) == 9
    assert read_bytes(sources["bed/train/b 2"], 100)
    assert read_bytes(sources["bed/train/a-2"], 100)
    assert "all.zip" in str(sources["bed/train/a-1"])


def test_every_ending_is_found_and_ply_is_preferred(tmp_path):
    for number, ending in enumerate(SUFFIXES):
        touch(tmp_path / f"chair/train/flat_{number}/point_cloud{ending}")
        touch(tmp_path / f"chair/test/deep_{number}/point_cloud/iteration_7/point_cloud{ending.upper()}")
        touch(tmp_path / f"chair/train/many/point_cloud{ending}")
    touch(tmp_path / "chair/train/many/point_cloud.compressed.ply")
    touch(tmp_path / "chair/train/small/point_cloud.compressed.ply")
    touch(tmp_path / "chair/train/newer/point_cloud/iteration_7/point_cloud.ply")
    touch(tmp_path / "chair/train/newer/point_cloud/iteration_30/point_cloud.spz")
    touch(tmp_path / "chair/train/none/point_cloud.obj")
    objects, problems = find_objects(tmp_path, None)
    names = {found.name: found.gaussians.name for found in objects}
    assert len(names) == 2 * len(SUFFIXES) + 3
    assert (names["many"], names["newer"]) == ("point_cloud.ply", "point_cloud.spz")
    assert reasons(problems)[0].startswith("none: object without .ply")


def test_links_within_are_followed_and_others_are_problems(roots, tmp_path):
    points, _ = roots
    train = points / "bed/train"
    touch(tmp_path / "outside/point_cloud.ply")
    (train / "out").symlink_to(tmp_path / "outside")
    (points / "bed/test/in").symlink_to(train / "a-1")
    (points / "bed/test/again").symlink_to("../train/a-1")
    (train / "loop").symlink_to(points)
    (train / "gone").symlink_to("nothing")
    (train / "self").symlink_to("self")
    (train / "file").mkdir()
    (train / "file/point_cloud.ply").symlink_to(tmp_path / "outside/point_cloud.ply")
    (train / "inner").mkdir()
    (train / "inner/point_cloud.ply").symlink_to(ply_path(points, "bed", "train", "a-1"))
    (train / "pipe").mkdir()
    os.mkfifo(train / "pipe/point_cloud.ply")
    objects, problems = find_objects(points, None)
    keys = {found.key for found in objects}
    assert "bed/train/inner" in keys
    assert len(keys & {"bed/test/in", "bed/test/again"}) == 1
    assert len(keys) == 10
    found = "\n".join(f"{Path(problem.path).relative_to(points)}: {problem.reason}" for problem in problems)
    for expected in (
        "bed/train/out: is a link that leads out of the data set",
        "bed/train/file/point_cloud.ply: is a link that leads out",
        "bed/test/in: its files are reached by another link already",
        "bed/train/loop: is a link to a folder that it lies in",
        "bed/train/gone: is a link to nothing",
        "bed/train/self: is a link to nothing",
        "bed/train/pipe/point_cloud.ply: is neither a file nor a folder",
        "bed/train/file: object without .ply",
        "bed/train/pipe: object without .ply",
    ):
        assert expected in found
    assert len(problems) == 9


@pytest.mark.parametrize("archived", [False, True], ids=["folders", "archives"])
@pytest.mark.parametrize(("of_points", "of_images"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_names_meet_in_any_unicode_form(tmp_path, of_points, of_images, archived):
    """As a set comes whose pictures were packed on a Mac."""
    points, images = tmp_path / "points", tmp_path / "images"
    names = [("Stühle", split, f"café_{i}") for split in ("train", "test") for i in (0, 1)]
    for at in names:
        there = [normalize(of_points, part) for part in at]
        touch(ply_path(points, *there))
        touch(points.joinpath(*there, "point_cloud", "iteration_30000", "point_cloud.parts.npy"))
        there = [normalize(of_images, part) for part in at]
        for index in (0, 1):
            touch(images.joinpath(*there, "images", normalize(of_images, f"vue_é_{index}.png")))
            touch(images.joinpath(*there, "masks", normalize(of_points, f"vue_é_{index}.png")))
        touch(images.joinpath(*there, "cameras.json"))
    fill(tmp_path)
    roots = (zipped(points, tmp_path / "p.zip"), zipped(images, tmp_path / "i.zip")) if archived else (points, images)
    objects, problems = find_objects(*roots)
    assert problems == []
    assert [found.key for found in objects] == sorted(normalize("NFC", "/".join(at)) for at in names)
    for found in objects:
        assert (len(found.views), len(found.masks)) == (2, 2)
        assert found.cameras is not None
        assert found.part_labels is not None
        for source in found.sources:  # by the name that is there
            assert normalize("NFC", found.name) in normalize("NFC", read_bytes(source, 1000).decode())


def test_two_forms_of_one_name_are_one_class_and_no_one_file(tmp_path):
    for form, split in (("NFC", "train"), ("NFD", "test")):
        touch(tmp_path / normalize(form, "café") / split / "a" / "point_cloud.ply")
    objects, problems = find_objects(tmp_path, None)
    assert problems == []
    assert [found.key for found in objects] == ["café/test/a", "café/train/a"]
    touch(tmp_path / normalize("NFD", "café") / "train" / "a" / "point_cloud.ply")
    objects, (problem,) = find_objects(tmp_path, None)
    assert len(objects) == 2
    assert "another file's name differs in Unicode form only" in problem.reason


def test_meshes_are_opened_by_the_name_that_is_there(tmp_path):
    for split in ("train", "test"):
        touch(tmp_path / normalize("NFD", "café") / split / normalize("NFD", "ä.off"))
    meshes, problems = find_meshes(tmp_path)
    assert problems == []
    assert [found.key for found in meshes] == ["café/test/ä", "café/train/ä"]
    assert all(found.source.path.is_file() for found in meshes)


def test_a_root_may_be_a_link(roots, tmp_path):
    (tmp_path / "link").symlink_to(roots[0])
    assert len(find_objects(tmp_path / "link", None)[0]) == 8


def test_folders_that_link_to_each_other_end(tmp_path):
    for a in range(12):
        for b in range(12):
            (tmp_path / f"{a}/train").mkdir(parents=True, exist_ok=True)
            (tmp_path / f"{a}/train/{b}").symlink_to(tmp_path / f"{b}/train")
    touch(tmp_path / "0/train/x/point_cloud.ply")
    objects, problems = find_objects(tmp_path, None)
    assert "0/train/x" in {found.key for found in objects}
    assert len(problems) < 2000


def test_meshes_behind_links(tmp_path):
    touch(tmp_path / "root/bed/train/a.off")
    touch(tmp_path / "b.off")
    (tmp_path / "root/bed/train/b.off").symlink_to(tmp_path / "b.off")
    (tmp_path / "root/bed/train/c.off").symlink_to("a.off")
    meshes, problems = find_meshes(tmp_path / "root")
    assert [found.key for found in meshes] == ["bed/train/a", "bed/train/c"]
    assert reasons(problems) == ["b.off: is a link that leads out of the data set; put the files themselves here"]


def test_deep_folders_are_a_problem_and_no_crash(roots):
    deep = roots[0] / "bed/train/a-1" / "/".join("x" * 40)
    deep.mkdir(parents=True)
    objects, problems = find_objects(roots[0], None)
    assert len(objects) == 8
    assert "folders deep" in problems[0].reason


def test_a_stamp_changes_with_what_an_object_is(roots, tmp_path):
    fill(tmp_path)
    first = find_objects(*roots)[0][0]
    stamp = stamp_of(first)
    assert len(stamp) == 16
    assert stamp_of(find_objects(*roots)[0][0]) == stamp
    assert stamp_of(replace(first, name="b")) != stamp
    assert stamp_of(replace(first, views=first.views[:1])) != stamp
    assert stamp_of(replace(first, views=first.views[::-1])) != stamp
    first.views[0].path.write_text("other")
    assert stamp_of(first) != stamp
    archive = zipped(roots[0], tmp_path / "p.zip")
    archived = [stamp_of(found) for found in find_objects(archive, None)[0]]
    assert len(set(archived)) == 8
    assert archived == [stamp_of(found) for found in find_objects(archive.rename(tmp_path / "q.zip"), None)[0]]


PARTS = st.sampled_from(("train", "test", "bed", "a", "images", "point_cloud", "iteration_7", "iteration_\u0663")) | (
    st.sampled_from(("000.png", "point_cloud.ply", "point_cloud.spz", "02691156-a.ply", "train.txt", "test.txt", ".x"))
    | st.sampled_from(("é", "a;b", "x" * 140, "9" * 30 + ".png"))
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(PARTS, min_size=1, max_size=6).map("/".join), max_size=12, unique=True), st.booleans())
def test_any_tree_is_listed_or_refused(scratch, paths, as_images):
    archive = scratch / "tree.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for path in paths:
            made.writestr(path, b"02691156-a.npy\n")
    try:
        objects, problems = find_objects(archive, archive if as_images else None)
    except LayoutError as error:
        assert str(archive) in str(error)  # noqa: PT017 - both outcomes are right
        return
    keys = [found.key for found in objects]
    assert keys == sorted(set(keys))
    assert all(SAFE_NAME.fullmatch(part) for key in keys for part in key.split("/"))
    assert all(len(found.views) > 0 for found in objects) or not as_images
    assert all(f"{problem.path}{problem.reason}".isprintable() for problem in problems)
