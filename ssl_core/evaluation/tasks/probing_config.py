"""The whole protocol of a probing evaluation: the default, the full one, and the cross-modal reference's table."""

from typing import Any

from ssl_core.evaluation.protocol import LabelSetting, ProbingConfig
from ssl_core.evaluation.report import TaskConfig
from ssl_core.evaluation.sections.all_sections import NO_SECTIONS, Sections
from ssl_core.evaluation.sections.fine_tuning import FineTuningSettings
from ssl_core.evaluation.sections.novel_views import NovelViewSettings
from ssl_core.evaluation.sections.robustness import RobustnessSettings, standard_disturbances


class EvaluationConfig(ProbingConfig):
    """Probes, and sections beside them."""

    sections: Sections = Sections()

    def covers(self, other: TaskConfig) -> bool:
        """The same probes, and its sections too."""
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
