"""Which version goes before the gate first."""

from types import SimpleNamespace

import pytest

from registry.versions.records import EncoderVersion, Lineage
from ssl_core.errors import StudyError
from ssl_core.models.cards import ImageEncoderCard, PointEncoderCard
from ssl_core.training.contract import Output, Recipe, Score
from study.registration.assess import _in_turns, promising_first

RECIPE = Recipe(
    name="two_branches",
    title="",
    config=SimpleNamespace,
    presets={},
    reads=object,
    outputs=(
        Output("points", PointEncoderCard, Score(metric="val/points")),
        Output("error", ImageEncoderCard, Score(metric="val/error", direction="minimize")),
    ),
    check=lambda config, data: None,
    open=None,
)


def order(curves, best_epoch=2):
    versions = [
        EncoderVersion(
            name=f"two-branches-{output}",
            version=number,
            kind="point_encoder",
            feature_dim=8,
            bundle_digest="",
            lineage=Lineage(study="s", trial=number, run_id="r", seed=0),
            created="",
        )
        for number in curves
        for output in ("points", "error")
    ]
    leaders = tuple(SimpleNamespace(number=number, best_epoch=best_epoch) for number in curves)
    found = promising_first([RECIPE], SimpleNamespace(leaders=leaders), curves.__getitem__, versions)
    return [(version.name.rpartition("-")[2], version.lineage.trial) for version in found]


def test_each_output_goes_in_order_of_its_own_score_and_direction():
    curves = {
        3: {"val/points": {2: 0.70, 3: 0.99}, "val/error": {2: 0.80, 3: 0.01}},
        5: {"val/points": {2: 0.75, 3: 0.01}, "val/error": {2: 0.60, 3: 0.99}},
    }
    assert order(curves) == [("error", 5), ("error", 3), ("points", 5), ("points", 3)]


def test_a_score_that_never_came_is_no_zero():
    curves = {3: {"val/points": {2: 0.7}, "val/error": {3: 0.1}, "train/loss": {1: 1.0}}}
    with pytest.raises(StudyError, match=r"trial 3 reported no 'val/error' up to epoch 2.* it has train/loss, val"):
        order(curves)


def test_evaluations_of_different_models_meet_and_those_of_one_do_not():
    """Those of one share the features of their random twins, which one of them computes."""
    names = ("points", "points", "image", "points", "image")
    versions = [
        EncoderVersion(
            name=name,
            version=number,
            kind="point_encoder",
            feature_dim=8,
            bundle_digest="",
            lineage=Lineage(study="s", trial=number, run_id="r", seed=0),
            created="",
        )
        for number, name in enumerate(names)
    ]
    assert [(version.name, version.version) for version in _in_turns(versions)] == [
        ("image", 2), ("points", 0), ("image", 4), ("points", 1), ("points", 3),
    ]  # fmt: skip
