"""The report's charts as plain data: Plotly's JSON, built without Plotly."""

import math
from collections.abc import Sequence
from typing import Any

from study.outcome import Outcome, better
from study.record.trial_record import TrialRecord, ranked
from study.views.importances import Importances
from study.views.words import short, values_text

# Okabe and Ito's palette: told apart by colour-blind eyes, on white and on black
COLOUR = {
    "COMPLETE": "#0072B2",
    "STOPPED": "#E69F00",
    "INFEASIBLE": "#CC79A7",
    "DIVERGED": "#D55E00",
    "CRASHED": "#8b1e1e",
    "UNFINISHED": "#56B4E9",
}
BEST = "#009E73"
Chart = dict[str, Any]
MOST_LINES = 40
"""Trials with a learning curve of their own."""


def history_chart(records: Sequence[TrialRecord], metric: str, direction: str) -> Chart:
    """Each trial's objective by number, coloured by outcome, and the best so far."""
    traces: list[dict[str, Any]] = []
    for state, colour in COLOUR.items():
        group = [r for r in records if r.state == state and r.best_value is not None]
        if group:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": state.lower(),
                    "x": [r.number for r in group],
                    "y": [r.best_value for r in group],
                    "text": [_hover(r) for r in group],
                    "hovertemplate": "%{text}<extra></extra>",
                    "marker": {"color": colour, "size": 10, "symbol": _symbol(state)},
                }
            )
    best_x, best_y, best = [], [], None
    for record in records:
        comparable = record.outcome is not None and record.outcome.has_value
        if comparable and record.best_value is not None and better(record.best_value, best, direction):
            best = record.best_value
        if best is not None:
            best_x.append(record.number)
            best_y.append(best)
    line = {"color": BEST, "width": 2, "shape": "hv"}
    traces.append({"type": "scatter", "mode": "lines", "name": "best so far", "x": best_x, "y": best_y, "line": line})
    layout = chart_layout("trial", metric)
    _whole_ticks(layout, len(records))
    return {"data": traces, "layout": layout}


def curves_chart(records: Sequence[TrialRecord], metric: str, direction: str) -> Chart:
    """The objective over epochs; the best stands out, each end says how it ended.

    A line for each of the best trials; where there are many, one for all the others of an outcome.
    """
    order = [r for r in ranked(list(records), direction) if r.curve]
    first = next((r.number for r in order if r.best_value is not None and not r.confirms), None)
    own, rest = order[:MOST_LINES], order[MOST_LINES:]
    traces = [_curve(record, leads=record.number == first) for record in sorted(own, key=lambda r: r.number)]
    for state, colour in COLOUR.items():
        group = [record for record in rest if record.state == state]
        if group:
            traces.insert(0, _bundle(group, state, colour))
    layout = chart_layout("epoch", metric)
    _whole_ticks(layout, max((record.epoch for record in records), default=0))
    layout["legend"] = {"title": {"text": "trial"}}
    return {"data": traces, "layout": layout}


def _curve(record: TrialRecord, leads: bool) -> dict[str, Any]:
    epochs, values = list(record.curve), list(record.curve.values())
    last = len(epochs) - 1
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": f"{record.number}" + (" (best)" if leads else ""),
        "x": epochs,
        "y": values,
        "line": {"color": BEST if leads else COLOUR[record.state], "width": 3 if leads else 1.4},
        "opacity": 1.0 if leads else 0.65,
        "marker": {
            "size": [9 if i == last else 3 for i in range(len(epochs))],
            "symbol": [_symbol(record.state) if i == last else "circle" for i in range(len(epochs))],
        },
        "text": _hover(record),
        "hovertemplate": "epoch %{x}: %{y:.4g}<br>%{text}<extra></extra>",
    }


def _bundle(group: Sequence[TrialRecord], state: str, colour: str) -> dict[str, Any]:
    """Many curves in one trace, with gaps between them."""
    x: list[int | None] = []
    y: list[float | None] = []
    for record in group:
        x += [*record.curve, None]
        y += [*(float(f"{value:.5g}") for value in record.curve.values()), None]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": f"{len(group)} more, {state.lower()}",
        "x": x,
        "y": y,
        "line": {"color": colour, "width": 1},
        "opacity": 0.25,
        "hoverinfo": "skip",
    }


def importance_chart(found: Importances) -> Chart | None:
    """Horizontal bars per parameter for both methods; None when there is nothing to show."""
    names = sorted({*found.fanova, *found.ped_anova}, key=lambda name: found.fanova.get(name, 0.0))
    if not names:
        return None
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": label,
            "y": names,
            "x": [shares.get(name, 0.0) for name in names],
            "marker": {"color": colour},
            "hovertemplate": "%{y}: %{x:.1%}<extra></extra>",
        }
        for label, shares, colour in (
            ("PED-ANOVA: what sets the best apart", found.ped_anova, "#E69F00"),
            ("fANOVA: share of the variance", found.fanova, "#0072B2"),
        )
        if shares
    ]
    layout = chart_layout("importance", "")
    layout["xaxis"]["tickformat"] = ".0%"
    layout["barmode"] = "group"
    layout["height"] = 140 + 46 * len(names)
    layout["legend"] = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "traceorder": "reversed"}
    return {"data": traces, "layout": layout}


def parallel_chart(records: Sequence[TrialRecord], metric: str, logarithmic: set[str]) -> Chart | None:
    """Parallel coordinates over trials that have a value; needs two of them."""
    shown = [r for r in records if r.best_value is not None and r.outcome and r.outcome.has_value and r.values]
    if len(shown) < 2:
        return None
    keys = sorted({key for record in shown for key in record.values or {}})
    dimensions = [_dimension(key, [(r.values or {}).get(key) for r in shown], key in logarithmic) for key in keys]
    objective = [r.best_value for r in shown]
    dimensions.append({"label": metric, "values": objective})
    line = {"color": objective, "colorscale": "Viridis", "showscale": True, "colorbar": {"thickness": 12}}
    return {
        "data": [{"type": "parcoords", "dimensions": dimensions, "line": line, "labelangle": -18}],
        "layout": {"height": 430, "margin": {"l": 90, "r": 50, "t": 110, "b": 30}},
    }


def _dimension(key: str, values: list[Any], logarithmic: bool) -> dict[str, Any]:
    label = key.split(".", 1)[-1] if len(key) > 18 else key
    numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if len(numbers) == len(values) and not logarithmic:
        return {"label": label, "values": values}
    if len(numbers) == len(values):
        scaled = [math.log10(v) for v in numbers]
        ticks = sorted({*_spread(min(scaled), max(scaled))})
        return {
            "label": label,
            "values": scaled,
            "tickvals": ticks,
            "ticktext": [f"{10**t:.2g}" for t in ticks],
        }
    texts = ["–" if v is None else short(v) for v in values]
    order = sorted(set(texts))
    return {
        "label": label,
        "values": [order.index(text) for text in texts],
        "tickvals": list(range(len(order))),
        "ticktext": order,
        "range": [-0.2, max(len(order) - 1, 0) + 0.2],
    }


def _spread(low: float, high: float, count: int = 5) -> list[float]:
    return [low + (high - low) * i / (count - 1) for i in range(count)]


def _hover(record: TrialRecord) -> str:
    value = "" if record.best_value is None else f" {record.best_value:.4g} at epoch {record.best_epoch}"
    words = values_text(record.values or {}).replace("<", "&lt;").split("  ")
    lines = ["  ".join(words[i : i + 3]) for i in range(0, len(words), 3)]
    return f"<b>trial {record.number}</b> {record.state}{value}<br>" + "<br>".join(lines)


def _symbol(state: str) -> str:
    return {
        Outcome.COMPLETE.value: "circle",
        Outcome.STOPPED.value: "x",
        Outcome.DIVERGED.value: "triangle-up",
        Outcome.CRASHED.value: "diamond",
    }.get(state, "circle-open")


def _whole_ticks(layout: dict[str, Any], most: int) -> None:
    """Trials and epochs come whole; beyond a few, Plotly finds whole ticks by itself."""
    if most <= 15:
        layout["xaxis"]["dtick"] = 1


def chart_layout(x: str, y: str) -> dict[str, Any]:
    """Of a chart with these titles on its axes."""
    return {
        "xaxis": {"title": {"text": x}, "automargin": True},
        "yaxis": {"title": {"text": y}, "automargin": True},
        "margin": {"l": 60, "r": 20, "t": 20, "b": 50},
        "height": 380,
        "hovermode": "closest",
    }
