"""Fine-tuning learns, repeats itself, leaves the given encoder alone, and streams every object once."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from ssl_core.contracts import ImageContract, PointsContract
from ssl_core.errors import DivergedError, InfeasibleError
from ssl_core.evaluation.features import FeatureSource
from ssl_core.evaluation.fine_tune import FineTuningConfig, fine_tune
from ssl_core.evaluation.supervised_data import _steps, supervised_data
from ssl_core.evaluation.tasks.probing_report import EvaluationConfig
from ssl_core.models.cards import encoder_card
from ssl_core.models.image import ResNetConfig
from ssl_core.models.pointnet import PointNetConfig

POINT_CARD = encoder_card(
    PointsContract(num_points=64), PointNetConfig(input_transform=False, feature_transform=False, feature_dim=64)
)
IMAGE_CARD = encoder_card(ImageContract(image_size=24), ResNetConfig(kind="resnet18"))
CONFIG = FineTuningConfig(epochs=8, batch_size=8, test_draws=2, test_views=3)


def source(pack, card) -> FeatureSource:
    objects = np.concatenate([pack.objects("train"), pack.objects("test")])
    return FeatureSource(pack, objects, card, EvaluationConfig())


class Blobs:
    """Two-point clouds whose class is where they lie."""

    steps = 2

    def train_batches(self, epoch: int):
        rng = np.random.default_rng([7, epoch])
        for labels in np.array_split(rng.permutation(np.arange(24) % 3), self.steps):
            yield self.inputs(labels, rng), torch.from_numpy(labels)

    def test_batches(self):
        rng = np.random.default_rng(8)
        for labels in np.array_split(self.test_labels(), 4):
            yield torch.stack([self.inputs(labels, rng), self.inputs(labels, rng)], dim=1)

    def test_labels(self) -> np.ndarray:
        return np.arange(30) % 3

    def inputs(self, labels: np.ndarray, rng: np.random.Generator) -> Tensor:
        corners = np.eye(3)[labels][:, None]
        return torch.from_numpy((corners + 0.1 * rng.normal(size=(len(labels), 16, 3))).astype(np.float32))


def test_it_learns_what_can_be_learned():
    data = Blobs()
    tuned = fine_tune(POINT_CARD.build(0), (64, 3), data, CONFIG, seed=0)
    assert (tuned.predictions == data.test_labels()).all()
    assert len(tuned.curve) == CONFIG.epochs
    assert tuned.curve[-1].loss < tuned.curve[0].loss
    assert tuned.curve[-1].accuracy == 1.0


def test_the_same_seed_gives_the_same_and_the_given_encoder_stays():
    encoder = POINT_CARD.build(0).train()
    encoder.requires_grad_(False)
    before = copy.deepcopy(encoder.state_dict())
    global_state = torch.random.get_rng_state()
    first, again = (fine_tune(encoder, (64, 3), Blobs(), CONFIG, seed=1) for _ in range(2))
    other = fine_tune(encoder, (64, 3), Blobs(), CONFIG, seed=2)
    assert first.curve == again.curve
    assert (first.predictions == again.predictions).all()
    assert first.curve != other.curve
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
    assert encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert torch.equal(global_state, torch.random.get_rng_state())


def test_the_control_learns_at_the_heads_rate():
    assert FineTuningConfig(lr=1e-4, head_lr=1e-3).from_scratch().lr == 1e-3
    assert FineTuningConfig(lr=1e-2, head_lr=1e-3).from_scratch().lr == 1e-2


def test_a_diverging_loss_stops_it():
    class Broken(Blobs):
        def inputs(self, labels: np.ndarray, rng: np.random.Generator) -> Tensor:
            return super().inputs(labels, rng) * float("nan")

    with pytest.raises(DivergedError, match="lower lr"):
        fine_tune(POINT_CARD.build(0), (64, 3), Broken(), CONFIG, seed=0)


@pytest.mark.parametrize(("objects", "batch", "sizes"), [(3, 2, [3]), (5, 2, [3, 2]), (50, 32, [25, 25]), (2, 32, [2])])
def test_no_object_is_left_out_and_none_stands_alone(objects, batch, sizes):
    assert [len(part) for part in np.array_split(np.arange(objects), _steps(objects, batch))] == sizes


@pytest.mark.parametrize("card", [POINT_CARD, IMAGE_CARD], ids=["points", "image"])
def test_a_packs_objects_stream_once_an_epoch(tiny_pack, card):
    train, test = tiny_pack.objects("train"), tiny_pack.objects("test")
    data = supervised_data(source(tiny_pack, card), train, test, CONFIG, seed=3)
    epochs = [list(data.train_batches(epoch)) for epoch in (0, 0, 1)]
    assert all(len(batches) == data.steps == 3 for batches in epochs)
    for batches in epochs:
        labels = torch.cat([labels for _, labels in batches])
        assert sorted(labels.tolist()) == sorted(tiny_pack.labels[train].tolist())
    first, again, other = (torch.cat([inputs for inputs, _ in batches]) for batches in epochs)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    repeats = CONFIG.test_draws if card is POINT_CARD else CONFIG.test_views
    shapes = [batch.shape[:2] for batch in data.test_batches()]
    assert sum(shape[0] for shape in shapes) == len(test)
    assert {shape[1] for shape in shapes} == {repeats}


@pytest.mark.parametrize(("card", "epochs"), [(POINT_CARD, 6), (IMAGE_CARD, 2)])
def test_a_pack_is_learned_from(tiny_pack, card, epochs):
    train, test = tiny_pack.objects("train"), tiny_pack.objects("test")
    config = CONFIG.model_copy(update={"epochs": epochs})
    data = supervised_data(source(tiny_pack, card), train, test, config, seed=0)
    tuned = fine_tune(card.build(0), (card.backbone.feature_dim, 3), data, config, seed=0)
    assert tuned.predictions.shape == (len(test),)
    assert set(tuned.predictions.tolist()) <= {0, 1, 2}
    assert tuned.curve[-1].accuracy > 0.5


def test_too_few_labels_are_refused(tiny_pack):
    test = tiny_pack.objects("test")
    with pytest.raises(InfeasibleError, match="two labelled objects"):
        supervised_data(source(tiny_pack, POINT_CARD), test[:1], test, CONFIG, seed=0)
