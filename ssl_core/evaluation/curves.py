"""The picture of a report's numbers: accuracy against labels and (images) views, with bands, beside the twins."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssl_core.evaluation.embedding_plot import GREY, INK, png
from ssl_core.evaluation.probe_grid import Row
from ssl_core.evaluation.protocol import LabelSetting, Pooling
from ssl_core.evaluation.statistics import Interval
from ssl_core.evaluation.tasks.probing_report import ProbingReport

ENCODER, MEAN, TWIN = "#1d4ed8", "#0f766e", "#9ca3af"


def accuracy_png(report: ProbingReport, title: str) -> bytes:
    """PNG with one panel over label settings (at all views) and, for images, one over numbers of views.

    A band is the interval of its line; views pooled by their mean stand beside the maximum.
    """
    settings = sorted(report.config.label_settings, key=lambda setting: _labelled(report, setting))
    ticks = [f"{setting.name}\n({_labelled(report, setting)})" for setting in settings]
    views = sorted({row.views for row in report.rows if row.views is not None})
    panels = 2 if len(views) > 1 else 1
    figure = Figure(figsize=(4.9 * panels + 0.6, 3.8), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    _panel(axes[0], ticks, _lines(report, [(setting.name, None) for setting in settings]), "labels (labelled objects)")
    if panels == 2:
        name = report.config.deciding_labels.name
        places = [(name, count) for count in views]
        _panel(axes[1], [str(count) for count in views], _lines(report, places), f"views (labels: {name})")
    axes[0].set_ylabel("linear SVM, test accuracy [%]", fontsize=9, color=GREY)
    axes[0].legend(fontsize=8, frameon=False, loc="lower right")
    figure.suptitle(title, fontsize=11, color=INK, x=0.01, ha="left")
    return png(figure)


Line = tuple[str, str, Sequence[Interval | None]]
"""name, colour, an interval per place"""


def _lines(report: ProbingReport, places: Sequence[tuple[str, int | None]]) -> list[Line]:
    """Of the linear SVM at (labels, views), drawn in this order."""

    def rows(pooling: Pooling) -> list[Row | None]:
        return [report.row("svm", labels, views, pooling) for labels, views in places]

    most = rows("max")
    lines: list[Line] = [
        ("random twin", TWIN, [row.twin if row is not None else None for row in most]),
        ("encoder", ENCODER, [row.accuracy if row is not None else None for row in most]),
    ]
    if report.max_views is not None:
        lines.insert(1, ("encoder, mean of views", MEAN, [row.accuracy if row else None for row in rows("mean")]))
    return lines


def _panel(axes: Axes, ticks: Sequence[str], lines: Sequence[Line], label: str) -> None:
    for name, colour, intervals in lines:
        known = [(place, interval) for place, interval in enumerate(intervals) if interval is not None]
        if not known:
            continue
        x, means = [place for place, _ in known], [100 * interval.mean for _, interval in known]
        low, high = ([100 * getattr(interval, side) for _, interval in known] for side in ("low", "high"))
        axes.plot(x, means, color=colour, marker="o", markersize=4, linewidth=1.8, label=name)
        axes.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)
    axes.set_xticks(range(len(ticks)), list(ticks), fontsize=8)
    axes.set_xlabel(label, fontsize=9, color=GREY)
    axes.grid(axis="y", color="#e5e7eb", linewidth=0.8)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _labelled(report: ProbingReport, setting: LabelSetting) -> int:
    """About how many objects carry labels; exact when classes are of equal size."""
    if setting.per_class is not None:
        return min(setting.per_class * len(report.class_names), report.train_objects)
    if setting.fraction is None:
        return report.train_objects
    return max(len(report.class_names), int(setting.fraction * report.train_objects))
