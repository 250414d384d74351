"""What the sections of an evaluation measure: an encoder with its features, objects and labels."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from registry.evaluation.features import FeatureSource, RawFeatures
from registry.evaluation.probing import Labels, most_labelled
from registry.evaluation.protocol import EvaluationConfig, LabelSetting
from ssl_core.data.pack import Pack
from ssl_core.errors import SplatsweepError
from ssl_core.models.encoder import Encoder


@dataclass(frozen=True)
class Partner:
    """The encoder of the other modality that was trained with this one; `identity` as of `FeatureSource.raw`."""

    encoder: Encoder
    identity: str = ""


@dataclass(frozen=True)
class Subject:
    """One encoder under evaluation.

    source: of train and test objects, train first. raw: the encoder's features of them.
    fresh: seed → the same architecture with random weights; None: it cannot be built.
    """

    encoder: Encoder
    identity: str
    source: FeatureSource
    raw: RawFeatures
    labels: Labels
    title: str = "encoder"
    fresh: Callable[[int], Encoder] | None = None
    partner: Partner | None = None

    @property
    def pack(self) -> Pack:
        """What is read."""
        return self.source.pack

    @property
    def config(self) -> EvaluationConfig:
        """The protocol."""
        return self.source.config

    @property
    def train(self) -> NDArray[np.int64]:
        """Indices of the training objects."""
        return self.source.objects[: len(self.labels.train)]

    @property
    def test(self) -> NDArray[np.int64]:
        """Indices of the test objects."""
        return self.source.objects[len(self.labels.train) :]

    @property
    def most_labels(self) -> LabelSetting:
        """The setting under which a probe sees most."""
        return most_labelled(self.config, self.labels)

    def test_source(self) -> FeatureSource:
        """Of the test objects alone, with the same cache and log."""
        source = self.source
        return FeatureSource(source.pack, self.test, source.contract, source.config, source.cache, source.log)


@dataclass
class Found:
    """What a section gives besides its rows: PNG pictures by file name, and what it left out and why."""

    pictures: dict[str, bytes] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


class LeftOutError(SplatsweepError):
    """A section that was asked for and cannot be measured; the text says why. It ends in the report."""
