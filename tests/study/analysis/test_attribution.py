"""What feature groups are worth: found where there is something, not found where there is nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from study_records import CONFIRMS, GROUPS, feature_space, record, stop, synthetic_study

from study.analysis.attribution import from_confirmations, from_trials
from study.analysis.common_fidelity import columns_of, rows, searched
from study.analysis.linear_effects import estimable, robust_effects
from study.engine.feature_groups import feature_keys
from study.record.trial_record import TrialRecord
from study.spec.outcome import Outcome


def test_one_informative_group_comes_first_and_the_others_are_nothing() -> None:
    records, space = synthetic_study(seed=1)
    found = from_trials(records, space, "maximize")
    assert found is not None
    first, *rest = found.gains
    assert first.groups == ("scale",)
    assert first.low > 0
    assert first.low < 0.1 < first.high
    assert {name for gain in rest for name in gain.groups} == set(GROUPS) - {"scale"}
    assert not any(gain.matters for gain in rest)
    assert found.trials == tuple(range(60))


def test_minimised_objectives_gain_by_falling() -> None:
    records, space = synthetic_study(seed=2)
    turned = [record(r.number, [-v for v in r.curve.values()], values=r.values, direction="minimize") for r in records]
    up, down = from_trials(records, space, "maximize"), from_trials(turned, space, "minimize")
    assert up is not None
    assert down is not None
    assert [(g.groups, round(g.gain, 9)) for g in up.gains] == [(g.groups, round(g.gain, 9)) for g in down.gains]


def test_over_many_studies_nothing_is_found_where_there_is_nothing_and_something_where_there_is() -> None:
    studies = 300
    false, first, sure, covered = 0, 0, 0, 0
    for seed in range(studies):
        found = from_trials(*synthetic_study(seed, trials=40), "maximize")
        assert found is not None
        gains = {gain.name: gain for gain in found.gains}
        false += any(gain.matters for name, gain in gains.items() if name != "scale")
        first += found.gains[0].name == "scale"
        sure += gains["scale"].low > 0
        covered += gains["scale"].low <= 0.1 <= gains["scale"].high
    # 5 % nominal: five standard errors above it would still be under 12 %
    assert false / studies <= 0.08
    assert covered / studies >= 0.92
    assert first / studies > 0.97
    assert sure / studies > 0.9


def test_without_any_effect_a_table_is_clean_in_19_of_20_studies() -> None:
    found = [from_trials(*synthetic_study(seed, trials=30, informative=None), "maximize") for seed in range(300)]
    alarmed = sum(any(gain.matters for gain in one.gains) for one in found if one is not None)
    assert alarmed / len(found) <= 0.08


def test_a_sampler_that_prefers_good_regions_does_not_lend_their_merit_to_a_group() -> None:
    """Trials with sh_rest also have the better `a`: the adjustment has to see through it."""
    false = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        records = []
        for number in range(60):
            a = rng.uniform()
            groups = [g for g in ("normals", "sh_rest") if rng.random() < (0.2 + 0.6 * a if g == "sh_rest" else 0.5)]
            value = 0.5 + 0.3 * a + 0.05 * rng.normal()
            records.append(record(number, [value], values={"points.features": ["xyz", *groups], "a": a}))
        space = feature_space([["xyz"], ["xyz", "normals", "sh_rest"]], a=[0, 1])
        found = from_trials(records, space, "maximize")
        assert found is not None
        false += any(gain.matters for gain in found.gains)
    assert false <= 12


def test_stopped_trials_are_compared_at_the_epoch_all_reached() -> None:
    choices = [["xyz"], ["xyz", "scale"]]
    records = []
    for number in range(24):
        has = number % 2 == 0
        early = 0.1 + 0.2 * has + 0.001 * (number % 5)
        values = {"points.features": choices[has], "a": number}
        if number % 3:
            records.append(
                record(number, [early / 2, early], values=values, outcome=Outcome.STOPPED, verdicts=(stop(2),))
            )
        else:
            records.append(record(number, [early / 2, early, 0.9, 0.9], values=values))
    found = from_trials(records, feature_space(choices), "maximize")
    assert found is not None
    assert found.epoch == 2
    assert found.trials == tuple(range(24))
    assert found.gains[0].gain == pytest.approx(0.2, abs=0.01)
    only = from_trials(records, feature_space(choices), "maximize", complete_only=True)
    assert only is not None
    assert only.trials == tuple(range(0, 24, 3))
    assert only.gains[0].gain == pytest.approx(0.0, abs=0.01)


def test_what_cannot_be_told_is_said() -> None:
    choices = [["xyz"], ["xyz", "scale", "rotation"], ["xyz", "normals"]]
    rng = np.random.default_rng(0)
    records = [
        record(n, [0.5 + 0.1 * rng.normal()], values={"points.features": choices[n % 2], "a": n}) for n in range(20)
    ]
    found = from_trials(records, feature_space(choices), "maximize")
    assert found is not None
    assert [gain.name for gain in found.gains] == ["scale + rotation"]
    text = " ".join(found.notes)
    assert "Did not vary between the compared trials: normals." in text
    assert "Always together, so not told apart: scale + rotation." in text


def test_choices_that_exclude_each_other_without_a_common_ground_are_not_estimated() -> None:
    choices = [["scale"], ["normals"], ["sh_dc"]]
    rng = np.random.default_rng(0)
    records = [record(n, [rng.normal()], values={"points.features": choices[n % 3], "a": n}) for n in range(30)]
    found = from_trials(records, feature_space(choices), "maximize")
    assert found is not None
    assert found.gains == ()
    assert "no way to tell apart" in found.notes[0]


def test_few_trials_and_no_groups() -> None:
    records, space = synthetic_study(seed=0, trials=4)
    found = from_trials(records, space, "maximize")
    assert found is not None
    assert found.gains == ()
    assert found.notes
    nothing = from_trials([], space, "maximize")
    assert nothing is not None
    assert nothing.gains == ()
    assert from_trials(records, {"space": {}}, "maximize") is None
    assert from_trials(records, feature_space([["xyz"], ["xyz"]]), "maximize") is None


def test_repeats_are_one_configuration_and_redirected_trials_none() -> None:
    values = {"points.features": ["xyz"]}
    exploit = stop(1).model_copy(update={"action": "exploit"})
    records = [
        record(0, [0.2], values=values),
        record(1, [0.4], values={"points.features": ("xyz",)}, repeat=1),
        record(2, [0.9], values=values, verdicts=(exploit,)),
        record(3, [0.9], values=values, origin=CONFIRMS),
        record(4, [], values=values, outcome=Outcome.CRASHED),
        record(5, [0.3], values=values, outcome=None),
    ]
    table = rows(searched(records), 1, "maximize")
    assert [(row.value, row.trials) for row in table] == [(pytest.approx(0.3), (0, 1))]


def confirmed(
    gain: dict[str, float], seeds: int, shared: bool, noise: float, rng: np.random.Generator
) -> list[TrialRecord]:
    """A winner with scale and normals, and its confirmations."""
    best = ["xyz", "scale", "normals"]
    made = [record(0, [0.99], values={"points.features": best, "a": 0.5})]
    for repeat in range(seeds):
        luck = 0.1 * rng.normal()
        for dropped in ("", "scale", "normals"):
            value = 0.7 - gain.get(dropped, 0.0) + noise * rng.normal() + (luck if shared else 0.0)
            values = {"points.features": [name for name in best if name != dropped], "a": 0.5}
            seed = repeat if shared else None
            number = len(made)
            made.append(
                record(number, [value], values=values, origin=CONFIRMS, seed=number if seed is None else 100 + seed)
            )
    return made


SPACE = feature_space([["xyz"], ["xyz", "scale", "normals", "sh_dc"]], a=[0, 1])


@pytest.mark.parametrize("shared", [False, True])
def test_confirmations_tell_what_a_group_is_worth_at_the_winner(shared: bool) -> None:
    rng = np.random.default_rng(3)
    records = confirmed({"scale": 0.2}, 4, shared, 0.01, rng)
    found = from_confirmations(records, SPACE, "maximize")
    assert found is not None
    first, second = found.gains
    assert first.groups == ("scale",)
    assert first.low > 0
    assert first.low < 0.2 < first.high
    assert not second.matters
    assert (first.present, first.absent) == (4, 4)
    assert 0 not in found.trials, "the trial that won was chosen for its value"


@pytest.mark.parametrize("shared", [False, True])
def test_confirmations_find_nothing_where_there_is_nothing(shared: bool) -> None:
    rng = np.random.default_rng(7)
    alarmed = 0
    for _ in range(300):
        found = from_confirmations(confirmed({}, 3, shared, 0.05, rng), SPACE, "maximize")
        assert found is not None
        alarmed += any(gain.matters for gain in found.gains)
    assert alarmed / 300 <= 0.08


def test_confirmations_that_are_missing_failed_or_of_an_earlier_winner() -> None:
    rng = np.random.default_rng(0)
    records = confirmed({}, 3, False, 0.05, rng)
    assert from_confirmations(records[:1], SPACE, "maximize") is None
    newer = [*records, record(50, [1.5], values={"points.features": ["xyz", "sh_dc"], "a": 0.1})]
    found = from_confirmations(newer, SPACE, "maximize")
    assert found is not None
    assert found.gains == ()
    assert "not there yet" in found.notes[-1]
    crashed = [*records[:-1], record(9, [], values=records[-1].values, origin=CONFIRMS, outcome=Outcome.CRASHED)]
    found = from_confirmations(crashed, SPACE, "maximize")
    assert found is not None
    assert "Trial 9 (without normals) ended CRASHED." in found.notes
    assert len(found.gains) == 2


def test_feature_keys_are_choices_among_lists_of_names() -> None:
    space = feature_space([["xyz"], ["xyz", "scale"], ["xyz", "scale", "rotation"]], a=[0, 1])
    space["space"]["sizes"] = {"domain": {"kind": "choice", "values": [[1, 2], [3]]}, "when": {}}
    space["space"]["mode"] = {"domain": {"kind": "choice", "values": ["a", "b"]}, "when": {}}
    (key,) = feature_keys(space)
    assert key.groups == ("scale", "rotation")
    assert key.always == ("xyz",)


def test_other_parameters_become_columns() -> None:
    space = feature_space([["xyz"]], lr=[0, 1], decay=[0, 1])
    space["space"]["lr"]["domain"]["kind"] = "log"
    space["space"]["kind"] = {"domain": {"kind": "choice", "values": ["a", "b"]}, "when": {}}
    rows_ = [
        {"lr": 0.1, "kind": "a", "decay": 0.5},
        {"lr": 0.01, "kind": "b"},
        {"lr": 0.001, "kind": "b"},
    ]
    columns = columns_of(rows_, space, {"points.features"})
    assert np.allclose(columns.mean(axis=0), 0)
    assert np.allclose(columns.std(axis=0), 1)
    assert np.allclose(columns[:, 0], [1.224745, 0, -1.224745], atol=1e-5), "the logarithm of lr"
    assert columns_of(rows_, feature_space([["xyz"]]), {"points.features"}).shape == (3, 0)


@given(st.integers(0, 10_000), st.integers(10, 40), st.integers(0, 12))
def test_effects_follow_the_objectives_shift_and_scale(seed: int, n: int, p: int) -> None:
    rng = np.random.default_rng(seed)
    design = (rng.random((n, 2)) < 0.5).astype(float)
    if not estimable(design).all():
        return
    others, y = rng.normal(size=(n, p)), rng.normal(size=n)
    one = robust_effects(design, others, y, 2, 0.95)
    two = robust_effects(design, others, 3 * y + 7, 2, 0.95)
    if one is None or two is None:
        assert one is two
        return
    assert np.allclose(two.estimates, 3 * one.estimates, atol=1e-8)
    assert np.allclose(two.low, 3 * one.low, atol=1e-8)
    assert np.all(one.low <= one.estimates)
    assert np.all(one.estimates <= one.high)


def test_where_each_recipe_has_a_key_of_groups_the_winners_is_told() -> None:
    records, space = synthetic_study(seed=1)
    alone = from_trials(records, space, "maximize")
    entry = space["space"].pop("points.features")
    space["space"] |= {"good.points.features": entry, "poor.points.features": entry}
    renamed = [
        r.model_copy(update={"values": {"good.points.features" if k == "points.features" else k: v
                                        for k, v in (r.values or {}).items()}})
        for r in records
    ]  # fmt: skip
    others = [record(100 + n, [0.1, 0.1, 0.1], values={"poor.points.features": ["xyz"], "a": 0.5}) for n in range(5)]
    found = from_trials([*others, *renamed], space, "maximize")
    assert alone is not None
    assert found is not None
    assert found.trials == alone.trials
    assert [(g.key, g.groups, g.gain) for g in found.gains] == [
        ("good.points.features", g.groups, pytest.approx(g.gain)) for g in alone.gains
    ]
