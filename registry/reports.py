"""What an evaluation is asked and what it answers: pure values, written as JSON beside the encoder.

The vocabulary: a *label setting* says how many training objects carry labels (5 per class, 10 %, all), a
*label draw* which ones, a *point draw* (or *view draw*) which random points (or views) stand for an object,
a *twin* is the same architecture with random weights. `docs/protocol.md` explains the choices.
"""

from typing import Literal

from pydantic import Field, model_validator

from ssl_core.config import Config
from ssl_core.evaluation.statistics import Interval

Probe = Literal["svm", "knn"]
Modality = Literal["points", "image"]
REPORT_FORMAT = 1


class LabelSetting(Config):
    """How many labels a probe sees, and in how many different draws. Neither amount: all labels, one draw."""

    per_class: int | None = Field(default=None, ge=1)
    fraction: float | None = Field(default=None, gt=0.0, le=1.0)
    draws: int = Field(default=1, ge=1, le=1000)

    @model_validator(mode="after")
    def _consistent(self) -> "LabelSetting":
        if self.per_class is not None and self.fraction is not None:
            raise ValueError("give per_class or fraction, not both")
        if self.per_class is None and self.fraction is None and self.draws != 1:
            raise ValueError("all labels can be drawn in one way only: draws must be 1")
        return self

    @property
    def name(self) -> str:
        """`5 per class`, `10 %` or `all`."""
        if self.per_class is not None:
            return f"{self.per_class} per class"
        return "all" if self.fraction is None else f"{100 * self.fraction:g} %"


class EvaluationConfig(Config):
    """The protocol. Reports of equal digest and equal pack digest can be compared object by object."""

    label_settings: tuple[LabelSetting, ...] = Field(
        default=(LabelSetting(per_class=5, draws=10), LabelSetting(fraction=0.1, draws=5), LabelSetting()),
        min_length=1,
    )
    point_draws: int = Field(default=3, ge=1, description="random point samples per object")
    views: tuple[int, ...] = Field(
        default=(1, 4, 8, 16, 32, 64),
        min_length=1,
        description="capped by what the pack has; its maximum is added",
    )
    view_draws: int = Field(default=3, ge=1, description="random subsets of views, where not all are used")
    knn_k: int = Field(default=5, ge=1)
    svm_c: float = Field(default=1.0, gt=0.0)
    twin_seeds: tuple[int, ...] = (0, 1, 2)
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)

    @property
    def deciding_labels(self) -> LabelSetting:
        """The first label setting: the linear SVM at these labels is what the gate compares."""
        return self.label_settings[0]


def reference_table() -> EvaluationConfig:
    """The cross-modal reference's SVM table: 1, 4, 16, 32 and 64 views by 1, 10, 50 and 100 % of the labels.

    One point draw: the reference draws points anew for every row, so its five point accuracies differ by chance; here
    the point branch has one row. For *n* views, the elementwise maximum over one seeded subset, as the gating protocol
    draws it: larger subsets contain the smaller, all views are one. One label draw, stratified, at least one object of
    each class; no last batch is dropped as there. So every interval is a bootstrap over test objects. No twins: the
    table is to be set beside the reference's, and never reaches the gate.
    """
    fractions = (0.01, 0.1, 0.5)
    return EvaluationConfig(
        label_settings=(*(LabelSetting(fraction=fraction) for fraction in fractions), LabelSetting()),
        point_draws=1,
        views=(1, 4, 16, 32, 64),
        view_draws=1,
        twin_seeds=(),
    )


class Row(Config):
    """One accuracy: how, with which labels, from how many views, and against what.

    `over` says what the intervals speak of: label draws (Student's t), or test objects (bootstrap) where
    the labels can be drawn in one way only.
    """

    modality: Modality
    probe: Probe
    labels: str
    views: int | None
    accuracy: Interval
    twin: Interval | None
    difference: Interval | None
    over: Literal["label draws", "test objects"]

    @property
    def key(self) -> str:
        """Metric name in MLflow, for example `svm/5_per_class/views_8`."""
        labels = self.labels.replace(" %", "_percent").replace(" ", "_")
        return f"{self.probe}/{labels}" + (f"/views_{self.views}" if self.views is not None else "")


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


class EvaluationReport(Config):
    """The answer of `evaluate_encoder`. `rows` is empty when the features were not finite."""

    format_version: int = REPORT_FORMAT
    modality: Modality
    pack_digest: str
    config: EvaluationConfig
    class_names: tuple[str, ...]
    train_objects: int
    test_objects: int
    max_views: int | None
    health: FeatureHealth
    rows: tuple[Row, ...]
    deciding: Correctness | None
    full_labels: Correctness | None
    confusion: tuple[tuple[float, ...], ...] | None = None
    """[true class][predicted class] test objects, linear SVM with the most labels, mean over point draws"""
    seconds: float = 0.0

    def row(self, probe: Probe, labels: str, views: int | None = None) -> Row | None:
        """The row asked for; without `views`, an image encoder's row at all views. None if not evaluated."""
        wanted = self.max_views if views is None else views
        for row in self.rows:
            if (row.probe, row.labels, row.views) == (probe, labels, wanted):
                return row
        return None

    @property
    def headline(self) -> Row | None:
        """Linear SVM at the deciding labels and all views."""
        return self.row("svm", self.config.deciding_labels.name)

    def comparable(self, other: "EvaluationReport") -> bool:
        """Whether both were measured on the same objects, label draws and probes."""
        mine = (self.format_version, self.pack_digest, self.config.digest(), self.max_views)
        return mine == (other.format_version, other.pack_digest, other.config.digest(), other.max_views)
