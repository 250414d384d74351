"""Stages: made once for all trials with equal settings, never half, and found again."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest

from ssl_core.config import Config
from ssl_core.errors import InfeasibleError
from ssl_core.training.contract import Recipe, Stage
from ssl_core.training.stages import Stages


class Teacher(Config):
    width: int = 4


class Settings(Config):
    teacher: Teacher = Teacher()
    beta: float = 1.0


class Data:
    digest = "d1"


def stages(root, make, version=1, source=""):
    stage = Stage("teacher", lambda config: config.teacher, make, version)
    recipe = Recipe(
        *("small", "", Settings, {}, Data, (), lambda *_: None),
        open=lambda config, data, folders, seed: SimpleNamespace(folders=folders, seed=seed),
        stages=(stage,),
    )
    return Stages(recipe, root, source)


class Making:
    """Writes a file, and counts."""

    def __init__(self):
        self.calls = []

    def __call__(self, config, data, folder, device):
        self.calls.append(config.teacher.width)
        (folder / "weights").write_text(f"{config.teacher.width} {device.type}")


def test_equal_settings_are_made_once_and_given_to_every_trial(tmp_path):
    make = Making()
    ours = stages(tmp_path, make)
    with ThreadPoolExecutor(8) as threads:
        trials = list(threads.map(lambda seed: ours.open(Settings(beta=seed), Data(), seed), range(8)))
    assert make.calls == [4]
    assert len({trial.folders["teacher"] for trial in trials}) == 1
    assert trials[0].folders["teacher"].joinpath("weights").read_text().startswith("4 ")
    assert stages(tmp_path, make).open(Settings(), Data(), 9).folders == trials[0].folders
    assert make.calls == [4], "found again by another process"


def test_the_address_is_all_that_decides_the_content_and_nothing_else(tmp_path):
    def place(config=Settings(), digest="d1", **how):
        ours = stages(tmp_path, Making(), **how)
        return ours.folder(ours.recipe.stages[0], config, SimpleNamespace(digest=digest))

    same = place()
    assert place(Settings(beta=3.0)) == same
    others = [place(Settings(teacher=Teacher(width=5))), place(digest="d2"), place(version=2), place(source="edited")]
    assert len({same, *others}) == 5


def test_a_stage_that_a_trial_does_not_read_is_neither_made_nor_given(tmp_path):
    make = Making()
    stage = Stage("teacher", lambda config: config.teacher, make, when=lambda config, data: config.beta > 0)
    ours = Stages(replace(stages(tmp_path, make).recipe, stages=(stage,)), tmp_path)
    assert ours.open(Settings(beta=0), Data(), 0).folders == {}
    assert make.calls == []
    assert ours.open(Settings(), Data(), 0).folders.keys() == {"teacher"}


def test_what_dies_half_way_leaves_nothing(tmp_path):
    def dying(config, data, folder, device):
        (folder / "half").write_text("")
        raise InfeasibleError("no teacher today")

    with pytest.raises(InfeasibleError, match="no teacher today"):
        stages(tmp_path, dying).open(Settings(), Data(), 0)
    assert [file for file in tmp_path.iterdir() if file.is_dir()] == []
    make = Making()
    assert stages(tmp_path, make).open(Settings(), Data(), 0).folders["teacher"].is_dir()
    assert make.calls == [4]


def test_data_of_another_kind_is_refused_before_anything_is_made(tmp_path):
    make = Making()
    with pytest.raises(InfeasibleError, match=r"reads a Data, and this is a SimpleNamespace"):
        stages(tmp_path, make).open(Settings(), SimpleNamespace(digest="x"), 0)
    assert make.calls == []
