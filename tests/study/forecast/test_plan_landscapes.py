"""What simulated studies of a plan meet: landscapes like those that were recorded."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.curves import TABLE
from search_spaces.space import SearchSpace, load_space
from ssl_core.recipes.recipe_source import preset_at
from study.forecast.landscapes import MOST_BETTER, RISE, SCATTER, Landscapes, drawn, longest
from study.spec.study_spec import StudySpec

SPACE = Path(__file__).resolve().parents[3] / "search_spaces" / "cross_modal_quick.yaml"
PROBES = ("val/points_probe", "val/probe")


def quick() -> SearchSpace:
    return load_space(SPACE, preset_at)


def recorded(metric: str) -> tuple[np.ndarray, np.ndarray]:
    """[repeats, epochs] of the preset, [configurations, epochs] of the others."""
    runs = json.loads(TABLE.read_text())["runs"]
    curves = np.array([run["metrics"][metric] for run in runs])
    preset = np.array([run["values"] == runs[0]["values"] for run in runs])
    return curves[preset], curves[~preset]


@pytest.mark.parametrize("metric", PROBES)
def test_the_figures_are_those_of_the_recorded_runs(metric: str) -> None:
    preset, others = recorded(metric)
    spread = others[:, -1].std(ddof=1)
    assert RISE[0] < (others[:, -1] - others[:, 0]).mean() / spread < RISE[1]
    scatter = preset.std(axis=0, ddof=1) / spread
    assert SCATTER[0] < np.median(scatter) < SCATTER[1]
    best = np.maximum.accumulate(preset, axis=1), np.maximum.accumulate(others, axis=1)
    better = (best[1][None] > best[0][:, None]).mean(axis=(0, 1))
    assert better.max() < MOST_BETTER, better


@pytest.mark.parametrize("number", range(6))
def test_most_of_the_space_is_worse_than_the_preset(number: int) -> None:
    space, spec = quick(), StudySpec(metric="val/probe")
    found = Landscapes(space, spec, 16).draw(number, np.random.default_rng(number))
    pool = [found.distance(values) for values in drawn(space, spec.seed, 64)]
    assert np.mean(np.array(pool) < found.distance(space.replay(space.base_params()))) <= MOST_BETTER


def test_a_preset_that_does_not_come_first_may_be_anywhere() -> None:
    space, spec = quick(), StudySpec(metric="val/probe", first_is_base=False)
    base, worse = space.replay(space.base_params()), 0
    for number in range(20):
        found = Landscapes(space, spec, 16).draw(number, np.random.default_rng(number))
        pool = np.array([found.distance(values) for values in drawn(space, spec.seed, 64)])
        worse += int((pool < found.distance(base)).mean() > MOST_BETTER)
    assert worse > 0


@pytest.mark.parametrize("epochs", [1, 2, 16])
def test_rise_and_scatter_are_in_proportion(epochs: int) -> None:
    space, spec = quick(), StudySpec(metric="val/probe")
    for number in range(5):
        found = Landscapes(space, spec, epochs).draw(number, np.random.default_rng(number))
        pool = drawn(space, spec.seed, 64)
        spread = found.weight * np.std([found.distance(values) for values in pool])
        assert SCATTER[0] <= found.noise / spread <= SCATTER[1]
        if epochs > 1 and found.crossing < 0.05:
            ends = [found.curve(values, 0).metrics for values in pool]
            rise = np.mean([curve[-1]["val/probe"] - curve[0]["val/probe"] for curve in ends]) / spread
            assert 0.7 * RISE[0] <= rise <= 1.3 * RISE[1]


def test_the_same_draw_gives_the_same_landscape() -> None:
    draws = Landscapes(quick(), StudySpec(metric="val/probe"), 16)
    one, other = (draws.draw(3, np.random.default_rng(1)) for _ in range(2))
    assert one == other
    assert one != draws.draw(4, np.random.default_rng(1))


def test_searched_epochs_count(tmp_path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text("recipe: cross_modal\npreset: quick\nspace: {training.epochs: {int: [4, 30]}}\n")
    assert longest(load_space(file, preset_at), 12) == 30
    assert longest(load_space(file, preset_at), 40) == 40
