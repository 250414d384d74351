"""All sections of an evaluation, one after the other. What cannot be measured is left out, and the report says why."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from registry.evaluation.section_reports import SectionReports
from registry.evaluation.sections.fine_tuning import measure_fine_tuning
from registry.evaluation.sections.novel_views import measure_novel_views
from registry.evaluation.sections.retrieval import measure_retrieval
from registry.evaluation.sections.robustness import measure_robustness
from registry.evaluation.sections.subject import Found, LeftOutError, Subject
from ssl_core.errors import DataError, DivergedError, InfeasibleError
from ssl_core.evaluation.costs import encoder_costs


@dataclass(frozen=True)
class Measured:
    """The sections' answers, PNG pictures by file name, and the seconds each section took."""

    reports: SectionReports
    pictures: dict[str, bytes] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def measure_sections(subject: Subject) -> Measured:
    """Those that the subject's config asks for."""
    asked, found = subject.config.sections, Found()
    work: dict[str, Callable[[], Any]] = {}
    if (costs := asked.costs) is not None:
        work["costs"] = lambda: encoder_costs(subject.encoder, batches=costs.batches, seconds=costs.seconds)
    if (retrieval := asked.retrieval) is not None:
        work["retrieval"] = lambda: measure_retrieval(subject, retrieval, found)
    if (robustness := asked.robustness) is not None:
        work["robustness"] = lambda: measure_robustness(subject, robustness, found)
    if (novel := asked.novel_views) is not None:
        work["novel_views"] = lambda: measure_novel_views(subject, novel)
    if (tuning := asked.fine_tuning) is not None:
        work["fine_tuning"] = lambda: measure_fine_tuning(subject, tuning)
    answers: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    seconds: dict[str, float] = {}
    for name, measure in work.items():
        began = time.perf_counter()
        found.left_out.clear()
        try:
            answers[name] = measure()
        except (LeftOutError, InfeasibleError, DivergedError, DataError) as error:
            left_out[name] = str(error)
        else:
            if found.left_out:
                left_out[name] = "in part: " + "; ".join(found.left_out)
        seconds[name] = round(time.perf_counter() - began, 3)
    return Measured(SectionReports(**answers, left_out=left_out), found.pictures, seconds)
