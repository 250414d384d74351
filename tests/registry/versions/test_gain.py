"""What pretraining bought, read off a report."""

from typing import Any

import numpy as np
import pytest

from registry.versions.gain import Gain, gain_of
from ssl_core.evaluation.report import Report, Scores, TaskConfig
from ssl_core.evaluation.statistics import paired_bootstrap


class Asked(TaskConfig):
    protocol: str = "none"

    @property
    def deciding_key(self) -> str:
        return "0" * 16

    def covers(self, other: TaskConfig) -> bool:
        return False

    def not_measured(self) -> tuple[str, ...]:
        return ()


class Answered(Report):
    config: Asked = Asked()

    @property
    def headline_text(self) -> str:
        return ""

    def overview(self) -> list[dict[str, Any]]:
        return []

    def metrics(self) -> dict[str, float]:
        return {}

    def markdown(self) -> str:
        return ""

    def paired(self) -> tuple[()]:
        return ()


def report(mine: np.ndarray | None, theirs: np.ndarray | None, name: str = "random twin, calibrated") -> Report:
    def scores(values: np.ndarray | None) -> Scores | None:
        return None if values is None else Scores(name="svm", unit="test objects", values=values.tolist())

    return Answered(kind="k", data_digest="d", deciding=scores(mine), baseline=scores(theirs), baseline_name=name)


@pytest.mark.parametrize("draws", [1, 4])
def test_it_is_the_paired_bootstrap_of_the_report_against_its_baseline(draws: int) -> None:
    rng = np.random.default_rng(0)
    theirs = (rng.random((draws, 200)) < 0.6).astype(float)
    mine = np.maximum(theirs, rng.random((draws, 200)) < 0.3)
    found = gain_of(report(mine, theirs))
    assert found is not None
    wanted = paired_bootstrap(mine[0], theirs[0]) if draws == 1 else paired_bootstrap(mine, theirs)
    assert (found.mean, found.low, found.high) == pytest.approx((wanted.mean, wanted.low, wanted.high), abs=1e-6)
    assert found.mean == pytest.approx(mine.mean() - theirs.mean(), abs=1e-6)
    assert found.text == f"{wanted.percent(signed=True)} points"
    assert found.sentence == f"{found.text} over the strongest baseline (random twin, calibrated)"


def test_there_is_none_without_a_baseline_or_a_result() -> None:
    some = np.ones((1, 3))
    assert gain_of(report(some, None)) is None
    assert gain_of(report(None, some)) is None


def gain(low: float, high: float) -> Gain:
    return Gain(baseline="random twin", mean=(low + high) / 2, low=low, high=high, text="x")


def test_an_interval_that_includes_zero_gets_a_word() -> None:
    assert gain(0.01, 0.02).doubt == ""
    assert "includes zero" in gain(-0.01, 0.02).doubt
    assert "includes zero" in gain(0.0, 0.02).doubt
    assert "worse" in gain(-0.02, -0.01).doubt
    assert gain(-0.01, 0.02).sentence.endswith(gain(-0.01, 0.02).doubt)
