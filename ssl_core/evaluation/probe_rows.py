"""A row of a probing evaluation: one accuracy, beside its baselines."""

from typing import Any, Literal

from pydantic import Field, model_validator

from ssl_core.config import Config
from ssl_core.evaluation.protocol import PROBES, Pooling, Probe
from ssl_core.evaluation.report import BaselineScore, Measurement
from ssl_core.evaluation.statistics import Interval


class Spread(Config):
    """Accuracies of single draws (one draw of labels, one of points or views): what a single-seed number might have
    been."""

    draws: int
    sd: float
    low: float
    high: float


class Row(Config):
    """One accuracy: how, with which labels, from how many views, and against what.

    `over` says what the intervals speak of: label draws (Student's t), or test objects (bootstrap) where
    the labels can be drawn in one way only.
    """

    probe: Probe
    labels: str
    views: int | None
    """None for points"""
    pooling: Pooling | None = None
    """of views"""
    accuracy: Interval
    baseline: Interval | None
    """of the strongest baseline of this row"""
    difference: Interval | None
    """encoder minus that"""
    baseline_name: str = "random twin"
    baselines: dict[str, BaselineScore] = Field(default_factory=dict)
    """all that were probed so, by name"""
    over: Literal["label draws", "test objects"]
    single: Spread | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_version_2(cls, values: Any) -> Any:
        """Random twins were the only baseline then, and called so."""
        if isinstance(values, dict) and "twin" in values:
            return {("baseline" if name == "twin" else name): value for name, value in values.items()}
        return values

    @property
    def key(self) -> str:
        """Metric name, for example `svm/5_per_class/views_8` or `svm/all/views_8_mean`."""
        labels = self.labels.replace(" %", "_percent").replace(" ", "_")
        views = f"/views_{self.views}" if self.views is not None else ""
        return f"{self.probe}/{labels}{views}" + ("_mean" if self.pooling == "mean" else "")

    def measurement(self, most_views: int | None) -> Measurement:
        """The accuracy for comparisons; of all views it is the main one."""
        every = self.views == most_views
        views = "" if self.views is None or every else f", {self.views} views"
        mean = ", mean over views" if self.pooling == "mean" else ""
        label = f"{PROBES[self.probe]}, {self.labels}{views}{mean}"
        return Measurement(key=self.key, label=label, value=self.accuracy, main=every and self.pooling != "mean")
