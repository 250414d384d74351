"""Features of single points: they pool to what the network gives, and move with their points."""

import copy

import pytest
import torch

from ssl_core.models.dgcnn import DGCNN, DGCNNConfig
from ssl_core.models.pointnet import PointNet, PointNetConfig

NETWORKS = [
    lambda: PointNet(5, PointNetConfig(feature_dim=24)),
    lambda: PointNet(5, PointNetConfig(feature_dim=24, input_transform=False, feature_transform=False)),
    lambda: DGCNN(5, DGCNNConfig(k=4, feature_dim=24)),
]


@pytest.mark.parametrize("make", NETWORKS)
@pytest.mark.parametrize("training", [True, False])
def test_points_pool_to_what_the_network_gives_with_the_same_gradients(make, training: bool) -> None:
    torch.manual_seed(0)
    network = make().train(training)
    with torch.no_grad():
        network.pooled.norm.weight.copy_(torch.randn(24))  # of both signs
    twin, x = copy.deepcopy(network), torch.randn(4, 30, 5)
    rows, pooled, _ = network.point_features(x)
    assert rows.shape == (4, 30, 24)
    torch.testing.assert_close(pooled, rows.amax(dim=1))
    usual = twin(x)
    torch.testing.assert_close(pooled, usual, rtol=1e-4, atol=1e-4)
    for (name, a), b in zip(network.state_dict().items(), twin.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, msg=name)
    pooled.square().sum().backward()
    usual.square().sum().backward()
    largest = max(float(p.grad.abs().max()) for p in twin.parameters() if p.grad is not None)
    for a, b in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-4 * largest)


@pytest.mark.parametrize("make", NETWORKS)
def test_features_move_with_their_points(make) -> None:
    torch.manual_seed(0)
    network, x, order = make().eval(), torch.randn(2, 30, 5), torch.randperm(30)
    with torch.no_grad():
        rows, pooled, _ = network.point_features(x)
        moved, again, _ = network.point_features(x[:, order])
    torch.testing.assert_close(moved, rows[:, order], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(again, pooled, rtol=1e-4, atol=1e-5)
