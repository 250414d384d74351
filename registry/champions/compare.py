"""Two models side by side: the same data, the same draws, the differences with their intervals.

What decides, and whatever else has scores of each unit, is compared unit by unit, as the gate does. Of the other rows
only mean and standard error were stored, so their differences are taken as if the two had been measured apart:
wider than need be, because the draws and units they share make both go up and down together.
"""

import numpy as np
from scipy import stats

from registry.champions.gate import paired
from registry.versions.evaluation_log import read_report
from registry.versions.records import EncoderVersion
from registry.versions.store import EncoderStore
from ssl_core.config import Config
from ssl_core.errors import RegistryError
from ssl_core.evaluation.report import Measure, Measurement, Report, Scores, scale_of
from ssl_core.evaluation.statistics import Interval


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

    Args:
        names: of the two, for example `cross-modal-points/3`.

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
