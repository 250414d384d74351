"""A picture of one trial for its MLflow page: every metric over its epochs, the objective first.

Drawn as SVG by hand: a plotting library takes half a second of the driver's time for it.
"""

import math
from html import escape

from study.record.metrics_file import Curves
from study.record.trial_record import TrialRecord

INK, GREY, LINE, BEST, RULE = "#1f2937", "#6b7280", "#2563eb", "#f59e0b", "#e5e7eb"
COLUMNS, MOST, POINTS = 3, 12, 400
WIDE, HIGH, TOP, PAD = 300, 170, 44, 14


def draw_trial(record: TrialRecord, curves: Curves, metric: str) -> str:
    """An SVG with one small panel per metric (at most 12: the objective, validation, training, the rest)."""
    names = sorted(curves, key=lambda name: (name != metric, _interest(name, curves[name]), name))
    shown = names[:MOST]
    width, height = COLUMNS * WIDE, TOP + max(1, math.ceil(len(shown) / COLUMNS)) * HIGH
    more = f" · {len(names) - MOST} more metrics in the run" if len(names) > MOST else ""
    title = escape(f"trial {record.number} · {record.state}{more}")
    panels = [
        _panel(name, curves[name], record if name == metric else None, place % COLUMNS, place // COLUMNS)
        for place, name in enumerate(shown)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="sans-serif"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="{PAD}" y="26" font-size="15" font-weight="bold" fill="{INK}">{title}</text>{"".join(panels)}</svg>\n'
    )


def _interest(name: str, curve: dict[int, float]) -> int:
    """Held-out numbers first, then losses, then standard errors and clocks; what never changes comes last."""
    if len(curve) > 1 and len(set(curve.values())) == 1:
        return 4
    if name.endswith("_se"):
        return 3
    return 0 if name.startswith("val/") else 1 if name.startswith("train/") else 2


def _panel(name: str, curve: dict[int, float], objective: TrialRecord | None, column: int, row: int) -> str:
    finite = {epoch: value for epoch, value in sorted(curve.items()) if math.isfinite(value)}
    left, top = column * WIDE + PAD, TOP + row * HIGH
    wide, high = WIDE - 2 * PAD, HIGH - 52
    title = escape(f"{name} (objective)" if objective else name)
    label = f'<text x="{left}" y="{top + 12}" font-size="11" fill="{INK}">{title}</text>'
    frame = f'<path d="M{left} {top + 20}v{high}h{wide}" fill="none" stroke="{RULE}"/>'
    if not finite:
        return label + frame
    first, last = min(finite), max(finite)
    low, top_value = min(finite.values()), max(finite.values())

    def place(epoch: int, value: float) -> str:
        x = left + wide * (epoch - first) / max(last - first, 1)
        y = top + 20 + high * (1 - (value - low) / ((top_value - low) or 1.0))
        return f"{x:.1f} {y:.1f}"

    step = math.ceil(len(finite) / POINTS)
    points = [place(*point) for point in list(finite.items())[::step]]
    line = f'<path d="M{"L".join(points)}" fill="none" stroke="{LINE}" stroke-width="1.8" stroke-linecap="round"/>'
    best = ""
    if objective is not None and objective.best_epoch in finite:
        x, y = place(objective.best_epoch, finite[objective.best_epoch]).split()
        best = f'<circle cx="{x}" cy="{y}" r="4.5" fill="{BEST}"/>'
    under = f"epochs {first} to {last}, {low:.4g} to {top_value:.4g}"
    foot = f'<text x="{left}" y="{top + high + 34}" font-size="10" fill="{GREY}">{under}</text>'
    return label + frame + line + best + foot
