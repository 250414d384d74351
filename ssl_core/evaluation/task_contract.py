"""What a task is: how models of one kind of card are measured (`ssl_core.evaluation.task.task_of` chooses); and what a
section of it is: a measurement beside the probes, with its table and its metrics.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ssl_core.data.dataset import Dataset
from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.errors import SplatsweepError
from ssl_core.evaluation.extract import FeatureCache, Features
from ssl_core.evaluation.features import EncoderCard, FeatureSource, RawFeatures, whole
from ssl_core.evaluation.probe_grid import Labels, labelled, most_labelled
from ssl_core.evaluation.probes import linear_svm
from ssl_core.evaluation.protocol import LabelSetting, ProbingConfig
from ssl_core.evaluation.report import Report, Steps, Table, TaskConfig, Tell, silent
from ssl_core.models.cards import Card

S = TypeVar("S")
R = TypeVar("R")


@dataclass(frozen=True)
class Companion:
    """Another model that was trained together with the one under evaluation.

    identity: of its bytes; empty: nothing computed with it is kept.
    """

    model: nn.Module
    card: Card
    identity: str = ""


@dataclass(frozen=True)
class Subject:
    """One encoder under evaluation.

    source: of train and test objects, train first. raw: the encoder's features of them. steps: told of what is done.
    """

    encoder: nn.Module
    card: EncoderCard
    identity: str
    source: FeatureSource
    raw: RawFeatures
    labels: Labels
    steps: Steps
    companions: tuple[Companion, ...] = ()

    @property
    def pack(self) -> ObjectPack:
        return self.source.pack

    @property
    def config(self) -> ProbingConfig:
        return self.source.config

    @property
    def train(self) -> NDArray[np.int64]:
        return self.source.objects[: len(self.labels.train)]

    @property
    def test(self) -> NDArray[np.int64]:
        return self.source.objects[len(self.labels.train) :]

    @property
    def most_labels(self) -> LabelSetting:
        return most_labelled(self.config, self.labels)

    @property
    def features(self) -> Features:
        """[objects, F], train then test: of the first point draw, or of all views by their maximum."""
        return whole(self.raw)

    def svm_correct(self, setting: LabelSetting, train: Features, tests: Sequence[Features]) -> NDArray[np.float64]:
        """[label draws, versions, test objects] 1 where the SVM fitted on `train` [n, F] was right.

        `tests` are versions of the test objects, [m, F] each; all are asked of the one SVM of a draw.
        """
        labels, shape = self.labels, (len(tests), len(self.labels.test))
        right, truth = np.zeros((setting.draws, *shape)), np.tile(labels.test, len(tests))
        for draw in range(setting.draws):
            chosen = labelled(labels, setting, self.config, draw)
            fitted = linear_svm(train[chosen], labels.train[chosen], np.concatenate(tests), truth, C=self.config.svm_c)
            right[draw] = (fitted.predictions == truth).reshape(shape)
        return right

    def test_source(self) -> FeatureSource:
        """Of the test objects alone, with the same cache and log."""
        source = self.source
        return FeatureSource(source.pack, self.test, source.card, source.config, source.cache, source.log)


@dataclass
class Found:
    """What a section gives besides its rows: PNG pictures by file name, and what it left out and why."""

    pictures: dict[str, bytes] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


class LeftOutError(SplatsweepError):
    """A section that was asked for and cannot be measured; the text says why. It ends in the report."""


@dataclass(frozen=True)
class Section(Generic[S, R]):
    """One section: `S` are its settings, `R` what it answers.

    name: of the fields of `Sections` and `SectionReports`.
    steps: as `EvaluationProgress` counts them, for the settings.
    measure: None where the card has no such thing. Raises LeftOutError, InfeasibleError, DivergedError or DataError
        where it cannot.
    """

    name: str
    steps: Callable[[S], int]
    measure: Callable[[Subject, S, Found], R | None]
    table: Callable[[R], Table]
    metrics: Callable[[R], dict[str, float]]


def plain(text: str) -> str:
    """Part of a metric's name: letters, digits, dots and underscores."""
    named = text.replace("%", "percent").replace("°", "_degrees")
    return re.sub(r"[^A-Za-z0-9.]+", "_", named).strip("_")


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
