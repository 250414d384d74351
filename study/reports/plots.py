"""The report's figures: Optuna's plots, Plotly's own marks for what Optuna has no plot of, and the script that draws.

The script draws in the colours of the reader's theme.
"""

import json
import re
import warnings
from collections.abc import Sequence
from statistics import median
from typing import Any

import optuna
import plotly.graph_objects as go
from optuna import visualization
from optuna.trial import FrozenTrial, TrialState, create_trial
from plotly.offline import get_plotlyjs

from study.analysis.as_optuna import complete_trials, some
from study.analysis.attribution import Attribution
from study.analysis.fidelity import FidelityAudit, RungSummary
from study.analysis.pareto import Pareto
from study.engine.cost_report import CostReport
from study.reports.importances import LEAST, Importances
from study.spec.study_spec import ObjectiveMetric

MOST_PARAMETERS = 8
MOST_POINTS = 300
MOST_CONTOUR = 80
"""Trials in a contour: its grid grows with their square."""
ABOVE = {"orientation": "h", "y": 1.02, "yanchor": "bottom"}
"""A legend over its figure."""
SCRIPT = """
const charts=JSON.parse(document.getElementById('charts').textContent);
function draw(){
 const s=getComputedStyle(document.documentElement),v=n=>s.getPropertyValue(n).trim();
 for(const [id,chart] of Object.entries(charts)){
  const layout=structuredClone(chart.layout);
  Object.assign(layout,{paper_bgcolor:'rgba(0,0,0,0)',plot_bgcolor:'rgba(0,0,0,0)',
   colorway:['#0072B2','#E69F00','#009E73','#CC79A7','#D55E00','#56B4E9'],
   font:{color:v('--ink'),family:'system-ui,sans-serif',size:12},
   hoverlabel:{bgcolor:v('--card'),font:{color:v('--ink')}},
   modebar:{bgcolor:'rgba(0,0,0,0)',color:v('--soft'),activecolor:v('--ink')}});
  for(const axis of Object.keys(layout).filter(name=>/^[xy]axis/.test(name)))
   Object.assign(layout[axis],{gridcolor:v('--line'),zerolinecolor:v('--line'),linecolor:v('--line')});
  Plotly.react(id,structuredClone(chart.data),layout,{responsive:true,displaylogo:false});
 }
}
draw();
matchMedia('(prefers-color-scheme:dark)').addEventListener('change',draw);
"""
"""Okabe and Ito's palette is told apart by colour-blind eyes, on white and on black."""

_MARKUP = re.compile(r"<(?!br>|/?b>|/?extra>)")
"""What Plotly would read as markup, but for what Optuna and we write."""


def study_plots(
    study: optuna.Study, valued: optuna.Study, important: Sequence[str], metric: str
) -> dict[str, go.Figure]:
    """Optuna's plots by element id, as far as there are enough trials for each.

    Args:
        study: of `as_optuna`.
        valued: the same, where trials that were stopped count as complete.
        important: parameters, most important first.
        metric: name on the axes.
    """
    complete = complete_trials(study)
    made: dict[str, go.Figure] = {}
    with warnings.catch_warnings():
        # plots are marked experimental, and say so each time
        warnings.simplefilter("ignore")
        if study.get_trials(deepcopy=False):
            made["timeline"] = visualization.plot_timeline(some(study, MOST_POINTS, complete_only=False))
        if comparable := complete_trials(valued):
            made["history"] = visualization.plot_optimization_history(valued, target_name=metric)
        if len(comparable) > 1 and any(trial.params for trial in comparable):
            made["parallel"] = visualization.plot_parallel_coordinate(some(valued, MOST_POINTS), target_name=metric)
        fewer, few = some(study, MOST_POINTS), some(study, MOST_CONTOUR)
        if len(complete) < LEAST:
            return made
        made["edf"] = visualization.plot_edf(study, target_name=metric)
        varied = [name for name in important if len({str(trial.params.get(name)) for trial in complete}) > 1]
        if varied:
            shown = varied[:MOST_PARAMETERS]
            made["slice"] = visualization.plot_slice(fewer, params=shown, target_name=metric)
        if len(varied) > 1:
            made["rank"] = visualization.plot_rank(fewer, params=varied[:2], target_name=metric)
            made["contour"] = visualization.plot_contour(few, params=varied[:2], target_name=metric)
    return made


def curves_plot(study: optuna.Study, metric: str, untrained: Sequence[float] = ()) -> go.Figure | None:
    """Learning curves of all trials of `study`; None when no trial has one.

    Args:
        untrained: what models scored before they were trained; a dashed line shows the median.
    """
    figure = visualization.plot_intermediate_values(study)
    if not figure.data:
        return None
    if untrained:
        figure.add_hline(median(untrained), line_dash="dash", line_color="#6b7280", annotation_text="untrained")
    return figure.update_layout(xaxis_title="epoch", yaxis_title=metric, showlegend=True)


def importance_plot(found: Importances) -> go.Figure | None:
    """Horizontal bars per parameter for both methods; None when there is nothing to show."""
    names = sorted({*found.fanova, *found.ped_anova}, key=lambda name: found.fanova.get(name, 0.0))
    if not names:
        return None
    methods = (
        ("PED-ANOVA: what sets the best apart", found.ped_anova),
        ("fANOVA: share of the variance", found.fanova),
    )
    bars = [
        go.Bar(name=label, y=names, x=[shares.get(name, 0.0) for name in names], orientation="h")
        for label, shares in methods
        if shares
    ]
    layout = {"xaxis": {"title": "importance", "tickformat": ".0%"}, "legend": {**ABOVE, "traceorder": "reversed"}}
    return go.Figure(bars, layout)


def attribution_plot(found: Sequence[tuple[str, Attribution]], metric: str) -> go.Figure | None:
    """Gains with intervals, a row per group and a colour per (label, table); None when nothing was estimated."""
    marks = [
        go.Scatter(
            name=label,
            mode="markers",
            orientation="h",
            offsetgroup=label,
            x=[gain.gain for gain in table.gains],
            y=[gain.name for gain in table.gains],
            error_x=_interval([(gain.low, gain.gain, gain.high) for gain in table.gains]),
            marker_size=9,
        )
        for label, table in found
        if table.gains
    ]
    if not marks:
        return None
    figure = go.Figure(marks).update_layout(legend=ABOVE, scattermode="group").add_vline(0, line_dash="dot")
    return figure.update_xaxes(title=f"gain in {metric}, positive is better").update_yaxes(
        type="category", autorange="reversed"
    )


def fidelity_plot(audit: FidelityAudit) -> go.Figure | None:
    """Rank correlation with the final value over the rungs, with intervals."""
    if not audit.rungs:
        return None
    epochs = [rung.epoch for rung in audit.rungs]
    rows = [(rung.low, rung.spearman, rung.high) for rung in audit.rungs]
    line = go.Scatter(x=epochs, y=[rung.spearman for rung in audit.rungs], error_y=_interval(rows))
    lowest = min(0.0, *(rung.low for rung in audit.rungs))
    return go.Figure(line).update_layout(
        xaxis={"title": "epoch of the rung", "type": "log", "tickvals": epochs},
        yaxis={"title": "rank correlation with the final value", "range": [lowest - 0.05, 1.05]},
    )


def _interval(rows: Sequence[tuple[float, float, float]]) -> dict[str, object]:
    """Error bars of (low, value, high)."""
    above, below = [high - value for _, value, high in rows], [value - low for low, value, _ in rows]
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below}


def rungs_plot(rungs: Sequence[RungSummary]) -> go.Figure:
    """How many trained on and how many were stopped at each rung."""
    kinds = {
        "trained on": [rung.passed - rung.redirected for rung in rungs],
        "stopped": [rung.stopped for rung in rungs],
        "went on from another's checkpoint": [rung.redirected for rung in rungs],
    }
    epochs = [f"epoch {rung.epoch}" for rung in rungs]
    bars = [go.Bar(name=name, x=epochs, y=counts) for name, counts in kinds.items() if any(counts)]
    return go.Figure(bars, {"barmode": "stack", "yaxis": {"title": "trials"}})


def receipt_plot(receipt: CostReport) -> go.Figure:
    """What was held, as one bar."""
    parts = {"useful": receipt.useful, "stopped": receipt.stopped, "failed": receipt.failed}
    bars = [
        go.Bar(name=name, x=[seconds / receipt.held], y=[""], orientation="h", hovertext=f"{seconds:.1f} s")
        for name, seconds in {**parts, "overhead": receipt.overhead}.items()
        if seconds > 0
    ]
    return go.Figure(bars, {"barmode": "stack", "xaxis": {"tickformat": ".0%", "range": [0, 1]}, "legend": ABOVE})


def pareto_plot(found: Pareto, objectives: Sequence[ObjectiveMetric]) -> go.Figure | None:
    """All complete trials by their first two or three objectives, and the front."""
    if len(found.points) < 2 or len(objectives) < 2:
        return None
    constrained = not all(point.feasible for point in found.points)
    trials: dict[int, FrozenTrial] = {}
    for point in found.points:
        broken = {"constraints": 0.0 if point.feasible else 1.0} if constrained else None
        values = [point.values[metric] for metric in found.objectives]
        trials[point.number] = create_trial(values=values, constraints=broken)
    study = optuna.create_study(directions=[objective.direction for objective in objectives])
    # trials without all objectives keep the numbers of the others
    study.add_trials([trials.get(n) or create_trial(state=TrialState.FAIL) for n in range(max(trials) + 1)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return visualization.plot_pareto_front(
            study, target_names=list(found.objectives[:3]), targets=lambda trial: trial.values[:3]
        )


def volume_plot(found: Pareto) -> go.Figure | None:
    """How the dominated volume grew."""
    if len(found.volumes) < 2:
        return None
    numbers = [point.number for point in found.points]
    line = go.Scatter(x=numbers, y=list(found.volumes), mode="lines", line_shape="hv")
    return go.Figure(line, {"xaxis": {"title": "trial"}, "yaxis": {"title": "share of the volume dominated"}})


class Charts:
    """The figures of one page."""

    def __init__(self) -> None:
        self._charts: dict[str, dict[str, Any]] = {}

    def place(self, name: str, figure: go.Figure | None, height: int = 400) -> str:
        """The element `name` in which the script draws the figure; the empty text where there is none."""
        if figure is None:
            return ""
        figure.update_layout(template=None, title=None, width=None, height=height, margin={"t": 30, "r": 20})
        figure.update_xaxes(automargin=True)
        figure.update_yaxes(automargin=True)
        self._charts[name] = _brief(json.loads(figure.to_json()))
        return f'<div id="{name}"></div>'

    def scripts(self) -> str:
        """Plotly, the figures and what draws them, as script elements."""
        # no "<" of a text may end the script element it stands in
        data = json.dumps(self._charts, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
        return (
            f'<script type="application/json" id="charts">{data}</script>'
            f"<script>{get_plotlyjs()}</script><script>{SCRIPT}</script>"
        )


def _brief(value: Any) -> Any:
    """With texts that are no markup, and numbers of six digits: more than a screen shows, two thirds of the bytes."""
    match value:
        case str():
            return _MARKUP.sub("&lt;", value)
        case float():
            return float(f"{value:.6g}")
        case list():
            return [_brief(part) for part in value]
        case dict():
            return {key: _brief(part) for key, part in value.items()}
        case _:
            return value
