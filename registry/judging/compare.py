"""Two encoders side by side: the same objects, the same labels, the differences with their intervals.

The deciding rows (linear SVM, fewest and most labels) are compared object by object, as the gate does. Of the other
rows only mean and standard error were stored, so their differences are taken as if the two had been measured apart:
wider than need be, because the labels and objects they share make both go up and down together.
"""

import numpy as np
from scipy import stats

from registry.evaluation.evaluation_log import read_report
from registry.evaluation.reports import Correctness, EvaluationReport, Row
from registry.judging.challenge import paired
from registry.judging.gate import points
from registry.versions.records import EncoderVersion
from registry.versions.store import EncoderStore
from ssl_core.config import Config
from ssl_core.errors import RegistryError
from ssl_core.evaluation.statistics import Interval

PROBES = {"svm": "linear SVM", "knn": "kNN", "linear": "linear probe"}


class Compared(Config):
    """One accuracy of both, and left minus right."""

    key: str
    label: str
    left: Interval
    right: Interval
    difference: Interval
    paired: bool
    main: bool
    """of all views and, for images, their maximum: what tables and pictures for people show"""


class Comparison(Config):
    """Two encoders on one pack under one protocol. The first row is the one that the gate decides by."""

    left: str
    right: str
    pack_digest: str
    protocol: str
    test_objects: int
    rows: tuple[Compared, ...]

    @property
    def verdict(self) -> str:
        """In words, by the deciding row."""
        first = self.rows[0]
        apart = first.difference
        text = f"{points(apart)}, {first.label}"
        if apart.low > 0:
            return f"{self.left} is better than {self.right}: {text}"
        if apart.high < 0:
            return f"{self.right} is better than {self.left}: {text}"
        return f"neither is shown to be better: {text}"


def stored_report(store: EncoderStore, version: EncoderVersion) -> EvaluationReport:
    """The report of a version's last evaluation. Raises RegistryError where there is none."""
    report = read_report(store, version)
    if report is None:
        raise RegistryError(f"{version.reference} has no evaluation that can be read; give --pack to make one")
    return report


def compare_reports(left: EvaluationReport, right: EvaluationReport, names: tuple[str, str]) -> Comparison:
    """Set two reports beside each other; encoders of points and of images have the deciding rows in common.

    Args:
        names: of the two, for example `cross-modal-points/3`.

    Raises:
        RegistryError: other data, another protocol, or one has no result.
    """
    both = (left, right)
    if left.pack_digest != right.pack_digest or not left.config.comparable_with(right.config):
        raise RegistryError(
            f"{names[0]} and {names[1]} were evaluated on different data or by different protocols (packs "
            f"{left.pack_digest} and {right.pack_digest}); give --pack to evaluate both on one"
        )
    for report, name in zip(both, names, strict=True):
        if report.deciding is None or report.headline is None:
            raise RegistryError(f"{name} has no accuracies to compare: its features hold NaN or infinity")
    rows = [_correctness(both, left.deciding, right.deciding), _correctness(both, left.full_labels, right.full_labels)]
    found = {row.key: row for row in rows if row is not None}
    others = {row.key: row for row in right.rows}
    for row in left.rows:
        if row.key in others and row.key not in found:
            found[row.key] = _apart(row, others[row.key], left.max_views)
    return Comparison(
        left=names[0],
        right=names[1],
        pack_digest=left.pack_digest,
        protocol=left.protocol,
        test_objects=left.test_objects,
        rows=tuple(found.values()),
    )


def _correctness(
    both: tuple[EvaluationReport, EvaluationReport], left: Correctness | None, right: Correctness | None
) -> Compared | None:
    """The linear SVM at all views, draw by draw and object by object."""
    if left is None or right is None or left.labels != right.labels:
        return None
    mine, theirs = (report.row("svm", left.labels) for report in both)
    if mine is None or theirs is None or np.shape(left.encoder) != np.shape(right.encoder):
        return None
    return Compared(
        key=mine.key if mine.key == theirs.key else f"svm/{mine.labels}",
        label=_label(mine, both[0].max_views),
        left=mine.accuracy,
        right=theirs.accuracy,
        difference=paired(left.encoder, right.encoder, mine.accuracy.confidence),
        paired=True,
        main=True,
    )


def _apart(mine: Row, theirs: Row, most: int | None) -> Compared:
    """As if measured apart: the errors of both add up."""
    a, b = mine.accuracy, theirs.accuracy
    se = float(np.hypot(a.se, b.se))
    half = float(stats.norm.ppf(0.5 + a.confidence / 2)) * se
    mean = a.mean - b.mean
    apart = Interval(mean=mean, low=mean - half, high=mean + half, se=se, n=min(a.n, b.n), confidence=a.confidence)
    main = mine.views == most and mine.pooling in (None, "max")
    return Compared(key=mine.key, label=_label(mine, most), left=a, right=b, difference=apart, paired=False, main=main)


def _label(row: Row, most: int | None) -> str:
    views = "" if row.views is None or row.views == most else f", {row.views} views"
    mean = ", mean over views" if row.pooling == "mean" else ""
    return f"{PROBES[row.probe]}, {row.labels}{views}{mean}"
