"""Which task measures models of a card: one file in `tasks/` each, and nothing else knows how.

A further kind of card is a case of `task_of` and, if its task is new, a member of `AnyReport` and `AnyConfig`; mypy
names what is missing.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, assert_never, get_args

from pydantic import Field, TypeAdapter, ValidationError
from torch import nn

from ssl_core.config import parse_json
from ssl_core.data.dataset import Dataset
from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.data.scene_pack import ScenePack
from ssl_core.errors import InfeasibleError, RegistryError
from ssl_core.evaluation.extract import ExtractionTimes
from ssl_core.evaluation.report import Report, TaskConfig
from ssl_core.evaluation.task_contract import Context, Evaluation, Task
from ssl_core.evaluation.tasks.dense_probing import evaluate_dense
from ssl_core.evaluation.tasks.dense_report import DenseProbingConfig, DenseProbingReport
from ssl_core.evaluation.tasks.old_reports import report_of_format_2
from ssl_core.evaluation.tasks.pose import PoseConfig, PoseReport, evaluate_pose
from ssl_core.evaluation.tasks.probing import evaluate_encoder
from ssl_core.evaluation.tasks.probing_report import EvaluationConfig, ProbingReport, full_protocol
from ssl_core.evaluation.tasks.reconstructing import evaluate_reconstructor
from ssl_core.evaluation.tasks.reconstruction_report import ReconstructionConfig, ReconstructionReport
from ssl_core.evaluation.tasks.scene_field import evaluate_field
from ssl_core.evaluation.tasks.scene_field_report import SceneFieldConfig, SceneFieldReport
from ssl_core.models.cards import Card, CardKind, ImageEncoderCard, PointEncoderCard
from ssl_core.models.dense_cards import DenseEncoderCard
from ssl_core.models.field_card import SceneFieldCard
from ssl_core.models.modes import device_of, threads
from ssl_core.models.reconstruction_cards import PoseEstimatorCard, ReconstructorCard

AnyConfig = EvaluationConfig | DenseProbingConfig | SceneFieldConfig | ReconstructionConfig | PoseConfig
_Reports = ProbingReport | DenseProbingReport | SceneFieldReport | ReconstructionReport | PoseReport
AnyReport = Annotated[_Reports, Field(discriminator="kind")]
_REPORT: TypeAdapter[_Reports] = TypeAdapter(AnyReport)


def task_of(card: Card) -> Task:
    """How models of the card are measured."""
    return _task(card.kind)


def task_named(kind: str) -> Task:
    """The same by the kind that a registered version names. Raises RegistryError for one that is not known here."""
    for known in get_args(CardKind):
        if kind == known:
            return _task(known)
    raise RegistryError(f"there is no evaluation of models of kind {kind[:40]!r} here; upgrade splatsweep")


def _task(kind: CardKind) -> Task:
    match kind:
        case "point_encoder" | "image_encoder":
            return PROBING
        case "dense_encoder":
            return DENSE_PROBING
        case "scene_field":
            return SCENE_FIELD
        case "reconstructor":
            return RECONSTRUCTION
        case "pose_estimator":
            return POSE
        case _:
            assert_never(kind)


def class_names(data: Dataset) -> tuple[str, ...]:
    """What labelled objects are told apart by; empty for a scene."""
    match data:
        case ObjectPack():
            return tuple(data.manifest.class_names)
        case ScenePack():
            return ()
        case _:
            assert_never(data)


def parse_report(content: str | bytes) -> _Reports:
    """A report from its JSON, also one that was written before reports knew of cards (format 2).

    Raises ValueError for anything else: the model has to be evaluated again.
    """
    values = parse_json(content)
    try:
        if values["format_version"] == 2:
            return report_of_format_2(values)
        return _REPORT.validate_python(values)
    except (KeyError, TypeError, ValidationError) as error:
        raise ValueError(f"no report of an evaluation: {error}") from None


def probing(
    model: nn.Module,
    card: Card,
    data: Dataset,
    config: TaskConfig,
    context: Context,
    times: ExtractionTimes | None = None,
) -> Evaluation[ProbingReport]:
    """`evaluate_encoder` where it applies. Raises InfeasibleError."""
    match card, data, config:
        case PointEncoderCard() | ImageEncoderCard(), ObjectPack(), EvaluationConfig():
            return evaluate_encoder(model, card, data, config, context, times)
        case _:
            raise InfeasibleError(_misfit(card, data, config, "objects"))


def _dense(model: nn.Module, card: Card, data: Dataset, config: TaskConfig, context: Context) -> Evaluation[Report]:
    match card, data, config:
        case DenseEncoderCard(), ScenePack(), DenseProbingConfig():
            with _one_thread(model):
                return evaluate_dense(model, card, data, config, context)
        case _:
            raise InfeasibleError(_misfit(card, data, config, "scenes"))


def _scene_field(
    model: nn.Module, card: Card, data: Dataset, config: TaskConfig, context: Context
) -> Evaluation[Report]:
    match card, data, config:
        case SceneFieldCard(), ScenePack(), SceneFieldConfig():
            return evaluate_field(model, card, data, config, context)
        case _:
            raise InfeasibleError(_misfit(card, data, config, "a scene"))


def _reconstruction(
    model: nn.Module, card: Card, data: Dataset, config: TaskConfig, context: Context
) -> Evaluation[Report]:
    match card, data, config:
        case ReconstructorCard(), ObjectPack(), ReconstructionConfig():
            with _one_thread(model):
                return evaluate_reconstructor(model, card, data, config, context)
        case _:
            raise InfeasibleError(_misfit(card, data, config, "objects"))


def _pose(model: nn.Module, card: Card, data: Dataset, config: TaskConfig, context: Context) -> Evaluation[Report]:
    match card, data, config:
        case PoseEstimatorCard(), ObjectPack(), PoseConfig():
            with _one_thread(model):
                return evaluate_pose(model, card, data, config, context)
        case _:
            raise InfeasibleError(_misfit(card, data, config, "objects"))


def _one_thread(model: nn.Module) -> AbstractContextManager[None]:
    """On the CPU: several evaluations that run side by side would wait for each other's threads."""
    return threads(1) if device_of(model).type == "cpu" else nullcontext()


def _misfit(card: Card, data: Dataset, config: TaskConfig, wanted: str) -> str:
    return (
        f"a {card.describe().title.lower()} is evaluated on a pack of {wanted} under its own protocol, not on "
        f"{data.path} under {type(config).__name__}; give --pack another pack"
    )


PROBING = Task(
    config=EvaluationConfig,
    full=full_protocol,
    without_training=lambda: full_protocol(fine_tuning=False),
    evaluate=probing,
)
DENSE_PROBING = Task(
    config=DenseProbingConfig, full=DenseProbingConfig, without_training=DenseProbingConfig, evaluate=_dense
)
SCENE_FIELD = Task(
    config=SceneFieldConfig, full=SceneFieldConfig, without_training=SceneFieldConfig, evaluate=_scene_field
)
RECONSTRUCTION = Task(
    config=ReconstructionConfig,
    full=ReconstructionConfig,
    without_training=ReconstructionConfig,
    evaluate=_reconstruction,
)
POSE = Task(config=PoseConfig, full=PoseConfig, without_training=PoseConfig, evaluate=_pose)
