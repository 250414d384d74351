"""Charts of what was found: attribution, fidelity, rungs, receipt, Pareto front; Plotly's JSON without Plotly."""

from collections.abc import Sequence
from typing import Any

from study.accounts.receipt import Receipt
from study.findings.attribution import Attribution
from study.findings.fidelity import FidelityAudit
from study.findings.pareto import Pareto
from study.findings.rungs import Rung
from study.views.report_charts import BEST, Chart, chart_layout

BLUE, ORANGE, PURPLE, RED, GREY = "#0072B2", "#E69F00", "#CC79A7", "#D55E00", "#8a94a3"


def attribution_chart(found: Sequence[tuple[str, Attribution]], metric: str) -> Chart | None:
    """Gains with intervals, a row per group and a colour per (label, table); None when nothing was estimated."""
    names = list(dict.fromkeys(gain.name for _, table in found for gain in table.gains))
    if not names:
        return None
    traces = []
    for (label, table), colour, shift in zip(found, (BLUE, ORANGE, BEST), (0.0, 0.18, -0.18), strict=False):
        if not table.gains:
            continue
        rows = [len(names) - 1 - names.index(gain.name) + shift for gain in table.gains]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": label,
                "x": [gain.gain for gain in table.gains],
                "y": rows,
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": [gain.high - gain.gain for gain in table.gains],
                    "arrayminus": [gain.gain - gain.low for gain in table.gains],
                    "color": colour,
                    "thickness": 2,
                    "width": 5,
                },
                "marker": {"color": colour, "size": 9},
                "text": [f"{gain.name}: {gain.gain:+.4g} [{gain.low:+.4g}, {gain.high:+.4g}]" for gain in table.gains],
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
    layout = chart_layout(f"gain in {metric}, positive is better", "")
    layout["yaxis"] |= {"tickvals": list(range(len(names))), "ticktext": names[::-1], "range": [-0.6, len(names) - 0.4]}
    layout["xaxis"]["zeroline"] = True
    layout["height"] = 130 + 46 * len(names)
    layout["shapes"] = [_line(0.0)]
    layout["legend"] = {"orientation": "h", "y": 1.02, "yanchor": "bottom"}
    return {"data": traces, "layout": layout}


def _line(x: float) -> dict[str, Any]:
    return {"type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1, "line": {"color": GREY, "dash": "dot"}}


def fidelity_chart(audit: FidelityAudit) -> Chart | None:
    """Rank correlation with the final value over the rungs, with intervals."""
    if not audit.rungs:
        return None
    trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": [rung.epoch for rung in audit.rungs],
        "y": [rung.spearman for rung in audit.rungs],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [rung.high - rung.spearman for rung in audit.rungs],
            "arrayminus": [rung.spearman - rung.low for rung in audit.rungs],
        },
        "line": {"color": BLUE},
        "hovertemplate": "epoch %{x}: %{y:.2f}<extra></extra>",
    }
    layout = chart_layout("epoch of the rung", "rank correlation with the final value")
    layout["yaxis"]["range"] = [min(0.0, *(rung.low for rung in audit.rungs)) - 0.05, 1.05]
    layout["xaxis"] |= {"type": "log", "tickvals": [rung.epoch for rung in audit.rungs]}
    layout["height"] = 300
    return {"data": [trace], "layout": layout}


def rungs_chart(rungs: Sequence[Rung]) -> Chart | None:
    """How many trained on and how many were stopped at each rung."""
    if not rungs:
        return None
    epochs = [f"epoch {rung.epoch}" for rung in rungs]
    kinds = [
        ("trained on", [rung.passed - rung.redirected for rung in rungs], BLUE),
        ("went on from another's checkpoint", [rung.redirected for rung in rungs], PURPLE),
        ("stopped", [rung.stopped for rung in rungs], ORANGE),
    ]
    traces = [
        {"type": "bar", "name": name, "x": epochs, "y": counts, "marker": {"color": colour}}
        for name, counts, colour in kinds
        if any(counts)
    ]
    layout = chart_layout("", "trials")
    layout |= {"barmode": "stack", "height": 300}
    return {"data": traces, "layout": layout}


def receipt_chart(receipt: Receipt) -> Chart | None:
    """What was held, as one bar."""
    if receipt.held <= 0:
        return None
    parts = (
        ("useful", receipt.useful, BEST),
        ("stopped", receipt.stopped, ORANGE),
        ("failed", receipt.failed, RED),
        ("overhead", receipt.overhead, GREY),
    )
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": name,
            "x": [seconds / receipt.held],
            "y": [""],
            "text": [f"{name} {seconds / receipt.held:.0%}"],
            "textposition": "inside",
            "insidetextanchor": "middle",
            "marker": {"color": colour},
            "hovertemplate": f"{name}: {seconds:.1f} s<extra></extra>",
        }
        for name, seconds, colour in parts
        if seconds > 0
    ]
    layout = chart_layout("", "")
    layout["xaxis"] |= {"tickformat": ".0%", "range": [0, 1]}
    layout |= {"barmode": "stack", "height": 150, "showlegend": False}
    layout["margin"] = {"l": 10, "r": 10, "t": 30, "b": 30}
    return {"data": traces, "layout": layout}


def pareto_chart(found: Pareto) -> Chart | None:
    """All complete trials by their first two objectives (a third one is their colour); the front stands out."""
    if len(found.points) < 2 or len(found.objectives) < 2:
        return None
    first, second, *more = found.objectives
    traces: list[dict[str, Any]] = []
    for name, chosen, symbol, size in (
        ("beaten", [p for p in found.points if p.feasible and not p.front], "circle", 8),
        ("breaks a constraint", [p for p in found.points if not p.feasible], "x", 8),
        ("front", sorted((p for p in found.points if p.front), key=lambda p: p.values[first]), "star", 14),
    ):
        if not chosen:
            continue
        marker: dict[str, Any] = {"size": size, "symbol": symbol, "color": BEST if name == "front" else GREY}
        if more:
            marker |= {"color": [p.values[more[0]] for p in chosen], "coloraxis": "coloraxis"}
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers" if name == "front" and not more else "markers",
                "name": name,
                "x": [p.values[first] for p in chosen],
                "y": [p.values[second] for p in chosen],
                "line": {"color": BEST, "dash": "dot"},
                "marker": marker,
                "text": [
                    f"trial {p.number}<br>" + "<br>".join(f"{k} {v:.4g}" for k, v in p.values.items()) for p in chosen
                ],
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
    layout = chart_layout(first, second)
    layout["legend"] = {"orientation": "h", "y": 1.02, "yanchor": "bottom"}
    if more:
        layout["coloraxis"] = {"colorscale": "Viridis", "colorbar": {"title": {"text": more[0]}, "thickness": 12}}
    return {"data": traces, "layout": layout}


def volume_chart(found: Pareto) -> Chart | None:
    """How the dominated volume grew."""
    if len(found.volumes) < 2:
        return None
    trace = {
        "type": "scatter",
        "mode": "lines",
        "x": [point.number for point in found.points],
        "y": list(found.volumes),
        "line": {"color": BEST, "shape": "hv"},
    }
    layout = chart_layout("trial", "share of the volume dominated")
    layout["height"] = 280
    return {"data": [trace], "layout": layout}
