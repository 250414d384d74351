"""The picture of a trial is one well-formed SVG, whatever the metrics are."""

import math
import xml.etree.ElementTree as ET

import pytest

from study.outcome import Outcome
from study.record.trial_record import TrialRecord
from study.views.trial_picture import draw_trial

SPACE = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{SPACE}text")]


def test_the_objective_comes_first_and_what_does_not_fit_is_counted() -> None:
    names = ["seconds", "train/loss", "val/other", "val/probe", *(f"train/m{i}" for i in range(12))]
    record = TrialRecord(number=7, outcome=Outcome.STOPPED, best_epoch=2, best_value=0.5)
    said = texts(draw_trial(record, {name: {1: 0.1, 2: 0.5, 3: 0.2} for name in names}, "val/probe"))
    assert said[0] == "trial 7 · STOPPED · 4 more metrics in the run"
    assert said[1] == "val/probe (objective)"
    assert said[3] == "val/other"


@pytest.mark.parametrize(
    "curve",
    [{}, {1: 1.0}, {1: math.nan, 2: math.inf}, {5: -1.0, 6: -1.0}, {e: e**2.0 for e in range(1, 5000)}],
)
def test_any_curve_can_be_drawn(curve: dict[int, float]) -> None:
    record = TrialRecord(number=0, best_epoch=1, best_value=1.0)
    svg = draw_trial(record, {"<a & b>": curve}, "<a & b>")
    assert "nan" not in svg
    assert len(svg) < 20_000
    assert "<a & b> (objective)" in texts(svg)
