"""Archives that are read in place: what is listed, what is refused unread, and damage of every kind."""

import io
import os
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_core.errors import DataError, LayoutError
from ssl_core.files.source import FileSource, ZipSource, read_bytes
from ssl_core.packing.archive import MAX_MEMBER, list_members
from ssl_core.packing.listing import list_tree


def archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return path


def claiming(path: Path, **claims) -> Path:
    """An archive whose directory says something else about `bad.ply` than what is there."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("good.ply", b"good")
        made.writestr("bad.ply", b"bad")
        for name, value in claims.items():
            setattr(made.getinfo("bad.ply"), name, value)
    return path


def refusal(path: Path) -> str:
    """The one reason why a member was refused; the good one is still there."""
    found = list_members(path)
    assert set(found.files) == {"good.ply"}
    assert read_bytes(found.files["good.ply"], 10) == b"good"
    (problem,) = found.problems
    assert problem.path.startswith(f"{path}/")
    assert f"{problem.path}{problem.reason}".isprintable()
    return problem.reason


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../bad.ply", "leads out"),
        ("a/../../bad.ply", "leads out"),
        ("..", "leads out"),
        ("/etc/bad.ply", "absolute"),
        ("C:/bad.ply", "absolute"),
        ("c:bad.ply", "absolute"),
        ("a\\bad.ply", "backslash"),
        ("..\\bad.ply", "backslash"),
        ("a//bad.ply", "empty parts"),
        ("a/./bad.ply", "empty parts"),
        ("a\0bad.ply", "control"),
        ("a\nbad.ply", "control"),
        ("a\x1b[31m.ply", "control"),
        ("a\u202ebad.ply", "control"),
    ],
)
def test_names_that_may_not_be_followed(tmp_path, name, reason):
    assert reason in refusal(claiming(tmp_path / "a.zip", filename=name))


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"flag_bits": 1}, "encrypted"),
        ({"flag_bits": 0x41}, "encrypted"),
        ({"flag_bits": 0x20}, "method"),
        ({"compress_type": zipfile.ZIP_LZMA}, "method 14"),
        ({"compress_type": 99}, "method 99"),
        ({"file_size": MAX_MEMBER + 1}, "claims more than 1,073,741,824 bytes"),
        ({"file_size": 2**40}, "claims more than"),
        ({"file_size": 2**21}, "shrunk more than 1000 times"),
        ({"external_attr": (stat.S_IFLNK | 0o777) << 16}, "link"),
        ({"filename": "good2.ply", "orig_filename": "x"}, None),
    ],
)
def test_members_that_may_not_be_read(tmp_path, claims, reason):
    path = claiming(tmp_path / "a.zip", **claims)
    if reason is None:
        assert set(list_members(path).files) == {"good.ply", "good2.ply"}
    else:
        assert reason in refusal(path)


def test_a_bomb_is_refused_and_zeros_of_small_size_are_not(tmp_path):
    path = archive(tmp_path / "a.zip", {"good.ply": b"good", "bomb.ply": bytes(2**24)})
    assert "shrunk" in refusal(path)
    small = list_members(archive(tmp_path / "b.zip", {"zeros.ply": bytes(2**20)}))
    assert small.problems == []
    assert read_bytes(small.files["zeros.ply"], 2**20) == bytes(2**20)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_name_that_occurs_twice_is_never_read(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("good.ply", b"good")
        for name in ("bad.ply", "bad.ply", "./bad.ply"):
            made.writestr(name, b"x")
    found = list_members(path)
    assert set(found.files) == {"good.ply"}
    assert {problem.reason.split(";")[0] for problem in found.problems} == {"the name occurs more than once"}


def test_hidden_members_are_passed_over(tmp_path):
    names = [".x", "a/.DS_Store", "__MACOSX/a/b.ply", "a/__MACOSX/b", "Icon\r", "a/Icon\r", ".git/config"]
    found = list_members(archive(tmp_path / "a.zip", dict.fromkeys(names, b"x")))
    assert (found.files, found.folders, found.problems) == ({}, set(), [])


def test_names_in_other_alphabets(tmp_path):
    """Marked as UTF-8, UTF-8 without the mark, and neither."""
    path = archive(tmp_path / "a.zip", {"stühle/QQ.ply": b"1", "st__hle/x.ply": b"2", "good.ply": b"good"})
    content = path.read_bytes()
    path.write_bytes(content.replace(b"st__hle", "stühle".encode()))
    found = list_members(path)
    assert set(found.files) == {"stühle/QQ.ply", "stühle/x.ply", "good.ply"}
    assert [read_bytes(source, 9) for source in found.files.values()] == [b"1", b"2", b"good"]
    archive(path, {"good.ply": b"good", "st__le/x.ply": b"2"})
    path.write_bytes(path.read_bytes().replace(b"st__le", b"st\xfc\xfele"))
    assert "no UTF-8" in refusal(path)
    archive(path, {"stühle.ply": b"good"})
    path.write_bytes(path.read_bytes().replace("ü".encode(), b"\xfc\xfe"))
    with pytest.raises(LayoutError, match="marked as UTF-8 is not"):
        list_members(path)


def test_many_refusals_of_a_kind_are_counted(tmp_path):
    path = archive(tmp_path / "a.zip", {f"..\\{number}.ply": b"" for number in range(1000)})
    problems = list_members(path).problems
    assert len(problems) == 6
    assert problems[-1].path == str(path)
    assert "995 more" in problems[-1].reason


@pytest.mark.parametrize("content", [b"", b"hello", bytes(5000), b"PK\x05\x06" + bytes(18) + b"x", b"PK\x03\x04" * 50])
def test_no_archive(tmp_path, content):
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    if content[2:4] == b"\x05\x06":
        assert list_tree(path).files == {}
        return
    for root in (path, tmp_path):
        with pytest.raises(LayoutError, match=r"a\.zip: is no readable \.zip archive"):
            list_tree(root)


def test_nothing_but_folders_and_archives_is_listed(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"x")
    for root in (tmp_path / "a.tar", tmp_path / "none.zip", Path("a\0b"), tmp_path / ("x" * 300)):
        with pytest.raises(LayoutError, match="is not a folder or a"):
            list_tree(root)


def test_two_archives_in_a_folder(tmp_path):
    archive(tmp_path / "1.zip", {"a.ply": b"1", "b.ply": b"2", "c.ply": b"3"})
    archive(tmp_path / "2.zip", {"b.ply": b"2", "c.ply": b"other", "d/e.ply": b"5"})
    (tmp_path / "a.ply").write_bytes(b"unpacked")
    (tmp_path / "d").mkdir()
    (tmp_path / "d/3.zip").write_bytes(archive(tmp_path / "3.zip", {"f.ply": b"6"}).read_bytes())
    (tmp_path / "3.zip").unlink()
    found = list_tree(tmp_path)
    assert list(found.files) == ["a.ply", "b.ply", "d/e.ply", "d/f.ply"]
    assert isinstance(found.files["a.ply"], FileSource)
    assert [read_bytes(source, 9) for source in found.files.values()] == [b"unpacked", b"2", b"5", b"6"]
    (problem,) = found.problems
    assert problem.path == f"{tmp_path}/c.ply"
    assert "two archives hold different files" in problem.reason


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (["points/b/train/x/p", "points/README"], ["README", "b/train/x/p"]),
        (["b/train/x/p"], ["b/train/x/p"]),
        (["train/x/p", "test/y/p"], ["set/test/y/p", "set/train/x/p"]),
        (["w/v/a-b.ply"], ["a-b.ply"]),
        (["w/a-b.ply", "train.txt"], ["a-b.ply", "train.txt"]),
        (["a-b/0.png"], ["a-b/0.png"]),
        (["a-b/images/0.png"], ["a-b/images/0.png"]),
        (["x/point_cloud.ply"], ["x/point_cloud.ply"]),
        (["w/x/point_cloud/iteration_1/p"], ["x/point_cloud/iteration_1/p"]),
        (["a/p", "b/p"], ["a/p", "b/p"]),
        (["w/a-b.ply", "c-d.ply"], ["c-d.ply", "w/a-b.ply"]),
    ],
)
def test_a_folder_around_everything_is_left_out(tmp_path, members, expected):
    path = archive(tmp_path / "set.zip", dict.fromkeys(members, b""))
    assert list(list_tree(path).files) == expected
    assert list(list_tree(tmp_path).files) == expected


def test_sources_of_an_archive_that_changes(tmp_path):
    path = archive(tmp_path / "a.zip", {"a.ply": b"one"})
    source = list_members(path).files["a.ply"]
    assert (source.name, source.size, str(source)) == ("a.ply", 3, f"{path}/a.ply")
    os.utime(archive(path, {"a.ply": b"two"}), ns=(1, 1))
    with pytest.raises(DataError, match="changed since it was listed"):
        read_bytes(source, 9)
    archive(path, {"b.ply": b"two"})
    with pytest.raises(DataError, match="cannot be read from the archive"):
        read_bytes(source, 9)
    path.unlink()
    with pytest.raises(DataError, match=r"a\.zip/a\.ply"):
        read_bytes(source, 9)
    with pytest.raises(DataError, match="more than the 2 allowed"):
        read_bytes(source, 2)


def test_what_cannot_be_read_as_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "none", Path("a\0b")):
        for call in (lambda source: read_bytes(source, 9), lambda source: source.open(), lambda source: source.stamp):
            with pytest.raises(DataError, match="cannot be opened"):
                call(FileSource(path))


def read_all(path: Path, expected: dict[str, bytes]) -> bool:
    """Reads whatever a damaged archive still lists; True when nothing was refused. Only our errors may come."""
    try:
        listing = list_tree(path)
    except LayoutError as error:
        assert str(path) in str(error)  # noqa: PT017 - both outcomes are right
        return False
    whole = not listing.problems
    for name, source in listing.files.items():
        try:
            content = read_bytes(source, 2**20)
        except DataError as error:
            assert str(path) in str(error)  # noqa: PT017 - both outcomes are right
            whole = False
        else:
            assert not name.startswith("/")
            assert ".." not in name.split("/")
            # A checksum stands for the content: damaged bytes never come through.
            assert content in expected.values()
    return whole


def damaged_base() -> tuple[bytes, dict[str, bytes]]:
    rng = np.random.default_rng(0)
    members = {f"bed/train/{n}/point_cloud.ply": rng.bytes(60) + bytes(200) for n in range(3)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return buffer.getvalue(), members


def test_cut_archives(tmp_path):
    content, members = damaged_base()
    path = tmp_path / "a.zip"
    for end in range(0, len(content), 3):
        path.write_bytes(content[:end])
        assert not read_all(path, members)
    path.write_bytes(content)
    assert read_all(path, members)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6))
def test_damaged_archives(scratch, changes):
    content, members = damaged_base()
    damaged = bytearray(content)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    path = scratch / "damaged.zip"
    path.write_bytes(damaged)
    read_all(path, members)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(st.sampled_from("ab./\\:\0\n~é\u202e "), max_size=12), max_size=6, unique=True))
def test_any_names(scratch, names):
    path = scratch / "names.zip"
    with zipfile.ZipFile(path, "w") as made:
        for number, name in enumerate(names):
            made.writestr(str(number), b"x")
            made.getinfo(str(number)).filename = name
    found = list_members(path)
    assert all(isinstance(source, ZipSource) for source in found.files.values())
    for name in found.files:
        assert name.isprintable()
        assert not any(part in ("", ".", "..") for part in name.split("/"))
        assert "\\" not in name
    for problem in found.problems:
        assert f"{problem.path}{problem.reason}".isprintable()
