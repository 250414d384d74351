"""Charts as inline SVG: box plots, histograms and a plan of cameras. Colours come from the page's style."""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

LEFT, WIDTH, RIGHT = 104, 420, 14
ROW = 18


class Axis:
    """Values to places from `start` to `stop`, by logarithm where the values span more than a factor of 4."""

    def __init__(self, low: float, high: float, start: float, stop: float, log: bool | None = None) -> None:
        self.log = low > 0 and high > 4 * low if log is None else log
        if not high > low:
            low, high = (low / 2, high * 2) if self.log else (low - 1, high + 1)
        self.low, self.high, self.start, self.stop = low, high, start, stop

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        value = min(max(value, low), high)
        share = math.log(value / low) / math.log(high / low) if self.log else (value - low) / (high - low)
        return self.start + share * (self.stop - self.start)

    def ticks(self, least: float = 0.0) -> list[float]:
        """At most eight round values, on a linear axis at least `least` apart."""
        if not self.log:
            step = max(least, _round_step((self.high - self.low) / 5))
            return [i * step for i in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for factors in ((1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
            found = [f * 10.0**d for d in decades for f in factors if self.low <= f * 10.0**d <= self.high]
            if len(found) <= 8:
                break
        return found[:: -(-len(found) // 8)] if found else []


def box_plots(
    title: str, boxes: Mapping[str, Mapping[str, Any]], span: tuple[float, float], marks: Sequence[int]
) -> str:
    """Horizontal box plots, one row per name, over a shared axis.

    Args:
        title: above the chart.
        boxes: name -> numbers as `pack_survivors.box_plot` gives.
        span: smallest and largest value of all charts that are to be compared; 0 is drawn as 1.
        marks: values with a dashed line.
    """
    top, height = 36, 36 + ROW * len(boxes)
    axis = Axis(max(1, span[0]) / 1.06, max(1, span[1]) * 1.06, LEFT, WIDTH - RIGHT)
    parts = [f'<text class=title x="0" y="12">{escape(title)}</text>', _grid(axis, axis.ticks(), top, height, number)]
    for mark in marks:
        if axis.low < mark < axis.high:
            x = axis(mark)
            parts.append(f'<line class=mark x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{height}"/>')
            parts.append(f'<text x="{x:.1f}" y="{top - 3}" text-anchor="middle">{mark}</text>')
    for i, (name, box) in enumerate(boxes.items()):
        parts.append(_box(name, box, axis, top + ROW * (i + 0.5)))
    return _svg(WIDTH, height + 18, parts)


def _box(name: str, box: Mapping[str, Any], axis: Axis, y: float) -> str:
    low, high = (axis(value) for value in box["whiskers"])
    q1, middle, q3 = (axis(box[key]) for key in ("q1", "median", "q3"))
    tip = (
        f"{name}: {box['objects']} objects, {box['min']:,} to {box['max']:,}, quartiles {box['q1']:,.0f}, "
        f"{box['median']:,.0f}, {box['q3']:,.0f}, {box['outliers']} outliers"
    )
    shown = name if len(name) <= 16 else name[:15] + "…"
    parts = [
        f"<title>{escape(tip)}</title>",
        f'<text class=name x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(shown)}</text>',
        f'<line class=whisker x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}"/>',
        f'<rect class=box x="{q1:.1f}" y="{y - 5:.1f}" width="{max(0.5, q3 - q1):.1f}" height="10" rx="2"/>',
        f'<line class=median x1="{middle:.1f}" x2="{middle:.1f}" y1="{y - 5:.1f}" y2="{y + 5:.1f}"/>',
    ]
    for end, whisker in zip((box["min"], box["max"]), box["whiskers"], strict=True):
        if end != whisker:
            parts.append(f'<circle class=dot cx="{axis(end):.1f}" cy="{y:.1f}" r="2.5"/>')
    return f"<g>{''.join(parts)}</g>"


def histogram(title: str, edges: Sequence[float], counts: Sequence[int], *, powers: bool = False) -> str:
    """Bars between `edges` ([n + 1]) as high as `counts` ([n]). With `powers` edges are exponents of ten."""
    label = _power if powers else _plain
    top, height = 22, 142
    axis = Axis(edges[0], edges[-1], 8, WIDTH - 8, log=False)
    most, total = max([1, *counts]), max(1, sum(counts))
    parts = [
        f'<text class=title x="0" y="12">{escape(title)}</text>',
        _grid(axis, axis.ticks(float(powers)), top, height, label),
    ]
    for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
        if count:
            tall = max(1.0, (height - top) * count / most)
            tip = f"{label(low)} to {label(high)}: {count:,} ({count / total:.1%})"
            parts.append(
                f'<rect class=bar x="{axis(low):.1f}" y="{height - tall:.1f}" '
                f'width="{max(0.6, axis(high) - axis(low) - 0.8):.1f}" height="{tall:.1f}">'
                f"<title>{escape(tip)}</title></rect>"
            )
    return _svg(WIDTH, height + 18, parts)


def plan(
    title: str,
    cameras: Sequence[tuple[float, float, float, float, str]],
    points: Sequence[tuple[float, float]],
    labels: tuple[str, str],
) -> str:
    """Cameras seen along an axis of the world.

    Args:
        title: above the chart.
        cameras: place across and up, direction across and up, name.
        points: places of the scene.
        labels: of the two axes.
    """
    size, edge = 420, 24
    across = [camera[0] for camera in cameras] + [point[0] for point in points]
    up = [camera[1] for camera in cameras] + [point[1] for point in points]
    reach = max(max(across) - min(across), max(up) - min(up), 1e-9) / 2 * 1.1
    x, y = (max(across) + min(across)) / 2, (max(up) + min(up)) / 2
    scale = (size / 2 - edge) / reach
    parts = [f'<text class=title x="0" y="12">{escape(title)}</text>']

    def place(a: float, b: float) -> tuple[float, float]:
        return size / 2 + (a - x) * scale, size / 2 - (b - y) * scale

    for a, b in points:
        u, v = place(a, b)
        if 0 <= u <= size and 0 <= v <= size:
            parts.append(f'<circle class=point cx="{u:.1f}" cy="{v:.1f}" r="1"/>')
    for a, b, da, db, name in cameras:
        u, v = place(a, b)
        parts.append(f'<line class=axis x1="{u:.1f}" y1="{v:.1f}" x2="{u + 22 * da:.1f}" y2="{v - 22 * db:.1f}"/>')
        parts.append(f'<circle class=camera cx="{u:.1f}" cy="{v:.1f}" r="2.5"><title>{escape(name)}</title></circle>')
    parts.append(f'<text x="{size - 4}" y="{size - 4}" text-anchor="end">{escape(labels[0])} →</text>')
    parts.append(f'<text x="4" y="{size - 4}">↑ {escape(labels[1])}</text>')
    return _svg(size, size, parts)


def number(value: float) -> str:
    """1200 as 1.2k: short enough for an axis."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"


def _plain(value: float) -> str:
    return f"{value:g}"


def _power(value: float) -> str:
    return f"{10.0**value:.2g}"


def _grid(axis: Axis, ticks: Sequence[float], top: float, bottom: float, label: Callable[[float], str]) -> str:
    lines = []
    for tick in ticks:
        x = axis(tick)
        lines.append(f'<line class=grid x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>')
        lines.append(f'<text x="{x:.1f}" y="{bottom + 13}" text-anchor="middle">{escape(label(tick))}</text>')
    return "".join(lines)


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img">{"".join(parts)}</svg>'
