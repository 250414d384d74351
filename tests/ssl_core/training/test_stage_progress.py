"""What is told of a stage while it is made."""

import os
import time

import pytest
from test_stages import Data, Settings, stages

from ssl_core.training import stage_progress
from ssl_core.training.stage_progress import StageProgress, stages_in_progress, tell_stage


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(stage_progress, "BETWEEN_SECONDS", 0.0)


def test_others_see_how_far_a_stage_is_and_nothing_once_it_is_there(tmp_path):
    seen = []

    def make(config, data, folder, device):
        seen.extend(stages_in_progress(tmp_path, "d1"))
        for done in (60, 120, 240):
            time.sleep(0.01)
            tell_stage(done, 240)
            seen.extend(stages_in_progress(tmp_path, "d1"))
            assert stages_in_progress(tmp_path, "d2") == [], "of other data"

    stages(tmp_path, make).open(Settings(), Data(), 0)
    assert [(one.stage, one.done, one.total) for one in seen] == [
        ("teacher", 0, 0), ("teacher", 60, 240), ("teacher", 120, 240), ("teacher", 240, 240),
    ]  # fmt: skip
    assert [one.left is None for one in seen] == [True, True, False, False]
    assert seen[2].left > 0.01
    assert seen[3].left == 0
    assert stages_in_progress(tmp_path, "d1") == []
    assert not list(tmp_path.glob("*progress*"))
    tell_stage(1, 2)  # outside


def test_what_a_person_reads():
    made = StageProgress(stage="teacher", data_digest="d", done=120, total=240, unit="objects", left=9.2)
    assert made.text == "teacher: 120 of 240 objects, about 9 s left"
    assert made.model_copy(update={"left": None}).text == "teacher: 120 of 240 objects"
    assert StageProgress(stage="teacher", data_digest="d").text == "teacher: is being made"


def test_a_making_that_failed_or_died_says_nothing_for_long(tmp_path):
    def failing(config, data, folder, device):
        raise ValueError

    with pytest.raises(ValueError):
        stages(tmp_path, failing).open(Settings(), Data(), 0)
    assert stages_in_progress(tmp_path, "d1") == []
    left = tmp_path / "small-teacher-0.progress.json"
    left.write_text(StageProgress(stage="teacher", data_digest="d1").to_json())
    assert len(stages_in_progress(tmp_path, "d1")) == 1
    os.utime(left, (0, time.time() - 2 * stage_progress.STALE_SECONDS))
    assert stages_in_progress(tmp_path, "d1") == []
    left.write_text("{")
    assert stages_in_progress(tmp_path, "d1") == []


def test_a_disk_that_refuses_hinders_nobody(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no space")

    monkeypatch.setattr(stage_progress.Path, "write_text", refuse)
    with stage_progress.telling(tmp_path, "small-teacher-0", "teacher", "d1"):
        tell_stage(1, 2)
    assert stages_in_progress(tmp_path, "d1") == []
