"""Seconds per epoch of a space, from a few measured configurations."""

import numpy as np
import optuna
import pytest
from fake_plans import make_space
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.space import load_space
from ssl_core.recipes.recipe_source import preset_at
from study.forecast.columns import Columns
from study.forecast.pace import fit_pace, spread_out


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    path = tmp_path_factory.mktemp("space") / "space.yaml"
    path.write_text(
        "recipe: cross_modal\npreset: quick\nspace:\n"
        "  points.num_points: {choice: [256, 512, 1024, 2048]}\n"
        "  point_backbone.kind: {choice: [pointnet, dgcnn]}\n"
        "  point_backbone.k: {int: [8, 32], when: {point_backbone.kind: dgcnn}}\n"
        "  training.epochs: {int: [4, 16]}\n"
        "  training.optimizer.lr: {log: [0.0001, 0.01]}\n"
        "  loss.margin: {float: [0, 2]}\n"
    )
    return load_space(path, preset_at)


def drawn(space, count, seed=0):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [space.suggest(study.ask()) for _ in range(count)]


def true_seconds(values):
    kind = {"pointnet": 1.0, "dgcnn": 3.0}[values["point_backbone.kind"]]
    return 10 * kind * (values["points.num_points"] / 1024) ** 0.7


def test_columns_know_sizes_kinds_and_absent_keys(space):
    columns = Columns(space)
    common = {"points.num_points": 256, "training.optimizer.lr": 0.001, "loss.margin": 1.0, "training.epochs": 9}
    plain = columns.row({**common, "point_backbone.kind": "pointnet"})
    deep = columns.row({**common, "point_backbone.kind": "dgcnn", "point_backbone.k": 32})
    assert len(plain) == len(columns.scales) == 7, "constant, points, two kinds, neighbours, rate, margin; no epochs"
    assert plain[0] == 1
    larger = columns.row({**common, "points.num_points": 2048, "point_backbone.kind": "pointnet"})
    assert (larger - plain).sum() == pytest.approx(np.log(8)), "sizes count by their logarithm"
    assert np.count_nonzero(plain != deep) == 3
    longer = columns.row({**common, "training.epochs": 16, "point_backbone.kind": "pointnet"})
    assert (longer == plain).all(), "how many epochs there are says nothing of one"


def test_a_few_measurements_predict_the_mean_of_the_space(space):
    columns = Columns(space)
    pool = drawn(space, 200)
    rows = columns.rows(pool)
    truth = np.mean([true_seconds(values) for values in pool])
    rng = np.random.default_rng(0)
    chosen = spread_out(rows, 6, columns.scales)
    measured = [true_seconds(pool[n]) * np.exp(0.05 * rng.standard_normal()) for n in chosen]
    pace = fit_pace(rows[chosen], measured, columns.scales)
    guesses = [np.mean([guess.seconds(row) for row in rows]) for guess in (pace.draw(rng) for _ in range(200))]
    low, middle, high = np.quantile(guesses, [0.1, 0.5, 0.9])
    assert middle == pytest.approx(truth, rel=0.15)
    assert low < truth < high


def test_equal_costs_narrow_the_prediction_and_unequal_ones_widen_it(space):
    columns = Columns(space)
    rows = columns.rows(drawn(space, 8))
    rng = np.random.default_rng(1)

    def width(seconds):
        pace = fit_pace(rows[:5], seconds, columns.scales)
        logs = [np.log(guess.seconds(rows[7])) for guess in (pace.draw(rng) for _ in range(300))]
        return np.std(logs)

    assert width([10, 10.2, 9.9, 10.1, 10]) < 0.3 * width([2, 30, 8, 3, 20])


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(1e-3, 1e5), min_size=1, max_size=6), st.floats(0.01, 100))
def test_another_unit_of_time_changes_nothing_but_the_unit(seconds, factor):
    rng = np.random.default_rng(len(seconds))
    rows = np.column_stack([np.ones(len(seconds)), rng.standard_normal((len(seconds), 2))])
    scales = np.array([10.0, 0.7, 0.05])
    one = fit_pace(rows, seconds, scales).draw(np.random.default_rng(3))
    other = fit_pace(rows, [factor * s for s in seconds], scales).draw(np.random.default_rng(3))
    assert other.seconds(rows[0]) == pytest.approx(factor * one.seconds(rows[0]), rel=1e-3)


def test_nothing_measured_is_refused(space):
    with pytest.raises(ValueError, match="nothing was measured"):
        fit_pace(np.zeros((0, 3)), [], np.ones(3))


def test_the_base_is_taken_and_the_rest_is_spread(space):
    columns = Columns(space)
    pool = drawn(space, 100)
    rows = columns.rows(pool)
    chosen = spread_out(rows, 5, columns.scales)
    assert chosen[0] == 0
    assert len(set(chosen)) == 5
    assert {pool[n]["point_backbone.kind"] for n in chosen} == {"pointnet", "dgcnn"}
    points = {pool[n]["points.num_points"] for n in chosen}
    assert {256, 2048} <= points, "both ends tell most"
    assert len(spread_out(rows[:3], 5, columns.scales)) == 3, "no more than there are"


def test_a_range_through_zero_is_no_size(tmp_path):
    space = make_space(tmp_path, {"quality": {"float": [-1.0, 1.0]}, "mode": {"choice": ["good", "nan"]}})
    columns = Columns(space)
    assert columns.row({"quality": -1.0, "mode": "nan"}).tolist() == [1, 0, 1, -1]
    assert columns.row({"quality": 1.0, "mode": "good"}).tolist() == [1, 1, 0, 1]
