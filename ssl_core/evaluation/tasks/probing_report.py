"""What a probing evaluation is asked and answers: accuracies of probes on frozen features, beside random twins."""

from typing import Any, Literal

from pydantic import Field

from ssl_core.evaluation.extract import Extraction
from ssl_core.evaluation.fine_tuning_plan import FineTuningSettings
from ssl_core.evaluation.probe_grid import FeatureHealth, probe_at
from ssl_core.evaluation.probe_rows import Row
from ssl_core.evaluation.protocol import PROBES, LabelSetting, Pooling, Probe, ProbingConfig
from ssl_core.evaluation.report import Measurement, Report, Scores, Table, TaskConfig, markdown_table
from ssl_core.evaluation.sections.all_sections import NO_SECTIONS, SectionReports, Sections
from ssl_core.evaluation.sections.novel_views import NovelViewSettings
from ssl_core.evaluation.sections.robustness import RobustnessSettings, standard_disturbances
from ssl_core.evaluation.statistics import in_percent
from ssl_core.evaluation.task_contract import plain


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
        baselines=(),
        point_draws=1,
        view_draws=1,
        twin_seeds=(),
        sections=NO_SECTIONS,
    )


MIN_RELATIVE_STD, MIN_EFFECTIVE_RANK = 1e-3, 1.5
"""Below: all objects look alike, or one direction is left."""
HIDDEN = 0.1
"""Difference of the two SVMs, in shares, that a report speaks of."""


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
    """of the deciding probe with the most labels"""
    confusion: tuple[tuple[float, ...], ...] | None = None
    """[true class][predicted class] test objects, deciding probe with the most labels, mean over point draws"""
    sections: SectionReports = SectionReports()
    baselines_left_out: dict[str, str] = Field(default_factory=dict)
    """what was asked for and could not be measured, and why"""
    extraction: Extraction = Extraction()
    section_seconds: dict[str, float] = Field(default_factory=dict)

    @property
    def left_out(self) -> dict[str, str]:
        """What was not asked for, and what could not be measured."""
        return {**super().left_out, **self.sections.left_out, **self.baselines_left_out}

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
        """The deciding probe at the deciding labels and all views."""
        return self.row(self.config.deciding_probe, self.config.deciding_labels.name)

    @property
    def fullest(self) -> Row | None:
        """The deciding probe with the most labels, at all views: the row of `full_labels`."""
        wanted = self.full_labels.name if self.full_labels is not None else ""
        found = (self.row(self.config.deciding_probe, setting.name) for setting in self.config.label_settings)
        return next((row for row in found if row is not None and probe_at(row.probe, row.labels) == wanted), None)

    @property
    def headline_text(self) -> str:
        """For example `linear SVM, 5 per class: 72.0 ± 1.8 % (random twin 66.8 ± 1.6, difference +5.2 ± 1.4)`."""
        row = self.headline
        if row is None:
            return "no result: features hold NaN or infinity"
        views = f", {row.views} views" if row.views is not None else ""
        text = f"{PROBES[row.probe]}, {row.labels}{views}: {row.accuracy.percent()} %"
        if row.baseline is not None and row.difference is not None:
            text += f" ({row.baseline_name} {row.baseline.percent()}, difference {row.difference.percent(signed=True)})"
        return text

    @property
    def hidden_by_basis(self) -> str:
        """A sentence where scaling single columns hides much of what the features hold; empty elsewhere."""
        labels = self.config.deciding_labels.name
        scaled, one = self.row("svm", labels), self.row("one_scale_svm", labels)
        if scaled is None or one is None or one.accuracy.mean - scaled.accuracy.mean <= HIDDEN:
            return ""
        lost = in_percent(one.accuracy.mean - scaled.accuracy.mean)
        return (
            f"At {labels} labels the SVM reads {lost} points more in one scale than with scaled columns: few columns "
            "hold what is known, as after a projection to principal components or whitening. Rotate the features."
        )

    def overview(self) -> list[dict[str, Any]]:
        """Accuracies in percent, half-widths of the intervals after ±."""
        return [
            {
                "probe": row.probe,
                "labels": row.labels,
                "views": "-" if row.views is None else row.views,
                "pooling": row.pooling or "-",
                "accuracy": row.accuracy.percent(),
                "strongest baseline": _baseline(row, "-"),
                "difference": "-" if row.difference is None else row.difference.percent(signed=True),
                "over": row.over,
            }
            for row in self.rows
        ]

    def by_views(self) -> list[dict[str, str]]:
        """The deciding probe, a row for each number of views, a column for each label setting: percent, ± half-width.

        A point encoder sees no views and has one row. Without rows (features not finite) there are none.
        """
        return [
            {
                "views": "-" if count is None else str(count),
                **{
                    setting.name: row.accuracy.percent()
                    for setting in self.config.label_settings
                    if (row := self.row(self.config.deciding_probe, setting.name, count)) is not None
                },
            }
            for count in sorted({row.views for row in self.rows}, key=lambda count: count or 0)
        ]

    def tables(self) -> list[Table]:
        return [*self._beside(), *self.sections.tables()]

    def _beside(self) -> list[Table]:
        """The deciding probe of encoder and baselines at all views: a row for each, a column for each label setting."""
        found = (self.row(self.config.deciding_probe, setting.name) for setting in self.config.label_settings)
        rows = [row for row in found if row is not None]
        names = list(dict.fromkeys(name for row in rows for name in row.baselines))
        if not names:
            return []
        cells = [["encoder", *(row.accuracy.percent() for row in rows)]]
        for name in names:
            there = [row.baselines.get(name) for row in rows]
            cells.append([name, *("–" if one is None else one.score.percent() for one in there)])
        heads = [PROBES[self.config.deciding_probe], *(row.labels for row in rows)]
        return [("Encoder and baselines, %", heads, cells)]

    def metrics(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for row in self.rows:
            found[row.key] = row.accuracy.mean
            if row.baseline is not None and row.difference is not None:
                found[f"{row.key}/baseline"] = row.baseline.mean
                found |= {f"{row.key}/baseline/{plain(name)}": one.score.mean for name, one in row.baselines.items()}
                found[f"{row.key}/difference"] = row.difference.mean
                found[f"{row.key}/difference_se"] = row.difference.se
        found["health/relative_std"] = self.health.relative_std
        found["health/effective_rank"] = self.health.effective_rank
        return found | self.sections.metrics()

    def measurements(self) -> tuple[Measurement, ...]:
        return tuple(row.measurement(self.max_views) for row in self.rows)

    def paired(self) -> tuple[tuple[Measurement, Scores], ...]:
        """The deciding probe at all views, with the deciding labels and with the most."""
        both = ((self.headline, self.deciding), (self.fullest, self.full_labels))
        return tuple((row.measurement(self.max_views), scores) for row, scores in both if row and scores)

    def markdown(self) -> str:
        """What was measured, all rows, health, sections and what is missing."""
        lines = [
            f"Frozen features on the test split ({self.test_objects} objects, {len(self.class_names)} classes) "
            f"of pack `{self.data_digest}`, protocol {self.config.protocol}; probes trained on up to "
            f"{self.train_objects} objects. Accuracy in %, {100 * self.config.confidence:g} % intervals. The encoder "
            "stands beside the strongest of its baselines, on the same label draws: a random twin is the same "
            f"architecture with random weights ({len(self.config.twin_seeds)} of them, averaged), calibrated with the "
            "batch statistics of the training inputs. Single draws: standard deviation and range of what one draw of "
            "labels and points would have said.",
            "",
        ]
        if self.rows:
            for title, columns, cells in self._beside():
                lines += [f"### {title}", "", markdown_table(columns, cells), ""]
            heads = ("probe", "labels", "views", "encoder", "strongest baseline", "difference")
            rows = map(_cells, self.rows)
            lines += [markdown_table((*heads, "interval over", "single draws"), rows), ""]
        lines.append(
            f"Feature health: effective rank {self.health.effective_rank:.1f}, "
            f"relative spread {self.health.relative_std:.3f}; "
            f"a constant answer scores {in_percent(self.health.constant_accuracy)} %."
        )
        if self.hidden_by_basis:
            lines += ["", self.hidden_by_basis]
        for name, reason in self.baselines_left_out.items():
            lines += ["", f"Not measured, {name}: {reason}."]
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


def _cells(row: Row) -> tuple[str, ...]:
    difference = row.difference.percent(signed=True) if row.difference is not None else "–"
    views = "–" if row.views is None else f"{row.views}{', mean' if row.pooling == 'mean' else ''}"
    probe = "linear, by gradient" if row.probe == "linear" else PROBES[row.probe]
    return (probe, row.labels, views, row.accuracy.percent(), _baseline(row, "–"), difference, row.over, _single(row))


def _baseline(row: Row, none: str) -> str:
    return none if row.baseline is None else f"{row.baseline.percent()} ({row.baseline_name})"


def _single(row: Row) -> str:
    if row.single is None:
        return "–"
    found = row.single
    return f"sd {in_percent(found.sd)}, {in_percent(found.low)} to {in_percent(found.high)}"
