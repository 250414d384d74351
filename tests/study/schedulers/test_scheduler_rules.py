"""Laws of the rules that stop trials, each beside a slow twin that sorts everything anew."""

from statistics import fmean, median

import pytest
from fake_plans import make_space
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.space import SearchSpace
from study.record.trial_record import Verdict
from study.schedulers.rules import MedianStopping, SuccessiveHalving, build_rule
from study.schedulers.rung_order import Rule, Rung
from study.spec.scheduler_spec import ASHA, MedianRule, NoScheduler, SchedulerSpec

VALUES = st.floats(-1, 1).map(lambda value: round(value, 2))
CURVES = st.lists(st.lists(VALUES, min_size=1, max_size=12), min_size=1, max_size=14)
DIRECTIONS = st.sampled_from(["maximize", "minimize"])
ASHAS = st.builds(ASHA, grace=st.integers(1, 4), reduction=st.integers(2, 4))
MEDIANS = st.builds(MedianRule, grace=st.integers(1, 4), least=st.integers(1, 5), every=st.integers(1, 3))
SPECS: st.SearchStrategy[SchedulerSpec] = ASHAS | MEDIANS

Seen = dict[int, dict[int, float]]


class NoPopulation:
    """Has no checkpoint to give."""

    def donor_values(self, number: int) -> None:
        return None


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> SearchSpace:
    return make_space(tmp_path_factory.mktemp("space"))


def play(spec: SchedulerSpec, direction: str, curves: list[list[float]], space: SearchSpace) -> tuple[Rule, Seen, dict]:
    """Trials one epoch each in turn until stopped or done; the rule, what it saw, and its verdicts."""
    rule = build_rule(spec, direction, space, 0, NoPopulation())
    seen: Seen = {}
    stopped: dict[int, Verdict] = {}
    for epoch in range(1, 1 + max(map(len, curves))):
        for number, curve in enumerate(curves):
            if number in stopped or len(curve) < epoch:
                continue
            seen.setdefault(number, {})[epoch] = curve[epoch - 1]
            rule.observe(number, epoch, curve[epoch - 1])
            verdict = rule.verdict(number, epoch)
            assert (verdict is not None) == slow_twin(spec, direction, seen, number, epoch)
            if verdict is not None:
                stopped[number] = verdict
    return rule, seen, stopped


def slow_twin(spec: SchedulerSpec, direction: str, seen: Seen, number: int, epoch: int) -> bool:
    """Whether the trial stops, from all curves."""
    pick = max if direction == "maximize" else min
    sign = 1 if direction == "maximize" else -1
    upto = {n: [curve[e] for e in sorted(curve) if e <= epoch] for n, curve in seen.items() if epoch in curve}
    own = sign * pick(upto[number])
    if isinstance(spec, ASHA):
        rungs = [spec.grace * spec.reduction**level for level in range(8)]
        ranked = sorted((sign * pick(values) for values in upto.values()), reverse=True)
        if epoch not in rungs or len(ranked) < spec.reduction:
            return False
        return own < ranked[len(ranked) // spec.reduction - 1]
    assert isinstance(spec, MedianRule)
    means = {n: sign * min(max(fmean(values), min(values)), max(values)) for n, values in upto.items()}
    others = [mean for n, mean in means.items() if n != number]
    if epoch < spec.grace or (epoch - spec.grace) % spec.every or len(others) < spec.least:
        return False
    return own < median(others)


@given(SPECS, DIRECTIONS, CURVES)
def test_verdicts_are_those_of_the_slow_twin_and_the_leader_goes_on(
    space: SearchSpace, spec: SchedulerSpec, direction: str, curves: list[list[float]]
) -> None:
    _, seen, stopped = play(spec, direction, curves, space)
    pick = max if direction == "maximize" else min
    for number, verdict in stopped.items():
        here = {n: pick(v for e, v in c.items() if e <= verdict.rung) for n, c in seen.items() if verdict.rung in c}
        assert here[number] != pick(here.values()), "a trial that leads was stopped"
        assert verdict.value == here[number]
        assert (verdict.bar > verdict.value) == (direction == "maximize")
        least = spec.reduction if isinstance(spec, ASHA) else spec.least + 1
        assert verdict.among >= least
        assert f"{verdict.value:.4g}" in verdict.reason
        assert f"{verdict.bar:.4g}" in verdict.reason


@given(SPECS, DIRECTIONS, CURVES, st.data())
def test_rebuilt_from_curves_in_any_order_it_decides_the_same(
    space: SearchSpace, spec: SchedulerSpec, direction: str, curves: list[list[float]], data: st.DataObject
) -> None:
    rule, seen, _ = play(spec, direction, curves, space)
    again = build_rule(spec, direction, space, 0, NoPopulation())
    again.rebuild(data.draw(st.permutations(list(seen.items()))))
    for number, curve in seen.items():
        for epoch in curve:
            assert again.verdict(number, epoch) == rule.verdict(number, epoch)


@given(SPECS, DIRECTIONS, CURVES, st.data())
def test_an_epoch_told_again_replaces_what_it_said(
    space: SearchSpace, spec: SchedulerSpec, direction: str, curves: list[list[float]], data: st.DataObject
) -> None:
    first = build_rule(spec, direction, space, 0, NoPopulation())
    whole = {number: dict(enumerate(curve, start=1)) for number, curve in enumerate(curves)}
    first.rebuild(whole.items())
    number = data.draw(st.sampled_from(sorted(whole)))
    epoch, value = data.draw(st.sampled_from(sorted(whole[number]))), data.draw(VALUES)
    first.observe(number, epoch, value)
    whole[number][epoch] = value
    again = build_rule(spec, direction, space, 0, NoPopulation())
    again.rebuild(whole.items())
    for other, curve in whole.items():
        for e in curve:
            assert first.verdict(other, e) == again.verdict(other, e)


@given(SPECS, CURVES)
def test_direction_is_a_mirror(space: SearchSpace, spec: SchedulerSpec, curves: list[list[float]]) -> None:
    _, _, up = play(spec, "maximize", curves, space)
    _, _, down = play(spec, "minimize", [[-value for value in curve] for curve in curves], space)
    assert {n: v.rung for n, v in up.items()} == {n: v.rung for n, v in down.items()}


@given(st.lists(VALUES, min_size=1, max_size=20), DIRECTIONS, st.data())
def test_a_rung_keeps_order(values: list[float], direction: str, data: st.DataObject) -> None:
    rung = Rung(direction)
    for number, value in enumerate(values):
        rung.put(number, data.draw(VALUES))
        rung.put(number, value)
    ranked = sorted(values, reverse=direction == "maximize")
    assert [rung.place(place) for place in range(1, len(values) + 1)] == ranked
    assert len(rung) == len(values)
    for number in range(len(values)):
        if len(values) > 1:
            assert rung.median_without(number) == pytest.approx(median(values[:number] + values[number + 1 :]))


def test_asha_says_why() -> None:
    halving = SuccessiveHalving(ASHA(grace=2, reduction=3), "maximize")
    for number, value in enumerate([0.9, 0.1]):
        halving.observe(number, 2, value)
        assert halving.verdict(number, 2) is None
    halving.observe(2, 2, 0.5)
    verdict = halving.verdict(2, 2)
    assert verdict is not None
    assert "0.5 is not among the best 1 of 3" in verdict.reason
    assert (verdict.rung, verdict.value, verdict.bar, verdict.among) == (2, 0.5, 0.9, 3)
    assert halving.verdict(0, 2) is None
    assert halving.verdict(7, 2) is None


def test_the_median_rule_says_why() -> None:
    rule = MedianStopping(MedianRule(grace=2, least=2), "minimize")
    for number, curve in enumerate([[0.4, 0.2], [0.5, 0.3], [0.9, 0.8]]):
        for epoch, value in enumerate(curve, start=1):
            rule.observe(number, epoch, value)
    verdict = rule.verdict(2, 2)
    assert verdict is not None
    assert (verdict.value, verdict.bar, verdict.among) == (0.8, pytest.approx(0.35), 3)
    assert "worse than 0.35, the median of the running means of 2 other trials" in verdict.reason
    assert rule.verdict(0, 2) is None


@given(st.integers(2, 9), st.floats(0.01, 1))
def test_ties_go_on(space: SearchSpace, count: int, value: float) -> None:
    for spec in (ASHA(grace=1, reduction=2), MedianRule(grace=1, least=1)):
        _, _, stopped = play(spec, "maximize", [[value] * 5] * count, space)
        assert not stopped


def test_none_stops_nobody(space: SearchSpace) -> None:
    rule = build_rule(NoScheduler(), "maximize", space, 0, NoPopulation())
    assert type(rule) is Rule
    rule.rebuild([(number, {1: float(number)}) for number in range(9)])
    rule.observe(0, 2, 0.0)
    assert rule.verdict(0, 2) is None
