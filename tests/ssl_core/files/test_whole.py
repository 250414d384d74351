"""Files and folders appear whole or not at all."""

from pathlib import Path

import pytest

from ssl_core.errors import StorageError
from ssl_core.files import whole
from ssl_core.files.whole import atomic_write, mend, put_in_place, standing, whole_folder


def make(folder: Path, content: str) -> None:
    with whole_folder(folder) as new:
        (new / "file").write_text(content)


def test_a_folder_has_its_name_only_when_it_is_whole(tmp_path):
    folder = tmp_path / "deep" / "folder"
    with whole_folder(folder) as new:
        (new / "file").write_text("1")
        assert not folder.exists()
    assert (folder / "file").read_text() == "1"
    assert [p.name for p in folder.parent.iterdir()] == ["folder"]


def test_an_older_folder_is_replaced_with_all_its_files(tmp_path):
    make(tmp_path / "folder", "1")
    (tmp_path / "folder" / "more").write_text("")
    make(tmp_path / "folder", "2")
    assert {p.name: p.read_text() for p in (tmp_path / "folder").iterdir()} == {"file": "2"}
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_fails_leaves_the_older_folder_and_nothing_else(tmp_path, error):
    def fail() -> None:
        with whole_folder(tmp_path / "folder") as new:
            (new / "file").write_text("2")
            raise error

    make(tmp_path / "folder", "1")
    with pytest.raises(error):
        fail()
    assert (tmp_path / "folder" / "file").read_text() == "1"
    assert len(list(tmp_path.iterdir())) == 1


def test_leftovers_of_the_dead_are_removed_unless_others_may_be_at_work(tmp_path):
    for name in (".folder.0123abcd.tmp", ".other.0123abcd.tmp"):
        (tmp_path / name).mkdir()
    with whole_folder(tmp_path / "folder", sole_writer=False):
        pass
    assert (tmp_path / ".folder.0123abcd.tmp").exists()
    make(tmp_path / "folder", "1")
    assert {p.name for p in tmp_path.iterdir()} == {"folder", ".other.0123abcd.tmp"}


def test_a_crash_between_the_renames_leaves_the_older_one_to_be_found(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    make(folder, "1")
    (tmp_path / "made").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(whole.shutil, "rmtree", lambda *_, **__: None)
        renames = iter([Path.rename])

        def rename(self: Path, target: Path) -> Path:
            return next(renames)(self, target)  # the second time: StopIteration

        patch.setattr(Path, "rename", rename)
        with pytest.raises(StopIteration):
            put_in_place(tmp_path / "made", folder)
    assert not folder.exists()
    assert (standing(folder) / "file").read_text() == "1"
    mend(folder)
    assert (folder / "file").read_text() == "1"
    assert standing(folder) == folder
    mend(folder)


@pytest.mark.parametrize("write", [atomic_write, whole_folder])
def test_a_disk_that_refuses_is_a_storage_error(tmp_path, write):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/under: cannot be written: .*choose another place"):  # noqa: SIM117
        with write(tmp_path / "file" / "under"):
            pass
