"""All sections of an evaluation, one after the other. What cannot be measured is left out, and the report says why."""

import time
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from ssl_core.config import Config
from ssl_core.errors import DataError, DivergedError, InfeasibleError
from ssl_core.evaluation.fine_tuning_plan import FineTuningSettings
from ssl_core.evaluation.report import Table, markdown_table
from ssl_core.evaluation.sections.costs import COSTS, CostSettings, ModelCosts
from ssl_core.evaluation.sections.drift import DRIFT, Drift, DriftSettings
from ssl_core.evaluation.sections.fine_tuning import FINE_TUNING, FineTuningRow
from ssl_core.evaluation.sections.novel_views import NOVEL_VIEWS, NovelViewRow, NovelViewSettings
from ssl_core.evaluation.sections.retrieval import RETRIEVAL, RetrievalRow, RetrievalSettings
from ssl_core.evaluation.sections.robustness import ROBUSTNESS, RobustnessRow, RobustnessSettings
from ssl_core.evaluation.task_contract import Found, LeftOutError, Section, Subject

SECTIONS: tuple[Section[Any, Any], ...] = (RETRIEVAL, ROBUSTNESS, DRIFT, NOVEL_VIEWS, FINE_TUNING, COSTS)
"""in the order of the tables"""


class Sections(Config):
    """What is measured beside the probes; None is not measured. The default is what an evaluation without a person
    can afford on two cores."""

    retrieval: RetrievalSettings | None = RetrievalSettings()
    robustness: RobustnessSettings | None = RobustnessSettings()
    drift: DriftSettings | None = DriftSettings()
    costs: CostSettings | None = CostSettings()
    novel_views: NovelViewSettings | None = None
    fine_tuning: FineTuningSettings | None = None

    @property
    def steps(self) -> int:
        """As `EvaluationProgress` counts them."""
        return sum(section.steps(settings) for section, settings in self.asked())

    def asked(self) -> Iterator[tuple[Section[Any, Any], Any]]:
        """Sections with their settings; costs first, before anything else has warmed the machine."""
        for section in (SECTIONS[-1], *SECTIONS[:-1]):
            if (settings := getattr(self, section.name)) is not None:
                yield section, settings


NO_SECTIONS = Sections(retrieval=None, robustness=None, drift=None, costs=None)


class SectionReports(Config):
    """What the sections answer; accuracies and shares lie in [0, 1], None: not asked, or left out.

    `left_out` says of each that was asked for and is not there, why.
    """

    retrieval: tuple[RetrievalRow, ...] | None = None
    robustness: tuple[RobustnessRow, ...] | None = None
    drift: Drift | None = None
    costs: ModelCosts | None = None
    novel_views: tuple[NovelViewRow, ...] | None = None
    fine_tuning: tuple[FineTuningRow, ...] | None = None
    left_out: dict[str, str] = Field(default_factory=dict)

    def tables(self) -> list[Table]:
        """One per section that is there; accuracies in percent."""
        return [section.table(answer) for section, answer in self._there()]

    def metrics(self) -> dict[str, float]:
        """Names as MLflow takes them → means; costs in milliseconds, bytes and numbers."""
        return {name: value for section, answer in self._there() for name, value in section.metrics(answer).items()}

    def markdown(self) -> str:
        """All tables, then what was left out and why; empty when there is neither."""
        parts = []
        for title, heads, rows in self.tables():
            parts.append(f"### {title}\n\n{markdown_table(heads, rows)}")
        if self.left_out:
            named = (f"{name.replace('_', ' ')}: {reason}" for name, reason in sorted(self.left_out.items()))
            parts.append("Left out: " + "; ".join(named) + ".")
        return "\n\n".join(parts)

    def _there(self) -> Iterator[tuple[Section[Any, Any], Any]]:
        for section in SECTIONS:
            if answer := getattr(self, section.name):
                yield section, answer


def measure_sections(subject: Subject, sections: Sections) -> tuple[SectionReports, dict[str, bytes], dict[str, float]]:
    """Answers of those that are asked for, PNG pictures by file name, and the seconds that each section took."""
    answers: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    pictures: dict[str, bytes] = {}
    seconds: dict[str, float] = {}
    for section, settings in sections.asked():
        began, found = time.perf_counter(), Found()
        with subject.steps.block(section.name.replace("_", " "), section.steps(settings)):
            try:
                answers[section.name] = section.measure(subject, settings, found)
            except (LeftOutError, InfeasibleError, DivergedError, DataError) as error:
                left_out[section.name] = str(error)
            else:
                if found.left_out:
                    left_out[section.name] = "in part: " + "; ".join(found.left_out)
        pictures |= found.pictures
        seconds[section.name] = round(time.perf_counter() - began, 3)
    return SectionReports(**answers, left_out=left_out), pictures, seconds
