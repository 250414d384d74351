"""Fine-tuning as a second evaluation: a report of frozen probes gets the section, and nothing else is measured again.

So the deciding numbers stay what they were, and a version's report holds both.
"""

import time
from contextlib import nullcontext

import numpy as np
from torch import nn

from ssl_core.data.dataset import Dataset
from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.features import FeatureSource, RawFeatures
from ssl_core.evaluation.fine_tuning_plan import FineTuningSettings
from ssl_core.evaluation.probe_grid import Labels
from ssl_core.evaluation.report import Report, Steps, TaskConfig
from ssl_core.evaluation.sections.all_sections import NO_SECTIONS, measure_sections
from ssl_core.evaluation.sections.fine_tuning import FINE_TUNING, words
from ssl_core.evaluation.task_contract import Context, Evaluation, Subject
from ssl_core.evaluation.tasks.probing_report import EvaluationConfig, ProbingReport
from ssl_core.models.cards import Card, ImageEncoderCard, PointEncoderCard
from ssl_core.models.modes import device_of, threads


def with_fine_tuning(config: TaskConfig, settings: FineTuningSettings) -> EvaluationConfig | None:
    """What is asked when fine-tuning is too; None for models that are not fine-tuned."""
    if not isinstance(config, EvaluationConfig):
        return None
    sections = config.sections.model_copy(update={"fine_tuning": settings})
    return config.model_copy(update={"sections": sections})


def without_fine_tuning(config: TaskConfig) -> EvaluationConfig | None:
    """The rest of what is asked; None where no fine-tuning is."""
    if not isinstance(config, EvaluationConfig) or config.sections.fine_tuning is None:
        return None
    sections = config.sections.model_copy(update={"fine_tuning": None})
    return config.model_copy(update={"sections": sections})


def was_fine_tuned(report: Report) -> bool:
    """Whether it says what fine-tuning gave; one for which there was no time says only that."""
    return isinstance(report, ProbingReport) and bool(report.sections.fine_tuning)


def fine_tuning_words(report: Report) -> str:
    """What fine-tuning gave, or why it gave nothing; empty where it was not asked for."""
    if not isinstance(report, ProbingReport):
        return ""
    rows = report.sections.fine_tuning
    if rows:
        return words(rows)
    reason = report.sections.left_out.get(FINE_TUNING.name, "")
    return f"not fine-tuned: {reason}" if reason else ""


def fine_tuned(
    model: nn.Module, card: Card, data: Dataset, config: TaskConfig, context: Context, before: Report
) -> Evaluation[Report]:
    """The report `before` with the fine-tuning that `config` asks for.

    Raises InfeasibleError where it is no report of an encoder, or of other data.
    """
    match card, data, config, before:
        case PointEncoderCard() | ImageEncoderCard(), ObjectPack(), EvaluationConfig(), ProbingReport():
            if before.data_digest != data.digest:
                raise InfeasibleError(f"the report is of pack {before.data_digest}, not of {data.digest}")
            return Evaluation(_extended(model, card, data, config, context, before))
        case _:
            raise InfeasibleError(f"a {card.describe().title.lower()} is not fine-tuned on {data.path}")


def _extended(
    model: nn.Module,
    card: PointEncoderCard | ImageEncoderCard,
    pack: ObjectPack,
    config: EvaluationConfig,
    context: Context,
    before: ProbingReport,
) -> ProbingReport:
    began, settings = time.perf_counter(), config.sections.fine_tuning
    train, test = pack.objects("train"), pack.objects("test")
    labels = Labels(pack.labels[train], pack.labels[test], len(pack.manifest.class_names))
    source = FeatureSource(pack, np.concatenate([train, test]), card, config, context.cache)
    asked = NO_SECTIONS.model_copy(update={"fine_tuning": settings})
    steps = Steps.planned(context.title, {"fine tuning": asked.steps}, context.tell)
    subject = Subject(model, card, context.identity, source, RawFeatures(), labels, steps)
    with threads(1) if device_of(model).type == "cpu" else nullcontext():
        found, _, seconds = measure_sections(subject, asked)
    sections = before.sections.model_copy(
        update={
            "fine_tuning": found.fine_tuning,
            "left_out": {**before.sections.left_out, **found.left_out},
        }
    )
    kept = before.config.sections.model_copy(update={"fine_tuning": settings})
    return before.model_copy(
        update={
            "config": before.config.model_copy(update={"sections": kept}),
            "sections": sections,
            "section_seconds": {**before.section_seconds, **seconds},
            "seconds": round(before.seconds + time.perf_counter() - began, 3),
        }
    )
