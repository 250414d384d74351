"""The inspection page's charts: box plots, histograms and a plan of cameras, by matplotlib as SVG in data URIs.

An image of a page runs no script and fetches nothing, whatever its texts are. Colours suit light and dark pages.
"""

import base64
import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullFormatter

WIDTH = 4.4
"""Inches of 96 pixels."""
GREY, BLUE, MARK = "#808998", "#5b7bf0", "#d97706"
NAME = 18
"""Letters of a name that are shown."""
MANY = 300
"""Cameras, beyond which pixels take less room than arrows."""


def box_plots(
    title: str, boxes: Mapping[str, Mapping[str, Any]], span: tuple[float, float], marks: Sequence[int]
) -> str:
    """Data URI of horizontal box plots, one row per name, over a shared logarithmic axis.

    Args:
        title: above the chart.
        boxes: name -> numbers as `pack_survivors.box_plot` gives.
        span: smallest and largest value of all charts that are to be compared; 0 is drawn as 1.
        marks: values with a dashed line.
    """
    figure, axes = _figure(title, 0.9 + 0.2 * len(boxes))
    low, high = max(1.0, span[0]) / 1.06, max(1.0, span[1]) * 1.06
    stats = [
        {
            "label": _printable(name if len(name) <= NAME else name[: NAME - 1] + "…"),
            **{key: max(1.0, box[other]) for key, other in (("med", "median"), ("q1", "q1"), ("q3", "q3"))},
            **dict(zip(("whislo", "whishi"), (max(1.0, end) for end in box["whiskers"]), strict=True)),
            "fliers": [max(1, end) for end, whisker in zip((box["min"], box["max"]), box["whiskers"], strict=True)
                       if end != whisker],
        }
        for name, box in boxes.items()
    ]  # fmt: skip
    line = {"color": BLUE}
    axes.bxp(
        stats, orientation="horizontal", widths=0.6, patch_artist=True, manage_ticks=True,
        boxprops={"facecolor": BLUE + "55", "edgecolor": BLUE}, whiskerprops=line, capprops=line,
        medianprops={"color": BLUE, "linewidth": 2.2}, flierprops={"markersize": 3, "markeredgecolor": BLUE},
    )  # fmt: skip
    axes.set(xscale="log", xlim=(low, high), ylim=(len(boxes) + 0.5, 0.5))
    for label in axes.get_yticklabels():
        label.set_parse_math(False)  # names may hold dollar signs
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_minor_formatter(EngFormatter(sep="") if high < 8 * low else NullFormatter())
    for mark in (mark for mark in marks if low < mark < high):
        axes.axvline(mark, color=MARK, linestyle="--", linewidth=0.9)
        axes.annotate(f"{mark}", (mark, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom",
                      fontsize=7, color=MARK)  # fmt: skip
    return _uri(figure)


def histogram(title: str, edges: Sequence[float], counts: Sequence[int], *, powers: bool = False) -> str:
    """Data URI of bars between `edges` [n + 1] as high as `counts` [n]. With `powers` edges are exponents of ten."""
    figure, axes = _figure(title, 1.9)
    places = 10.0 ** np.asarray(edges, dtype=float) if powers else np.asarray(edges, dtype=float)
    axes.stairs(np.asarray(counts), places, fill=True, color=BLUE)
    axes.set(xscale="log" if powers else "linear", xlim=(places[0], places[-1]))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    return _uri(figure)


def plan(
    title: str,
    cameras: Sequence[tuple[float, float, float, float]],
    points: Sequence[tuple[float, float]],
    labels: tuple[str, str],
) -> str:
    """Data URI of cameras seen along an axis of the world.

    Args:
        title: above the chart.
        cameras: place across and up, direction across and up.
        points: places of the scene.
        labels: of the two axes.
    """
    figure, axes = _figure(title, WIDTH)
    places = np.reshape(points, (-1, 2))
    axes.scatter(places[:, 0], places[:, 1], s=2, color=GREY, alpha=0.4, linewidths=0, rasterized=True)
    x, y, across, up = (np.array(column) for column in zip(*cameras, strict=True))
    many = len(x) > MANY
    axes.quiver(x, y, across, up, color=BLUE, alpha=0.6, scale=18, width=0.004, headwidth=3, rasterized=many)
    axes.scatter(x, y, s=9, color=BLUE, zorder=3, rasterized=many)
    axes.set(xlabel=f"{labels[0]} →", ylabel=f"{labels[1]} →")
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.12)
    return _uri(figure)


def _figure(title: str, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    text = axes.set_title(_printable(title), fontsize=9, loc="left", color=GREY, fontweight="bold", pad=12)
    text.set_parse_math(False)
    axes.tick_params(which="both", labelsize=7.5, colors=GREY)
    axes.grid(axis="x", color=GREY, alpha=0.25, linewidth=0.7)
    axes.patch.set_alpha(0)
    for side in axes.spines.values():
        side.set(color=GREY, alpha=0.5)
    axes.xaxis.label.set(color=GREY, fontsize=8)
    axes.yaxis.label.set(color=GREY, fontsize=8)
    return figure, axes


def _printable(text: str) -> str:
    """Without what no font draws and no XML may hold."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _uri(figure: Figure) -> str:
    """The figure as SVG whose texts stay texts, so that the reader's fonts draw any script."""
    stream = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "font.family": "sans-serif"}), warnings.catch_warnings():
        # matplotlib's own font, by which it measures, lacks many scripts
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(stream, format="svg", dpi=160, transparent=True, metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(stream.getvalue()).decode()
