"""Derived folders: made once, whoever comes together, whatever interrupts."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ssl_core.errors import StorageError
from ssl_core.files import whole
from ssl_core.files.whole import derived_folder


class Maker:
    """Writes one file and counts how often it was asked to."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.calls, self.seconds = 0, seconds

    def __call__(self, folder: Path) -> None:
        self.calls += 1
        (folder / "value").write_text("1")
        time.sleep(self.seconds)


def test_it_is_made_once_and_found_whole(tmp_path):
    make = Maker()
    for _ in range(2):
        folder = derived_folder(tmp_path / "root", "teacher-v1-0123", make)
        assert folder == tmp_path / "root" / "teacher-v1-0123"
        assert [file.name for file in folder.iterdir()] == ["value"]
    assert make.calls == 1
    derived_folder(tmp_path / "root", "teacher-v2-0123", make)
    assert make.calls == 2


def test_whoever_comes_together_waits_and_shares(tmp_path, monkeypatch):
    monkeypatch.setattr(whole, "_WAIT_BEFORE_SAYING", 0.05)
    make, said = Maker(0.3), []
    threads = [
        threading.Thread(target=derived_folder, args=(tmp_path, "a", make), kwargs={"say": said.append})
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert make.calls == 1
    assert said == ["another process makes a; waiting for it"] * 3


def test_what_fails_leaves_nothing_and_is_tried_again(tmp_path):
    def fail(folder: Path) -> None:
        (folder / "value").write_text("half")
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            derived_folder(tmp_path, "a", fail)
    assert [p.name for p in tmp_path.iterdir()] == ["a.lock"]
    derived_folder(tmp_path, "a", Maker())


def test_a_root_that_cannot_be_written_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        derived_folder(tmp_path / "file", "a", Maker())


@pytest.mark.parametrize("address", ["", "a/b", "..", ".hidden", "a b"])
def test_an_address_is_a_plain_name(tmp_path, address):
    with pytest.raises(ValueError, match="plain file name"):
        derived_folder(tmp_path, address, Maker())


_DIES = """
import sys, time
from pathlib import Path
from ssl_core.files.whole import derived_folder
def make(folder):
    (folder / "value").write_text("half")
    print("at it", flush=True)
    time.sleep(60)
derived_folder(Path(sys.argv[1]), "a", make)
"""


def test_killed_at_work_it_leaves_nothing_half_made_and_nobody_waits(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", _DIES, str(tmp_path)], stdout=subprocess.PIPE, env={**os.environ})
    assert process.stdout is not None
    process.stdout.readline()
    assert not (tmp_path / "a").exists()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    folder = derived_folder(tmp_path, "a", Maker())
    assert (folder / "value").read_text() == "1"
    assert {p.name for p in tmp_path.iterdir()} == {"a", "a.lock"}
