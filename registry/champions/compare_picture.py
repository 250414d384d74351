"""The picture of a comparison: both accuracies beside each other, and the differences around zero."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from registry.champions.compare import Compared, Comparison
from ssl_core.evaluation.pictures import GREY, INK, png
from ssl_core.evaluation.report import scale_of
from ssl_core.evaluation.statistics import Interval
from ssl_core.evaluation.tasks.probing import ENCODER, TWIN

APART = "#111827"


def comparison_png(comparison: Comparison) -> bytes:
    """PNG, one line per main row: left the two accuracies, right their difference; filled dots were compared object by
    object, hollow ones as if measured apart."""
    rows = [row for row in comparison.rows if row.main]
    scale = scale_of(comparison.measure)
    figure = Figure(figsize=(10.5, 1.6 + 0.34 * len(rows)), layout="constrained")
    both, apart = figure.subplots(1, 2, sharey=True)
    for place, row in enumerate(rows):
        left, right, difference = (_scaled(value, scale.factor) for value in (row.left, row.right, row.difference))
        _dot(both, place - 0.13, left, ENCODER, True, comparison.left if place == 0 else None)
        _dot(both, place + 0.13, right, TWIN, True, comparison.right if place == 0 else None)
        _dot(apart, place, difference, APART, row.paired, None)
    apart.axvline(0, color=GREY, linewidth=1)
    both.set_yticks(range(len(rows)), [row.label for row in rows], fontsize=8)
    both.set_ylim(len(rows) - 0.5, -0.5)
    both.set_xlabel(f"test {scale.axis}", fontsize=9, color=GREY)
    apart.set_xlabel(f"{comparison.left} minus {comparison.right} [{scale.unit}]", fontsize=9, color=GREY)
    for axes in (both, apart):
        axes.grid(axis="x", color="#e5e7eb", linewidth=0.8)
        axes.tick_params(labelsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    title = f"{comparison.left} and {comparison.right}, {comparison.test_units}, {_confidence(rows)}"
    figure.suptitle(title, fontsize=11, color=INK, x=0.01, ha="left")
    return png(figure)


def _scaled(value: Interval, factor: float) -> Interval:
    """In another unit."""
    return value.model_copy(update={name: factor * getattr(value, name) for name in ("mean", "low", "high", "se")})


def _dot(axes: Axes, place: float, value: Interval, colour: str, filled: bool, label: str | None) -> None:
    """Of a value in the unit that the axis shows."""
    known = value.low > float("-inf") and value.high < float("inf")
    reach = [[value.mean - value.low], [value.high - value.mean]] if known else None
    axes.errorbar(
        [value.mean], [place], xerr=reach, color=colour, marker="o", markersize=5, linewidth=1.6, capsize=3,
        markerfacecolor=colour if filled else "white", linestyle="none", label=label,
    )  # fmt: skip


def _confidence(rows: list[Compared]) -> str:
    return f"{100 * rows[0].difference.confidence:g} % intervals"
