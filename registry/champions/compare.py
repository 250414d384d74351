"""Two models side by side: the same data, the same draws, the differences with their intervals.

Rows with scores of each unit, the deciding one among them, are compared unit by unit, as the gate does. Of the others
only mean and standard error are stored: their errors add up, which is wider than need be.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from registry.champions.gate import paired
from registry.versions.evaluation_log import read_report
from registry.versions.records import EncoderVersion
from registry.versions.store import EncoderStore
from ssl_core.config import Config
from ssl_core.errors import RegistryError
from ssl_core.evaluation.pictures import GREY, INK, png
from ssl_core.evaluation.report import Measure, Measurement, Report, Scores, scale_of
from ssl_core.evaluation.statistics import Interval
from ssl_core.evaluation.tasks.probing import ENCODER, TWIN

APART = "#111827"
"""colour of differences"""


class Compared(Config):
    """One number of both, and left minus right."""

    key: str
    label: str
    left: Interval
    right: Interval
    difference: Interval
    paired: bool
    main: bool
    """what tables and pictures for people show"""


class Comparison(Config):
    """Two models on one pack under one protocol. The first row is the one that the gate decides by."""

    left: str
    right: str
    pack_digest: str
    protocol: str
    measure: Measure = "accuracy"
    test_units: str
    """as `90 test objects`"""
    rows: tuple[Compared, ...]

    @property
    def verdict(self) -> str:
        """In words, by the deciding row."""
        first = self.rows[0]
        apart = first.difference
        text = f"{scale_of(self.measure).difference(apart)}, {first.label}"
        if apart.low > 0:
            return f"{self.left} is better than {self.right}: {text}"
        if apart.high < 0:
            return f"{self.right} is better than {self.left}: {text}"
        return f"neither is shown to be better: {text}"


def stored_report(store: EncoderStore, version: EncoderVersion) -> Report:
    """The report of a version's last evaluation. Raises RegistryError where there is none."""
    report = read_report(store, version)
    if report is None:
        raise RegistryError(f"{version.reference} has no evaluation that can be read; give --pack to make one")
    return report


def compare_reports(left: Report, right: Report, names: tuple[str, str]) -> Comparison:
    """Set two reports beside each other; encoders of points and of images have the deciding rows in common.

    Raises:
        RegistryError: other data, another protocol, or one has no result.
    """
    if left.data_digest != right.data_digest or left.config.deciding_key != right.config.deciding_key:
        raise RegistryError(
            f"{names[0]} and {names[1]} were evaluated on different data or by different protocols (packs "
            f"{left.data_digest} and {right.data_digest}); give --pack to evaluate both on one"
        )
    for report, name in zip((left, right), names, strict=True):
        if not report.paired():
            raise RegistryError(f"{name} has no result to compare: what it gives holds NaN or infinity")
    rows = [_pair(mine, theirs) for mine in left.paired() for theirs in right.paired() if _alike(mine[1], theirs[1])]
    found = {row.key: row for row in rows}
    others = {row.key: row for row in right.measurements()}
    for row in left.measurements():
        if row.key in others and row.key not in found:
            found[row.key] = _apart(row, others[row.key])
    scores = left.paired()[0][1]
    return Comparison(
        left=names[0],
        right=names[1],
        pack_digest=left.data_digest,
        protocol=left.config.protocol,
        measure=scores.measure,
        test_units=f"{scores.shape[1]} {scores.unit}",
        rows=tuple(found.values()),
    )


def _alike(mine: Scores, theirs: Scores) -> bool:
    return (mine.name, mine.unit, mine.measure, mine.shape) == (theirs.name, theirs.unit, theirs.measure, theirs.shape)


def _pair(left: tuple[Measurement, Scores], right: tuple[Measurement, Scores]) -> Compared:
    """Draw by draw and unit by unit."""
    (mine, a), (theirs, b) = left, right
    return Compared(
        key=mine.key if mine.key == theirs.key else a.name,
        label=mine.label,
        left=mine.value,
        right=theirs.value,
        difference=paired(a.values, b.values, mine.value.confidence),
        paired=True,
        main=True,
    )


def _apart(mine: Measurement, theirs: Measurement) -> Compared:
    """As if measured apart: the errors of both add up."""
    a, b = mine.value, theirs.value
    se = float(np.hypot(a.se, b.se))
    half = float(stats.norm.ppf(0.5 + a.confidence / 2)) * se
    mean = a.mean - b.mean
    apart = Interval(mean=mean, low=mean - half, high=mean + half, se=se, n=min(a.n, b.n), confidence=a.confidence)
    return Compared(key=mine.key, label=mine.label, left=a, right=b, difference=apart, paired=False, main=mine.main)


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
    confidence = f"{100 * rows[0].difference.confidence:g} % intervals"
    title = f"{comparison.left} and {comparison.right}, {comparison.test_units}, {confidence}"
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
