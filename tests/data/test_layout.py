"""Folder layouts: what is found, in which order, and what is listed as a problem."""

from pathlib import Path

import pytest

from ssl_core.data.layout import find_meshes, find_objects, ply_path, view_path
from ssl_core.errors import LayoutError


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
    assert first.ply.is_file()


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
    assert found.ply.parent.name == "iteration_100000"


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
