"""A picture of one trial for its MLflow page: every metric over its epochs, the objective first."""

import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from study.metrics_file import Curves
from study.trial_record import TrialRecord

INK, GREY, LINE, BEST = "#1f2937", "#6b7280", "#2563eb", "#f59e0b"
COLUMNS = 3
MOST = 12


def draw_curves(record: TrialRecord, curves: Curves, metric: str, path: Path) -> None:
    """Write a PNG with one small panel per metric (at most 12: the objective, validation, training, the rest)."""
    names = sorted(curves, key=lambda name: (name != metric, _interest(name, curves[name]), name))
    shown = names[:MOST]
    rows = max(1, math.ceil(len(shown) / COLUMNS))
    height = 2.3 * rows + 0.5
    # margins by hand: a layout engine takes most of the time a small picture costs
    figure = Figure(figsize=(3.7 * COLUMNS, height), dpi=80)
    figure.subplots_adjust(
        left=0.05, right=0.985, bottom=0.28 / height, top=1 - 0.72 / height, wspace=0.24, hspace=0.36
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, COLUMNS, squeeze=False)
    for place, axis in enumerate(axes.flat):
        if place < len(shown):
            _panel(axis, shown[place], curves[shown[place]], record, is_objective=shown[place] == metric)
        else:
            axis.set_axis_off()
    more = f" · {len(names) - MOST} more metrics in the run" if len(names) > MOST else ""
    title = f"trial {record.number} · {record.state}{more}"
    figure.suptitle(title, fontsize=12, color=INK, x=0.01, y=1 - 0.12 / height, ha="left", va="top", weight="bold")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.new")
    figure.savefig(partial, format="png")
    partial.replace(path)


def _interest(name: str, curve: dict[int, float]) -> int:
    """Held-out numbers first, then losses, then standard errors and clocks; what never changes comes last."""
    if len(curve) > 1 and len(set(curve.values())) == 1:
        return 4
    if name.endswith("_se"):
        return 3
    return 0 if name.startswith("val/") else 1 if name.startswith("train/") else 2


def _panel(axis: Axes, name: str, curve: dict[int, float], record: TrialRecord, is_objective: bool) -> None:
    epochs = list(curve)
    axis.plot(epochs, [curve[e] for e in epochs], color=LINE, linewidth=1.8, marker="o", markersize=2.5)
    if is_objective and record.best_epoch in curve:
        axis.plot([record.best_epoch], [curve[record.best_epoch]], marker="*", markersize=13, color=BEST)
    axis.set_title(f"{name} (objective)" if is_objective else name, fontsize=9, color=INK, loc="left")
    axis.tick_params(labelsize=7, colors=GREY)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    axis.grid(color="#e5e7eb", linewidth=0.6)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_color("#d1d5db")
