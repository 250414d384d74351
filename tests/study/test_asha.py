"""Laws of the scheduler, and the budget's arithmetic."""

from hypothesis import given
from hypothesis import strategies as st

from study.asha import SuccessiveHalving

CURVES = st.lists(st.lists(st.floats(-1, 1), min_size=1, max_size=12), min_size=1, max_size=14)


def play(
    curves: list[list[float]], grace: int, reduction: int, direction: str
) -> tuple[SuccessiveHalving, dict[int, int]]:
    """Trials one epoch each in turn until stopped or done; returns the rungs and the epoch each stopped at."""
    halving = SuccessiveHalving(grace, reduction, direction)
    stopped: dict[int, int] = {}
    pick = max if direction == "maximize" else min
    for epoch in range(1, 1 + max(map(len, curves))):
        for number, curve in enumerate(curves):
            if number in stopped or len(curve) < epoch:
                continue
            halving.record(number, epoch, pick(curve[:epoch]))
            if halving.verdict(number, epoch):
                stopped[number] = epoch
    return halving, stopped


@given(CURVES, st.integers(1, 4), st.integers(2, 4), st.sampled_from(["maximize", "minimize"]))
def test_stops_at_rungs_only_and_never_the_best(
    curves: list[list[float]], grace: int, reduction: int, direction: str
) -> None:
    _, stopped = play(curves, grace, reduction, direction)
    rungs = {grace * reduction**k for k in range(8)}
    assert set(stopped.values()) <= rungs
    pick = max if direction == "maximize" else min
    for epoch in set(stopped.values()):
        here = {n: pick(c[:epoch]) for n, c in enumerate(curves) if len(c) >= epoch and stopped.get(n, 99) >= epoch}
        best = pick(here.values())
        assert all(here[n] != best for n, at in stopped.items() if at == epoch)


@given(CURVES, st.integers(1, 3), st.integers(2, 4))
def test_rungs_are_rebuilt_from_curves(curves: list[list[float]], grace: int, reduction: int) -> None:
    halving, stopped = play(curves, grace, reduction, "maximize")
    again = SuccessiveHalving(grace, reduction, "maximize")
    seen = [(n, {e + 1: v for e, v in enumerate(c[: stopped.get(n, len(c))])}) for n, c in enumerate(curves)]
    again.rebuild(seen)
    assert again.rungs == halving.rungs


@given(CURVES)
def test_direction_is_a_mirror(curves: list[list[float]]) -> None:
    _, up = play(curves, 1, 3, "maximize")
    _, down = play([[-value for value in curve] for curve in curves], 1, 3, "minimize")
    assert up == down


def test_too_few_to_judge_by_and_the_reason() -> None:
    halving = SuccessiveHalving(2, 3, "maximize")
    for number, value in enumerate([0.9, 0.1]):
        halving.record(number, 2, value)
        assert halving.verdict(number, 2) is None
    halving.record(2, 2, 0.5)
    reason = halving.verdict(2, 2)
    assert reason is not None
    assert "0.5 is not among the best 1 of 3" in reason
    assert "0.9" in reason
    assert halving.verdict(0, 2) is None
    assert halving.verdict(7, 2) is None


def test_ties_go_on() -> None:
    halving = SuccessiveHalving(1, 2, "maximize")
    for number in range(4):
        halving.record(number, 1, 0.5)
        assert halving.verdict(number, 1) is None
