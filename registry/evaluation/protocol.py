"""The protocol as values: what an evaluation is asked. Equal configs ask the same; `PROTOCOL_VERSION` names the rules.

The vocabulary: a *label setting* says how many training objects carry labels (5 per class, 10 %, all), a *label draw*
which ones, a *point draw* (or *view draw*) which random points (or views) stand for an object, a *twin* is the same
architecture with random weights, a *section* is a measurement beside the probes, which a config asks for or leaves
out. `docs/protocol.md` explains the choices.
"""

from typing import Literal

from pydantic import Field, model_validator

from ssl_core.config import Config
from ssl_core.evaluation.fine_tuning import FineTuningConfig
from ssl_core.evaluation.robustness import Disturbance, light_disturbances, standard_disturbances

PROTOCOL_VERSION: Literal["2"] = "2"
"""Raised when the same config would be measured differently; a result names it."""

Probe = Literal["svm", "knn", "linear"]
Modality = Literal["points", "image"]
Pooling = Literal["max", "mean"]
_NUMBERS = 1000
"""Numbers of label and view draws that one draw seed owns; a setting has at most so many draws."""


class LabelSetting(Config):
    """How many labels a probe sees, and in how many different draws. Neither amount: all labels, one draw."""

    per_class: int | None = Field(default=None, ge=1)
    fraction: float | None = Field(default=None, gt=0.0, le=1.0)
    draws: int = Field(default=1, ge=1, le=_NUMBERS)

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


class RetrievalSettings(Config):
    """Test objects found among test objects: across views or point draws, across modalities with a partner."""

    ks: tuple[int, ...] = Field(default=(1, 5, 10), min_length=1, description="recall among the first k")


class RobustnessSettings(Config):
    """The linear SVM with the most labels, fitted on clean features and asked about disturbed test objects.

    Disturbances of the other modality, and of as many views as the pack has, are passed over.
    """

    disturbances: tuple[Disturbance, ...] = Field(default=light_disturbances(), min_length=1)


class CostSettings(Config):
    """Time per object, memory and size, on the device the evaluation runs on, with one thread."""

    batches: tuple[int, ...] = Field(default=(1, 32), min_length=1)
    seconds: float = Field(default=1.0, gt=0.0, description="about how long each batch size is repeated")


class NovelViewSettings(Config):
    """Test objects seen from cameras that the pack has no picture of, rendered from their Gaussians."""

    views: int = Field(default=8, ge=1)


class FineTuningSettings(Config):
    """The whole encoder and a linear head trained with labels, beside the same from random weights."""

    label_settings: tuple[LabelSetting, ...] = Field(
        default=(LabelSetting(per_class=5, draws=3), LabelSetting()), min_length=1
    )
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1, description="of training, per label draw")
    training: FineTuningConfig = FineTuningConfig()
    min_steps: int = Field(default=300, ge=1, description="with few labels: more epochs, until there are so many steps")


class Sections(Config):
    """What is measured beside the probes; None is not measured. The default is what an evaluation without a person
    can afford on two cores."""

    retrieval: RetrievalSettings | None = RetrievalSettings()
    robustness: RobustnessSettings | None = RobustnessSettings()
    costs: CostSettings | None = CostSettings()
    novel_views: NovelViewSettings | None = None
    fine_tuning: FineTuningSettings | None = None


NO_SECTIONS = Sections(retrieval=None, robustness=None, costs=None)


class EvaluationConfig(Config):
    """The protocol. Reports of one pack can be compared object by object where `comparable_with` says so."""

    protocol: Literal["2"] = Field(default=PROTOCOL_VERSION, description="version of the rules")
    draw_seed: int = Field(default=0, ge=0, le=10**6, description="another one: fresh draws of labels, points, views")
    label_settings: tuple[LabelSetting, ...] = Field(
        default=(
            LabelSetting(per_class=5, draws=10),
            LabelSetting(fraction=0.01, draws=10),
            LabelSetting(fraction=0.1, draws=10),
            LabelSetting(fraction=0.5, draws=5),
            LabelSetting(),
        ),
        min_length=1,
    )
    probes: tuple[Probe, ...] = Field(default=("svm", "knn", "linear"), min_length=1)
    point_draws: int = Field(default=3, ge=1, description="random point samples per object")
    views: tuple[int, ...] = Field(
        default=(1, 4, 16, 32, 64),
        min_length=1,
        description="capped by what the pack has; its maximum is added",
    )
    view_draws: int = Field(default=3, ge=1, le=_NUMBERS, description="random subsets of views, where not all are used")
    pooling: tuple[Pooling, ...] = Field(
        default=("max", "mean"), description="of views; max decides and is always there"
    )
    knn_k: int = Field(default=5, ge=1)
    svm_c: float = Field(default=1.0, gt=0.0)
    twin_seeds: tuple[int, ...] = (0, 1, 2)
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    sections: Sections = Sections()

    @model_validator(mode="after")
    def _decides(self) -> "EvaluationConfig":
        if "svm" not in self.probes:
            raise ValueError("probes must hold 'svm': it is what the gate compares")
        if "max" not in self.pooling:
            raise ValueError("pooling must hold 'max': it is what the gate compares")
        return self

    @property
    def deciding_labels(self) -> LabelSetting:
        """The first label setting: the linear SVM at these labels is what the gate compares."""
        return self.label_settings[0]

    def label_seed(self, draw: int) -> int:
        """Seed of label draw number `draw`, for `draw_labels`: the same for every setting, so that draws nest."""
        return self.draw_seed * _NUMBERS + draw

    def view_seed(self, draw: int) -> int:
        """Seed of view subset number `draw`."""
        return self.draw_seed * _NUMBERS + draw

    def point_number(self, draw: int) -> int:
        """Number of a point draw, for `PointSampler.draw`; consecutive, because those differ in their first points."""
        return self.draw_seed * self.point_draws + draw

    def comparable_with(self, other: "EvaluationConfig") -> bool:
        """Whether both decide by the same number: same rules, draws, deciding labels and probe. Sections and further
        label settings play no part."""
        return self._deciding() == other._deciding()

    def covers(self, other: "EvaluationConfig") -> bool:
        """Whether a report under this config answers all that `other` asks: the same probes, and its sections too."""
        mine, theirs = (config.model_copy(update={"sections": NO_SECTIONS}) for config in (self, other))
        asked = [(name, value) for name, value in other.sections if value is not None]
        return mine == theirs and all(_holds(getattr(self.sections, name), value) for name, value in asked)

    def _deciding(self) -> tuple[object, ...]:
        draws = (self.draw_seed, self.point_draws, self.view_draws)
        return self.protocol, draws, self.deciding_labels, self.svm_c


def _holds(section: Config | None, asked: Config) -> bool:
    """Whether a section measures what was asked: every level of a list, everything else equal."""
    if section is None:
        return False
    pairs = [(getattr(section, name), value) for name, value in asked]
    return all(set(value) <= set(mine) if isinstance(value, tuple) else value == mine for mine, value in pairs)


def full_protocol(*, fine_tuning: bool = True) -> EvaluationConfig:
    """Everything: the default with more disturbances, novel views, and fine-tuning with its from-scratch control.

    Without `fine_tuning`, which takes nearly all of the time, it is not the full protocol: `not_measured` says so.
    """
    robustness = RobustnessSettings(disturbances=standard_disturbances())
    tuning = FineTuningSettings() if fine_tuning else None
    return EvaluationConfig(
        sections=Sections(robustness=robustness, novel_views=NovelViewSettings(), fine_tuning=tuning)
    )


def not_measured(config: EvaluationConfig) -> tuple[str, ...]:
    """What the full protocol measures and this config does not ask for, or not all of: names of sections, and `probes`.

    Empty for a complete evaluation, and for no other.
    """
    full = full_protocol()
    mine, theirs = (asked.model_copy(update={"sections": NO_SECTIONS}) for asked in (config, full))
    sections = (name for name, asked in full.sections if not _holds(getattr(config.sections, name), asked))
    return (*(() if mine == theirs else ("probes",)), *sections)


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
        probes=("svm",),
        pooling=("max",),
        point_draws=1,
        view_draws=1,
        twin_seeds=(),
        sections=NO_SECTIONS,
    )
