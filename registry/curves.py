"""The picture of a report's numbers: accuracy against labels and (images) against views, beside the twins."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from registry.reports import EvaluationReport, LabelSetting, Row
from ssl_core.evaluation.embedding_plot import GREY, INK, png

ENCODER, TWIN = "#1d4ed8", "#9ca3af"


def accuracy_png(report: EvaluationReport, title: str) -> bytes:
    """PNG with one panel over label settings (at all views) and, for images, one over numbers of views."""
    settings = sorted(report.config.label_settings, key=lambda setting: _labelled(report, setting))
    by_labels = [report.row("svm", setting.name) for setting in settings]
    ticks = [f"{setting.name}\n({_labelled(report, setting)})" for setting in settings]
    views = sorted({row.views for row in report.rows if row.views is not None})
    panels = 2 if len(views) > 1 else 1
    figure = Figure(figsize=(4.6 * panels + 0.6, 3.8), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    _panel(axes[0], ticks, [row for row in by_labels if row is not None], "labels (labelled objects)")
    if panels == 2:
        name = report.config.deciding_labels.name
        rows = [row for v in views if (row := report.row("svm", name, v)) is not None]
        _panel(axes[1], [str(v) for v in views], rows, f"views (labels: {name})")
    axes[0].set_ylabel("linear SVM, test accuracy [%]", fontsize=9, color=GREY)
    axes[0].legend(fontsize=8, frameon=False, loc="lower right")
    figure.suptitle(title, fontsize=11, color=INK, x=0.01, ha="left")
    return png(figure)


def _panel(axes: Axes, ticks: Sequence[str], rows: Sequence[Row], label: str) -> None:
    places = range(len(rows))
    for kind, colour in (("twin", TWIN), ("accuracy", ENCODER)):
        intervals = [row.twin if kind == "twin" else row.accuracy for row in rows]
        known = [(place, interval) for place, interval in zip(places, intervals, strict=True) if interval is not None]
        if not known:
            continue
        low, high = ([100 * abs(getattr(i, side) - i.mean) for _, i in known] for side in ("low", "high"))
        axes.errorbar(
            [place for place, _ in known], [100 * i.mean for _, i in known], yerr=[low, high],
            color=colour, marker="o", markersize=5, linewidth=1.8, capsize=3,
            label="random twin" if kind == "twin" else "encoder",
        )  # fmt: skip
    axes.set_xticks(list(places), list(ticks)[: len(rows)], fontsize=8)
    axes.set_xlabel(label, fontsize=9, color=GREY)
    axes.grid(axis="y", color="#e5e7eb", linewidth=0.8)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _labelled(report: EvaluationReport, setting: LabelSetting) -> int:
    """About how many objects carry labels; exact when classes are of equal size."""
    if setting.per_class is not None:
        return min(setting.per_class * len(report.class_names), report.train_objects)
    return report.train_objects if setting.fraction is None else int(setting.fraction * report.train_objects)
