"""Population based training: who takes from whom, what changes, and what it may never change."""

from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from fake_plans import make_space
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.parameter import Choice, Domain, FloatRange, IntRange, contains
from search_spaces.space import SearchSpace, load_space
from ssl_core.errors import SpaceError
from ssl_core.recipes.recipe_source import preset_at
from study.schedulers.pbt import PopulationBased, check_perturbed, drawn, perturbed
from study.spec.scheduler_spec import PBT

VALUES = st.floats(-1, 1).map(lambda value: round(value, 2))
LOG = FloatRange(kind="log", low=1e-3, high=10.0)


class Alive:
    """A population of which some can give."""

    def __init__(self, givers: set[int]) -> None:
        self.givers = givers

    def donor_values(self, number: int) -> Mapping[str, Any] | None:
        return {"quality": 0.5, "epochs": 4, "mode": f"of {number}"} if number in self.givers else None


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> SearchSpace:
    return make_space(tmp_path_factory.mktemp("space"), {"quality": {"float": [0.1, 1.0]}, "epochs": {"int": [2, 8]}})


def rule_of(space: SearchSpace, givers: set[int], share: float = 0.25, direction: str = "maximize") -> PopulationBased:
    spec = PBT(every=2, share=share, perturb=("quality",), resample=0.0)
    return PopulationBased(spec, direction, space, 7, Alive(givers))


@given(st.lists(VALUES, min_size=1, max_size=20), st.sampled_from([0.1, 0.25, 0.5]), st.booleans())
def test_only_the_worst_take_and_only_from_the_best(
    space: SearchSpace, scores: list[float], share: float, mirrored: bool
) -> None:
    rule = rule_of(space, set(range(20)), share, "minimize" if mirrored else "maximize")
    for number, score in enumerate(scores):
        rule.observe(number, 4, -score if mirrored else score)
    part = int(len(scores) * share)
    ranked = sorted(scores, reverse=True)
    for number, score in enumerate(scores):
        verdict = rule.verdict(number, 4)
        taking = len(scores) * share >= 2 and sum(other > score for other in scores) >= len(scores) - part
        assert (verdict is not None) == taking
        if verdict is not None:
            assert verdict.donor is not None
            assert scores[verdict.donor] >= ranked[part - 1]
            assert scores[verdict.donor] > score
            assert verdict.values["mode"] == f"of {verdict.donor}", "values that are not perturbed are the donor's"
            assert verdict.values["quality"] in (0.5 * 1.2, 0.5 / 1.2)
            assert verdict == rule.verdict(number, 4), "the draw depends on seed, trial and epoch alone"


def test_who_has_no_checkpoint_gives_none_and_between_comparisons_nobody_takes(space: SearchSpace) -> None:
    for givers, expected in ((set[int](), None), ({6}, 6)):
        rule = rule_of(space, givers)
        for number in range(8):
            rule.observe(number, 3, float(number))
            rule.observe(number, 4, float(number))
        verdict = rule.verdict(0, 4)
        assert (verdict.donor if verdict else None) == expected
        assert rule.verdict(0, 3) is None
    assert verdict is not None
    assert verdict.action == "exploit"
    assert "0 is among the worst 2 of 8 (the next has 2); it goes on from trial 6, which had 6" in verdict.reason


@given(st.dictionaries(st.integers(0, 20), st.dictionaries(st.integers(1, 8), VALUES, min_size=1), min_size=1))
def test_rebuilt_from_curves_it_decides_the_same(space: SearchSpace, curves: dict[int, dict[int, float]]) -> None:
    rule, again = rule_of(space, set(range(21))), rule_of(space, set(range(21)))
    by_epoch = sorted((epoch, number) for number, curve in curves.items() for epoch in curve)
    for epoch, number in by_epoch:
        rule.observe(number, epoch, curves[number][epoch])
    again.rebuild(curves.items())
    for epoch, number in by_epoch:
        assert rule.verdict(number, epoch) == again.verdict(number, epoch)


DOMAINS: list[Domain] = [
    LOG,
    FloatRange(kind="float", low=0.2, high=5.0, step=0.2),
    FloatRange(kind="float", low=-1.0, high=1.0),
    IntRange(low=2, high=32, step=2),
    IntRange(low=0, high=3),
    Choice(values=("a", "b", "c")),
    Choice(values=([1, 2], [3])),
]


@pytest.mark.parametrize("domain", DOMAINS, ids=str)
@given(seed=st.integers(0, 10**6), factor=st.floats(1.01, 4), resample=st.sampled_from([0.0, 0.5, 1.0]))
def test_a_moved_value_stays_in_its_domain(domain: Domain, seed: int, factor: float, resample: float) -> None:
    rng = Random(seed)
    value = drawn(domain, rng)
    assert contains(domain, value)
    for _ in range(5):
        value = perturbed(domain, value, factor, resample, rng)
        assert contains(domain, value)


def test_steps_are_neighbours_and_whole() -> None:
    rng = Random(0)
    assert {perturbed(IntRange(low=1, high=9), 2, 1.2, 0.0, rng) for _ in range(40)} == {1, 3}
    assert {perturbed(Choice(values=(1, 2, 3, 4)), 2, 1.2, 0.0, rng) for _ in range(40)} == {1, 3}
    assert {perturbed(LOG, 1.0, 2.0, 0.0, rng) for _ in range(40)} == {0.5, 2.0}


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["loss.bet"], "'loss.bet' is not searched, did you mean 'loss.beta'"),
        (["points.num_points"], "cannot change while a trial trains"),
        (["training.epochs"], "cannot change while a trial trains"),
        (["training.optimizer.kind"], "cannot change while a trial trains"),
        (["loss.beta"], "'training.optimizer.lr' depends on it"),
        ([], "name at least one"),
    ],
)
def test_keys_that_cannot_change_halfway_are_refused(tmp_path: Path, keys: list[str], words: str) -> None:
    section = {
        "loss.beta": {"choice": [1.0, 3.0]},
        "points.num_points": {"choice": [64, 128]},
        "training.epochs": {"int": [4, 8]},
        "training.optimizer.kind": {"choice": ["adam", "sgd"]},
        "training.optimizer.lr": {"log": [1e-4, 1e-2], "when": {"loss.beta": 1.0}},
    }
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump({"recipe": "cross_modal", "preset": "quick", "space": section}))
    space = load_space(path, preset_at)
    check_perturbed(space, PBT(perturb=("training.optimizer.lr",)))
    with pytest.raises(SpaceError, match=words):
        check_perturbed(space, PBT(perturb=tuple(keys)))
