"""What a task is: how models of one kind of card are measured. `ssl_core.evaluation.task.task_of` chooses."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from torch import nn

from ssl_core.data.dataset import Dataset
from ssl_core.evaluation.extract import FeatureCache
from ssl_core.evaluation.report import Report, TaskConfig, Tell, silent
from ssl_core.evaluation.sections.section import Companion
from ssl_core.models.cards import Card

R_co = TypeVar("R_co", bound=Report, covariant=True)


@dataclass(frozen=True)
class Context:
    """What surrounds an evaluation and changes no number in it.

    title: of pictures and progress. identity: of the model's bytes; what is computed with it is kept in `cache`, if
    both are there. companions: other models of the same trial. tell: told of every step.
    """

    title: str = "model"
    identity: str = ""
    cache: FeatureCache | None = None
    companions: tuple[Companion, ...] = ()
    tell: Tell = silent


@dataclass(frozen=True)
class Evaluation(Generic[R_co]):
    """The report, PNG pictures by file name, and further files as text by name."""

    report: R_co
    pictures: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


Evaluate = Callable[[nn.Module, Card, Dataset, TaskConfig, Context], Evaluation[Report]]


@dataclass(frozen=True)
class Task:
    """How models of a card are measured.

    config: the protocol that a gate asks for, by default. full: everything that can be measured. without_training: of
        that, what does not train.
    evaluate: (model on its device, card, data, config, context) → what was found. It leaves the model as it is, and
        raises InfeasibleError where the data cannot serve the card.
    """

    config: Callable[[], TaskConfig]
    full: Callable[[], TaskConfig]
    without_training: Callable[[], TaskConfig]
    evaluate: Evaluate
