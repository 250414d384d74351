"""Costs: counted where they can be counted, and measured without touching anything."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssl_core.contracts import ImageContract, PointsContract
from ssl_core.evaluation.sections.costs import ModelCosts, median_interval, model_costs
from ssl_core.models.cards import encoder_card
from ssl_core.models.image import ResNetConfig
from ssl_core.models.pointnet import PointNetConfig


class Doubled(nn.Module):
    """[B, N, 3] -> [B, 1]; holds the input, twice the input and its square at the worst moment."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1,), 2.0))

    def forward(self, x: Tensor) -> Tensor:
        twice = x * self.weight
        square = twice * twice
        del twice
        return square.sum(dim=(1, 2))[:, None]


def test_memory_is_counted():
    card = encoder_card(PointsContract(num_points=100), PointNetConfig())
    costs = model_costs(Doubled(), card, batches=(1, 10), seconds=0.01)
    whole = 10 * 100 * 3 * 4
    assert costs.peak_batch == 10
    assert costs.peak_bytes == 3 * whole
    assert costs.parameters == 1
    assert costs.weight_bytes == 4


@pytest.mark.parametrize(
    "card",
    [
        encoder_card(PointsContract(num_points=64), PointNetConfig(feature_dim=32)),
        encoder_card(ImageContract(image_size=24), ResNetConfig()),
    ],
    ids=["points", "image"],
)
def test_costs_of_real_encoders(card):
    encoder = card.build(0).train()
    before, state, threads = encoder.state_dict(), torch.random.get_rng_state(), torch.get_num_threads()
    before = {name: value.clone() for name, value in before.items()}
    costs, again = (model_costs(encoder, card, batches=(1, 4), seconds=0.02) for _ in range(2))
    assert encoder.training
    assert torch.get_num_threads() == threads
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
    assert costs.parameters == sum(parameter.numel() for parameter in encoder.parameters())
    assert costs.weight_bytes >= 4 * costs.parameters
    assert costs.peak_bytes == again.peak_bytes > 4 * 64 * 3 * 4
    assert [latency.batch for latency in costs.latencies] == [1, 4]
    for latency in costs.latencies:
        assert 0 < latency.low_ms <= latency.median_ms <= latency.high_ms
        assert latency.repeats >= 6
    assert ModelCosts.from_json(costs.to_json()) == costs


def test_the_interval_holds_the_median_as_often_as_it_says():
    rng = np.random.default_rng(0)
    truth, held = np.log(2), 0
    for _ in range(1000):
        median, low, high = median_interval(rng.exponential(size=12).tolist())
        assert low <= median <= high
        held += low <= truth <= high
    assert held >= 940


def test_six_values_are_held_between_their_ends():
    assert median_interval([3.0, 1.0, 2.0, 6.0, 5.0, 4.0]) == (3.5, 1.0, 6.0)
