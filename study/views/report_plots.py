"""Optuna's plots as plain data for the report's page."""

import json
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.trial import TrialState

from study.findings.as_optuna import some
from study.views.importances import LEAST

Chart = dict[str, Any]
MOST_PARAMETERS = 8
MOST_POINTS = 300
MOST_CONTOUR = 80
"""Trials in a contour: its grid grows with their square."""


def optuna_plots(study: optuna.Study, important: Sequence[str], metric: str) -> dict[str, Chart]:
    """`slice`, `contour`, `rank`, `edf` and `timeline` as far as there are enough trials; element id -> chart.

    Args:
        study: of `findings.as_optuna`.
        important: parameters, most important first.
        metric: name on the axes.
    """
    from optuna import visualization as plots

    complete = [trial for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE]
    made: dict[str, Chart] = {}
    if study.get_trials(deepcopy=False):
        times = some(study, MOST_POINTS, complete_only=False)
        made["timeline"] = _plain(lambda: plots.plot_timeline(times), height=_height(times))
    if len(complete) < LEAST:
        return made
    made["edf"] = _plain(lambda: plots.plot_edf(study, target_name=metric))
    fewer, few = some(study, MOST_POINTS), some(study, MOST_CONTOUR)
    varied = [name for name in important if len({str(trial.params.get(name)) for trial in complete}) > 1]
    if varied:
        shown = varied[:MOST_PARAMETERS]
        made["slice"] = _plain(lambda: plots.plot_slice(fewer, params=shown, target_name=metric))
    if len(varied) > 1:
        made["rank"] = _plain(lambda: plots.plot_rank(fewer, params=varied[:2], target_name=metric))
        made["contour"] = _plain(lambda: plots.plot_contour(few, params=varied[:2], target_name=metric))
    return made


def _height(study: optuna.Study) -> int:
    return min(900, 160 + 14 * len(study.get_trials(deepcopy=False)))


def _plain(draw: Callable[[], Any], height: int = 420) -> Chart:
    """Data and layout without Optuna's title, size and colours of the page."""
    with warnings.catch_warnings():
        # plots are marked experimental, and say so each time
        warnings.simplefilter("ignore")
        figure = json.loads(draw().to_json())
    layout = figure["layout"]
    for key in ("template", "title", "plot_bgcolor", "paper_bgcolor", "width"):
        layout.pop(key, None)
    for axis in (name for name in layout if name.startswith(("xaxis", "yaxis"))):
        layout[axis]["automargin"] = True
    return {
        "data": [_short_numbers(trace) for trace in figure["data"]],
        "layout": {**layout, "height": height, "margin": {"l": 70, "r": 20, "t": 30, "b": 60}},
    }


def _short_numbers(value: Any) -> Any:
    """Six digits are more than a screen shows, and a third of the bytes."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, list):
        return [_short_numbers(part) for part in value]
    if isinstance(value, dict):
        return {key: _short_numbers(part) for key, part in value.items()}
    return value
