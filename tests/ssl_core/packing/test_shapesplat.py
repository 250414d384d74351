"""ShapeSplat: flat files and split lists, from folders and archives, at full size too."""

import struct
import zipfile
from pathlib import Path
from unicodedata import normalize

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_core.errors import LayoutError
from ssl_core.files.source import FileSource, read_bytes
from ssl_core.packing.layout import SAFE_NAME, find_objects
from ssl_core.packing.layout_reference import ViewFiles
from ssl_core.packing.layout_shapesplat import shapesplat_objects
from ssl_core.packing.listing import Listing, list_tree

NAMES = [f"{category}-{name}" for category in ("02691156", "03001627") for name in ("1a04", "ff3b", "u5e_2-x")]
KEYS = ["02691156/test/u5e_2-x", "02691156/train/1a04", "02691156/train/ff3b"]
KEYS += ["03001627/test/u5e_2-x", "03001627/train/1a04", "03001627/train/ff3b"]


def write(path: Path, content: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content or path.name)
    return path


@pytest.fixture
def flat(tmp_path):
    """Six objects; the last of each category is for testing."""
    root = tmp_path / "shapesplat_ply"
    for name in NAMES:
        write(root / f"{name}.ply")
    write(root / "train.txt", "".join(f"{name}.npy\n" for name in NAMES if not name.endswith("x")))
    write(root / "test.txt", "".join(f"{name}.npy\n" for name in NAMES if name.endswith("x")))
    return root


def texts(problems) -> list[str]:
    return [f"{Path(problem.path).name}: {problem.reason}" for problem in problems]


def keys(root: Path, images: Path | None = None) -> list[str]:
    objects, problems = find_objects(root, images)
    assert problems == []
    return [found.key for found in objects]


@pytest.mark.parametrize(("of_files", "of_lists"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_lists_name_files_in_any_unicode_form(tmp_path, of_files, of_lists):
    for name, split in (("chaise-dorée", "train"), ("chaise-étroite", "test")):
        write(tmp_path / f"{normalize(of_files, name)}.ply")
        write(tmp_path / f"{split}.txt", normalize(of_lists, f"{name}.npy\n"))
        write(tmp_path / "views" / normalize(of_lists, name) / "0.png")
    assert keys(tmp_path, tmp_path / "views") == ["chaise/test/étroite", "chaise/train/dorée"]


def test_a_folder_and_its_lists(flat):
    objects, problems = find_objects(flat, None)
    assert problems == []
    assert [found.key for found in objects] == KEYS
    assert (objects[0].class_name, objects[0].split, objects[0].name) == ("02691156", "test", "u5e_2-x")
    assert objects[0].gaussians == FileSource(flat / f"{NAMES[2]}.ply")
    assert objects[0].views == ()


@pytest.mark.parametrize("around", ["", "shapesplat_ply/"])
def test_one_archive(flat, tmp_path, around):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as made:
        for path in flat.iterdir():
            made.write(path, around + path.name)
    objects, problems = find_objects(tmp_path / "all.zip", None)
    assert problems == []
    assert [found.key for found in objects] == KEYS
    for found, expected in zip(objects, find_objects(flat, None)[0], strict=True):
        assert read_bytes(found.gaussians, 99) == read_bytes(expected.gaussians, 99)


def test_an_archive_per_category_and_lists_beside_them(flat, tmp_path):
    """As it is published: large categories come in two parts with a folder around their files."""
    parts = {"02691156.zip": ("", NAMES[:3]), "03001627_0.zip": ("03001627_0/", NAMES[3:5])}
    parts |= {"03001627_1.zip": ("03001627_1/", NAMES[5:])}
    for archive, (around, names) in parts.items():
        with zipfile.ZipFile(tmp_path / archive, "w") as made:
            for name in names:
                made.write(flat / f"{name}.ply", f"{around}{name}.ply")
    for name in ("train.txt", "test.txt"):
        (flat / name).rename(write(tmp_path / "ShapeNet-55" / name))
    packed, problems = find_objects(tmp_path, None)  # the folder of unpacked files lies there too, and wins
    assert problems == []
    assert all(isinstance(found.gaussians, FileSource) for found in packed)
    flat.rename(tmp_path.parent / f"{tmp_path.name} unpacked")
    assert keys(tmp_path) == KEYS
    assert all("zip" in str(found.gaussians) for found in find_objects(tmp_path, None)[0])


def test_lists_of_every_form(flat):
    train = [NAMES[0], f"some/where/{NAMES[1]}.ply", f"  {NAMES[3]}.anything  # a comment", "", "# comment", "   "]
    write(flat / "train.txt", "\ufeff" + "\r\n".join(train))
    write(flat / "val.txt", f"{NAMES[4]}.compressed.ply\n{NAMES[0]}\n")
    assert keys(flat) == KEYS


def test_what_does_not_fit_is_counted(flat):
    write(flat / "train.txt", "\n".join([*NAMES[:2], *NAMES[2:4], "nonsense", "03001627-a;b", "-x", "x-"]))
    with (flat / "test.txt").open("a") as stream:
        stream.writelines(f"02691156-missing{number:05d}.npy\n" for number in range(50_000))
    write(flat / "02691156-a;b.ply")
    write(flat / "cloud.ply")
    objects, problems = find_objects(flat, None)
    assert [found.key for found in objects] == [KEYS[i] for i in (1, 2, 3, 4)]
    found = texts(problems)
    assert len(found) == 13
    for expected in (
        "unsafe name '02691156-a;b.ply'",
        "train.txt line 5: is no <category>-<object>",
        "train.txt line 8: is no <category>-<object>",
        "02691156-u5e_2-x: object in the lists of both splits",
        "02691156-missing00000: listed object without a file",
        "shapesplat_ply: 49,995 more of these: listed object without a file",
        f"{NAMES[4]}.ply: object in no split list",
    ):
        assert any(expected in text for text in found), expected


def test_a_missing_list(flat):
    (flat / "test.txt").unlink()
    objects, problems = find_objects(flat, None)
    assert len(objects) == 4
    assert texts(problems)[0].startswith("test.txt: no such list")
    (flat / "train.txt").unlink()
    with pytest.raises(LayoutError, match=r"no split lists; put train\.txt and test\.txt"):
        find_objects(flat, None)
    for folder in ("ShapeNet-34", "Unseen21"):
        write(flat / folder / "train.txt", NAMES[0])
    with pytest.raises(LayoutError, match=r"several sets of split lists \(ShapeNet-34, Unseen21\)"):
        find_objects(flat, None)
    write(flat / "ShapeNet-55" / "train.txt", NAMES[0])
    assert [found.key for found in find_objects(flat, None)[0]] == [KEYS[1]]


def test_lists_that_cannot_be_read(flat):
    (flat / "train.txt").write_bytes(b"\xff\xfe0\x002\x00")
    with pytest.raises(LayoutError, match=r"train\.txt: is no UTF-8 text"):
        find_objects(flat, None)
    with (flat / "train.txt").open("wb") as stream:
        stream.truncate(2**40)
    with pytest.raises(LayoutError, match=r"train\.txt: is 1,099,511,627,776 bytes long"):
        find_objects(flat, None)
    write(flat / "train.txt", "# nothing")
    write(flat / "test.txt", "# nothing")
    with pytest.raises(LayoutError, match=r"no object found \(.* problems, first: .*in no split list"):
        find_objects(flat, None)


def test_endings_and_doubles(flat):
    for number, ending in enumerate((".splat", ".SPZ", ".sog", ".compressed.ply")):
        (flat / f"{NAMES[number]}.ply").rename(flat / f"{NAMES[number]}{ending}")
    for ending in (".splat", ".compressed.ply"):
        write(flat / f"{NAMES[4]}{ending}")
    objects, problems = find_objects(flat, None)
    assert problems == []
    assert [found.key for found in objects] == KEYS
    assert {found.gaussians.name for found in objects if found.key == KEYS[5]} == {f"{NAMES[4]}.ply"}
    write(flat / "other" / f"{NAMES[4]}.ply")
    write(flat / "other" / "deep" / "er" / f"{NAMES[5]}.ply")
    objects, problems = find_objects(flat, None)
    assert len(objects) == 5
    assert texts(problems) == [f"{NAMES[4]}: several different files of this object; leave all but one out"]


@pytest.mark.parametrize("form", ["{0}-{2}", "{0}-{2}/images", "{0}/{1}/{2}/images", "{0}/{2}"])
def test_views(flat, tmp_path, form):
    for key in KEYS[1:]:
        for number in (10, 9):
            write(tmp_path / "images" / form.format(*key.split("/")) / f"{number}.png")
    write(tmp_path / "images" / "02691156-stray" / "0.png")
    objects, problems = find_objects(flat, tmp_path / "images")
    assert [found.key for found in objects] == KEYS[1:]
    assert all([view.name for view in found.views] == ["9.png", "10.png"] for found in objects)
    assert [text.split(":")[0] for text in texts(problems)] == [f"{NAMES[2]}.ply", "02691156-stray"]


def directory_only(names: list[str]) -> bytes:
    """An archive that claims empty members and holds none: a listing reads no more. APPNOTE 4.3.12 and 4.3.16."""
    entry = struct.Struct("<4s6H3L5H2L")
    made = b"".join(
        entry.pack(b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 0, 0, len(name), 0, 0, 0, 0, 0, 0) + name.encode()
        for name in names
    )
    return made + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, len(names), len(names), len(made), 0, 0)


@pytest.mark.slow
def test_fifty_thousand_objects(tmp_path):
    names = [f"{number % 55:08d}-{number:032x}" for number in range(50_000)]
    (tmp_path / "all.zip").write_bytes(directory_only([f"shapesplat_ply/{name}.ply" for name in names]))
    write(tmp_path / "train.txt", "\n".join(f"{name}.npy" for name in names[:40_000]))
    write(tmp_path / "test.txt", "\n".join(f"{name}.npy" for name in names[40_000:]))
    objects, problems = find_objects(tmp_path, None)
    assert problems == []
    assert len(objects) == 50_000
    assert sum(found.split == "test" for found in objects) == 10_000


LINES = st.lists(
    st.sampled_from([*NAMES, "x", "-", "a-", "#", " ", "a;b-c", "é-é", "\0-\0", "../a-b", "a-b" * 60]), max_size=8
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([*NAMES, "a;b-c", "é-é", "a-b" * 40]), max_size=6), LINES, LINES, st.booleans())
def test_any_lists(scratch, files, train, test, with_views):
    for name, lines in (("train.txt", train), ("test.txt", test)):
        (scratch / name).write_text("\n".join(lines))
    sources = {f"{name}.ply": FileSource(scratch / f"{name}.ply") for name in files}
    sources |= {name: FileSource(scratch / name) for name in ("train.txt", "test.txt")}
    listing = Listing(str(scratch), False, sources, set(), [])
    objects, problems = shapesplat_objects(listing, ViewFiles(listing) if with_views else None)
    assert len({found.key for found in objects}) == len(objects)
    for found in objects:
        assert SAFE_NAME.fullmatch(found.class_name)
        lists = {"train": train, "test": test}
        assert f"{found.class_name}-{found.name}" in {line.rpartition("/")[2] for line in lists[found.split]}
    assert all(f"{problem.path}{problem.reason}".isprintable() for problem in problems)
    assert len(problems) < 60


def test_a_listing_has_folders_of_all_levels(flat):
    write(flat / "a/b/c.txt")
    (flat / "empty").mkdir()
    assert list_tree(flat).folders == {"a", "a/b", "empty"}
