"""What an evaluation answers: pure values, written as JSON beside the encoder; `protocol` is what is asked."""

from typing import Literal

from pydantic import Field

from registry.evaluation.protocol import (
    PROTOCOL_VERSION,
    EvaluationConfig,
    LabelSetting,
    Modality,
    Pooling,
    Probe,
    full_protocol,
    not_measured,
    reference_table,
)
from registry.evaluation.section_reports import SectionReports
from ssl_core.config import Config
from ssl_core.evaluation.statistics import Interval

__all__ = [
    "PROTOCOL_VERSION",
    "Correctness",
    "EvaluationConfig",
    "EvaluationReport",
    "Extraction",
    "FeatureHealth",
    "LabelSetting",
    "Modality",
    "Pooling",
    "Probe",
    "Row",
    "Spread",
    "full_protocol",
    "reference_table",
]
REPORT_FORMAT: Literal[2] = 2


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

    modality: Modality
    probe: Probe
    labels: str
    views: int | None
    pooling: Pooling | None = None
    """of views; None for points"""
    accuracy: Interval
    twin: Interval | None
    difference: Interval | None
    over: Literal["label draws", "test objects"]
    single: Spread | None = None

    @property
    def key(self) -> str:
        """Metric name in MLflow, for example `svm/5_per_class/views_8` or `svm/all/views_8_mean`."""
        labels = self.labels.replace(" %", "_percent").replace(" ", "_")
        views = f"/views_{self.views}" if self.views is not None else ""
        return f"{self.probe}/{labels}{views}" + ("_mean" if self.pooling == "mean" else "")


class Correctness(Config):
    """Of the linear SVM, per test object, mean over point draws: what paired comparisons are made of."""

    labels: str
    views: int | None
    encoder: tuple[tuple[float, ...], ...]
    """[label draws][test objects] in [0, 1]"""
    twin: tuple[tuple[float, ...], ...] | None
    """the same, mean over the twins"""


class FeatureHealth(Config):
    """Signs of collapse, on test features."""

    finite: bool
    relative_std: float
    """root mean square of the features' standard deviations over that of the features; 0 = constant"""
    effective_rank: float
    """exp(entropy of the normalised singular values) of the centred features (Roy & Vetterli 2007)"""
    constant_accuracy: float
    """share of the commonest test class: what a probe without information reaches"""


class Extraction(Config):
    """What features cost: seconds that computing them took, and that kept features spared."""

    computed: int = 0
    """arrays of features that were computed (of one draw, of all views, of a disturbance)"""
    kept: int = 0
    """arrays that were found in the cache"""
    seconds: float = 0.0
    saved_seconds: float = 0.0
    """what computing the kept ones took when they were computed, less reading them"""


class EvaluationReport(Config):
    """The answer of `evaluate_encoder`. `rows` is empty when the features were not finite."""

    format_version: Literal[2] = REPORT_FORMAT
    """another one was measured by other rules: it is not read, the encoder is evaluated again"""
    modality: Modality
    pack_digest: str
    config: EvaluationConfig
    class_names: tuple[str, ...]
    train_objects: int
    test_objects: int
    objects_digest: str = ""
    """of `objects.json`: which objects carried labels in which draw, and which were scored"""
    max_views: int | None
    health: FeatureHealth
    rows: tuple[Row, ...]
    deciding: Correctness | None
    full_labels: Correctness | None
    confusion: tuple[tuple[float, ...], ...] | None = None
    """[true class][predicted class] test objects, linear SVM with the most labels, mean over point draws"""
    sections: SectionReports = SectionReports()
    extraction: Extraction = Extraction()
    seconds: float = 0.0
    section_seconds: dict[str, float] = Field(default_factory=dict)

    @property
    def protocol(self) -> str:
        """Version of the rules it was measured by."""
        return self.config.protocol

    @property
    def share_saved(self) -> float:
        """Of the time this evaluation would have taken without kept features, in [0, 1]."""
        whole = self.seconds + self.extraction.saved_seconds
        return self.extraction.saved_seconds / whole if whole > 0 else 0.0

    @property
    def left_out(self) -> dict[str, str]:
        """Of the full protocol, by section: what this report does not answer, and why. Empty for a complete one."""
        return {**dict.fromkeys(not_measured(self.config), "not asked for"), **self.sections.left_out}

    @property
    def complete(self) -> bool:
        """Whether it answers all that the full protocol asks."""
        return not self.left_out and self.headline is not None

    def row(self, probe: Probe, labels: str, views: int | None = None, pooling: Pooling = "max") -> Row | None:
        """The row asked for; without `views`, an image encoder's row at all views. None if not evaluated."""
        wanted = self.max_views if views is None else views
        pooled = pooling if self.modality == "image" else None
        for row in self.rows:
            if (row.probe, row.labels, row.views) == (probe, labels, wanted) and row.pooling in (pooled, None):
                return row
        return None

    @property
    def headline(self) -> Row | None:
        """Linear SVM at the deciding labels and all views."""
        return self.row("svm", self.config.deciding_labels.name)

    def comparable(self, other: "EvaluationReport") -> bool:
        """Whether both decide by the same number: same objects, label draws, points or views, and probe."""
        mine, theirs = (
            (report.format_version, report.pack_digest, report.test_objects, report.max_views)
            for report in (self, other)
        )
        return mine == theirs and self.config.comparable_with(other.config)

    def without_timings(self) -> "EvaluationReport":
        """The part that is the same whenever the evaluation is repeated."""
        sections = self.sections.model_copy(update={"costs": None})
        return self.model_copy(
            update={"extraction": Extraction(), "seconds": 0.0, "section_seconds": {}, "sections": sections}
        )
