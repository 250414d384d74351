"""What fine-tuning trains of an encoder, from which weights, on which inputs; and its control.

* **An encoder** whose weights are its own is trained whole. Its control is the same network from random weights
  without what pretraining put over it (`card.untrained()`): one architecture under one contract has one control,
  whatever is read out.
* **A read-out over a network that was never trained** (an ImageNet network under an adapter) is trained alone, over
  that network's features, which are computed once. Its control is the same read-out from random weights over the same
  network: what the pretraining added, not what ImageNet did.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ssl_core.evaluation.features import FeatureSource
from ssl_core.evaluation.fine_tune import FineTuningConfig
from ssl_core.evaluation.frozen_network import frozen_identity, frozen_network, random_read_out
from ssl_core.evaluation.supervised_data import SupervisedData, SupervisedFeatures, supervised_data
from ssl_core.evaluation.task_contract import LeftOutError, Subject
from ssl_core.models.cards import ImageEncoderCard
from ssl_core.models.modes import device_of

Trained = Literal["encoder", "read-out"]
Chosen = NDArray[np.int64]
"""places among the training objects"""


@dataclass(frozen=True)
class Learner:
    """One side: the pretrained model, or its control.

    identity: of its weights; empty: nothing computed with it is kept. start: by seed of training, on its device.
    width: of its features.
    """

    identity: str
    start: Callable[[int], nn.Module]
    width: int


@dataclass(frozen=True)
class LearnerPair:
    """Both sides, and the data of a training: (labelled, config, seed) → batches."""

    trained: Trained
    own: Learner
    control: Learner
    data: Callable[[Chosen, FineTuningConfig, int], SupervisedData]


def pair_of(subject: Subject) -> LearnerPair:
    """What is compared for an encoder. Raises LeftOutError where nothing of it can be trained."""
    if isinstance(subject.card, ImageEncoderCard) and subject.card.frozen_backbone:
        return _read_out(subject, subject.card)
    return _whole(subject)


def _whole(subject: Subject) -> LearnerPair:
    device, control = device_of(subject.encoder), subject.card.untrained()

    def data(chosen: Chosen, config: FineTuningConfig, seed: int) -> SupervisedData:
        return supervised_data(subject.source, subject.train[chosen], subject.test, config, seed)

    return LearnerPair(
        "encoder",
        Learner(subject.identity, lambda seed: subject.encoder, subject.card.output_shape[0]),
        Learner(
            f"from scratch {control.digest()}", lambda seed: control.build(seed).to(device), control.output_shape[0]
        ),
        data,
    )


def _read_out(subject: Subject, card: ImageEncoderCard) -> LearnerPair:
    device, parts = device_of(subject.encoder), frozen_network(card, subject.encoder)
    if parts is None or not any(True for _ in parts.read.parameters()):
        raise LeftOutError("its network was not trained, and nothing over it can be")
    identity = frozen_identity(parts.network)
    features = subject.source.raw(parts.network, identity, steps=subject.steps).views
    assert features is not None, "an image encoder has views"
    places = np.arange(len(subject.source.objects))
    train, test = places[: len(subject.labels.train)], places[len(subject.labels.train) :]

    def data(chosen: Chosen, config: FineTuningConfig, seed: int) -> SupervisedData:
        return SupervisedFeatures(features, subject.labels.train, train[chosen], test, config, seed)

    width = card.output_shape[0]
    return LearnerPair(
        "read-out",
        Learner(subject.identity, lambda seed: parts.read, width),
        Learner(
            f"from scratch {card.digest()} over {identity}", lambda seed: random_read_out(card, seed).to(device), width
        ),
        data,
    )


def trainings_source(source: FeatureSource) -> FeatureSource:
    """The same objects, with results of trainings kept beside the features and not among them: they cost more and hold
    less, so features that crowd each other out leave them alone."""
    cache = None if source.cache is None else source.cache.beside("trainings")
    return FeatureSource(source.pack, source.objects, source.card, source.config, cache)
