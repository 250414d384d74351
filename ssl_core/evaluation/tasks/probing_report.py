"""What a probing evaluation is asked and answers: accuracies of probes on frozen features, beside random twins."""

from typing import Any, Literal

from pydantic import Field

from ssl_core.evaluation.extract import Extraction
from ssl_core.evaluation.fine_tuning_plan import FineTuningSettings
from ssl_core.evaluation.probe_grid import FeatureHealth, Row, svm_at
from ssl_core.evaluation.protocol import PROBES, LabelSetting, Pooling, Probe, ProbingConfig
from ssl_core.evaluation.report import Measurement, Report, Scores, Table, TaskConfig, markdown_table
from ssl_core.evaluation.sections.all_sections import NO_SECTIONS, SectionReports, Sections
from ssl_core.evaluation.sections.novel_views import NovelViewSettings
from ssl_core.evaluation.sections.robustness import RobustnessSettings, standard_disturbances
from ssl_core.evaluation.statistics import in_percent


class EvaluationConfig(ProbingConfig):
    """Probes, and sections beside them."""

    sections: Sections = Sections()

    def covers(self, other: TaskConfig) -> bool:
        if not isinstance(other, EvaluationConfig) or _probes_of(self) != _probes_of(other):
            return False
        return all(_holds(getattr(self.sections, section.name), asked) for section, asked in other.sections.asked())

    def not_measured(self) -> tuple[str, ...]:
        """Names of sections, and `probes`."""
        full = full_protocol()
        missing = [name for name, asked in full.sections if not _holds(getattr(self.sections, name), asked)]
        return (*(() if _probes_of(self) == _probes_of(full) else ("probes",)), *missing)


def _probes_of(config: EvaluationConfig) -> EvaluationConfig:
    return config.model_copy(update={"sections": NO_SECTIONS})


def _holds(section: Any, asked: Any) -> bool:
    """Whether a section measures what was asked: every level of a list, everything else equal."""
    if section is None:
        return False
    if isinstance(section, FineTuningSettings):
        return section.answers(asked)
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


MIN_RELATIVE_STD, MIN_EFFECTIVE_RANK = 1e-3, 1.5
"""Below: all objects look alike, or one direction is left."""


class ProbingReport(Report):
    """The answer. `rows` is empty, and nothing decides, when the features were not finite."""

    kind: Literal["point_encoder", "image_encoder"]
    config: EvaluationConfig
    baseline_name: str = "random twin"
    class_names: tuple[str, ...]
    train_objects: int
    test_objects: int
    objects_digest: str = ""
    """of `objects.json`: which objects carried labels in which draw, and which were scored"""
    max_views: int | None
    """of each object; None for points"""
    health: FeatureHealth
    rows: tuple[Row, ...]
    full_labels: Scores | None = None
    """of the linear SVM with the most labels"""
    confusion: tuple[tuple[float, ...], ...] | None = None
    """[true class][predicted class] test objects, linear SVM with the most labels, mean over point draws"""
    sections: SectionReports = SectionReports()
    extraction: Extraction = Extraction()
    section_seconds: dict[str, float] = Field(default_factory=dict)

    @property
    def left_out(self) -> dict[str, str]:
        """What was not asked for, and what could not be measured."""
        return {**super().left_out, **self.sections.left_out}

    @property
    def share_saved(self) -> float:
        whole = self.seconds + self.extraction.saved_seconds
        return self.extraction.saved_seconds / whole if whole > 0 else 0.0

    def row(self, probe: Probe, labels: str, views: int | None = None, pooling: Pooling = "max") -> Row | None:
        """The row asked for; without `views`, an image encoder's row at all views. None if not evaluated."""
        wanted = self.max_views if views is None else views
        for row in self.rows:
            if (row.probe, row.labels, row.views) == (probe, labels, wanted) and row.pooling in (pooling, None):
                return row
        return None

    @property
    def headline(self) -> Row | None:
        """Linear SVM at the deciding labels and all views."""
        return self.row("svm", self.config.deciding_labels.name)

    @property
    def fullest(self) -> Row | None:
        """Linear SVM with the most labels, at all views: the row of `full_labels`."""
        wanted = self.full_labels.name if self.full_labels is not None else ""
        found = (self.row("svm", setting.name) for setting in self.config.label_settings)
        return next((row for row in found if row is not None and svm_at(row.labels) == wanted), None)

    @property
    def headline_text(self) -> str:
        """For example `linear SVM, 5 per class: 72.0 ± 1.8 % (random twin 66.8 ± 1.6, difference +5.2 ± 1.4)`."""
        row = self.headline
        if row is None:
            return "no result: features hold NaN or infinity"
        views = f", {row.views} views" if row.views is not None else ""
        text = f"linear SVM, {row.labels}{views}: {row.accuracy.percent()} %"
        if row.twin is not None and row.difference is not None:
            text += f" (random twin {row.twin.percent()}, difference {row.difference.percent(signed=True)})"
        return text

    def overview(self) -> list[dict[str, Any]]:
        """Accuracies in percent, half-widths of the intervals after ±."""
        return [
            {
                "probe": row.probe,
                "labels": row.labels,
                "views": "-" if row.views is None else row.views,
                "pooling": row.pooling or "-",
                "accuracy": row.accuracy.percent(),
                "random twin": "-" if row.twin is None else row.twin.percent(),
                "difference": "-" if row.difference is None else row.difference.percent(signed=True),
                "over": row.over,
            }
            for row in self.rows
        ]

    def by_views(self) -> list[dict[str, str]]:
        """The linear SVM, a row for each number of views, a column for each label setting: percent, ± half-width.

        A point encoder sees no views and has one row. Without rows (features not finite) there are none.
        """
        return [
            {
                "views": "-" if count is None else str(count),
                **{
                    setting.name: row.accuracy.percent()
                    for setting in self.config.label_settings
                    if (row := self.row("svm", setting.name, count)) is not None
                },
            }
            for count in sorted({row.views for row in self.rows}, key=lambda count: count or 0)
        ]

    def tables(self) -> list[Table]:
        return self.sections.tables()

    def metrics(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for row in self.rows:
            found[row.key] = row.accuracy.mean
            if row.twin is not None and row.difference is not None:
                found[f"{row.key}/twin"] = row.twin.mean
                found[f"{row.key}/difference"] = row.difference.mean
                found[f"{row.key}/difference_se"] = row.difference.se
        found["health/relative_std"] = self.health.relative_std
        found["health/effective_rank"] = self.health.effective_rank
        return found | self.sections.metrics()

    def measurements(self) -> tuple[Measurement, ...]:
        return tuple(row.measurement(self.max_views) for row in self.rows)

    def paired(self) -> tuple[tuple[Measurement, Scores], ...]:
        """The linear SVM at all views, with the deciding labels and with the most."""
        both = ((self.headline, self.deciding), (self.fullest, self.full_labels))
        return tuple((row.measurement(self.max_views), scores) for row, scores in both if row and scores)

    def markdown(self) -> str:
        """What was measured, all rows, health, sections and what is missing."""
        lines = [
            f"Frozen features on the test split ({self.test_objects} objects, {len(self.class_names)} classes) "
            f"of pack `{self.data_digest}`, protocol {self.config.protocol}; probes trained on up to "
            f"{self.train_objects} objects. Accuracy in %, {100 * self.config.confidence:g} % intervals; a twin is "
            f"the same architecture with random weights ({len(self.config.twin_seeds)} of them), compared on the same "
            "label draws. Single draws: standard deviation and range of what one draw of labels and points would have "
            "said.",
            "",
        ]
        if self.rows:
            heads = ("probe", "labels", "views", "encoder", "random twin", "difference")
            rows = map(_cells, self.rows)
            lines += [markdown_table((*heads, "interval over", "single draws"), rows), ""]
        lines.append(
            f"Feature health: effective rank {self.health.effective_rank:.1f}, "
            f"relative spread {self.health.relative_std:.3f}; "
            f"a constant answer scores {in_percent(self.health.constant_accuracy)} %."
        )
        if sections := self.sections.markdown():
            lines += ["", sections]
        if missing := self.config.not_measured():
            names = ", ".join(name.replace("_", " ") for name in missing)
            lines += ["", f"Of the full protocol not asked for, or not in full: {names}."]
        return "\n".join(lines)


def defects_of(health: FeatureHealth, full_labels: Scores | None, classes: int) -> tuple[str, ...]:
    """Signs of collapse, in sentences: the first is the plainest."""
    if not health.finite:
        return ("collapsed: features hold NaN or infinity",)
    found = []
    if health.relative_std < MIN_RELATIVE_STD:
        found.append(
            f"collapsed: features hardly differ between objects (relative spread {health.relative_std:.1e}, "
            f"at least {MIN_RELATIVE_STD:g} is asked)"
        )
    if health.effective_rank < MIN_EFFECTIVE_RANK:
        found.append(
            f"collapsed: effective rank of the features is {health.effective_rank:.2f}, "
            f"at least {MIN_EFFECTIVE_RANK:g} is asked"
        )
    if full_labels is not None and full_labels.mean <= health.constant_accuracy and classes > 1:
        found.append(
            f"collapsed: with the most labels the probe reaches {in_percent(full_labels.mean)} %, "
            f"a constant answer {in_percent(health.constant_accuracy)} %"
        )
    return tuple(found)


def report_of_format_2(values: dict[str, Any]) -> ProbingReport:
    """What was written before reports knew of cards. Raises ValueError, KeyError or TypeError for anything else."""
    old = {name: value for name, value in values.items() if name not in ("format_version", "modality", "pack_digest")}
    health = FeatureHealth.model_validate(old["health"])
    deciding, baseline = _scores_of_format_2(old.pop("deciding"))
    full_labels, _ = _scores_of_format_2(old.pop("full_labels"))
    return ProbingReport.model_validate(
        {
            **old,
            "kind": {"points": "point_encoder", "image": "image_encoder"}[values["modality"]],
            "data_digest": values["pack_digest"],
            "rows": [{name: value for name, value in row.items() if name != "modality"} for row in values["rows"]],
            "deciding": deciding,
            "baseline": baseline,
            "full_labels": full_labels,
            "defects": defects_of(health, full_labels, len(values["class_names"])),
        }
    )


def _scores_of_format_2(found: dict[str, Any] | None) -> tuple[Scores | None, Scores | None]:
    if found is None:
        return None, None
    name, twin = svm_at(found["labels"]), found["twin"]
    return (
        Scores(name=name, unit="test objects", values=found["encoder"]),
        None if twin is None else Scores(name=name, unit="test objects", values=twin),
    )


def _cells(row: Row) -> tuple[str, ...]:
    twin = row.twin.percent() if row.twin is not None else "–"
    difference = row.difference.percent(signed=True) if row.difference is not None else "–"
    views = "–" if row.views is None else f"{row.views}{', mean' if row.pooling == 'mean' else ''}"
    probe = "linear, by gradient" if row.probe == "linear" else PROBES[row.probe]
    return (probe, row.labels, views, row.accuracy.percent(), twin, difference, row.over, _single(row))


def _single(row: Row) -> str:
    if row.single is None:
        return "–"
    found = row.single
    return f"sd {in_percent(found.sd)}, {in_percent(found.low)} to {in_percent(found.high)}"
