"""Networks of single images: the reference's sizes, what an angle means, what an alignment does."""

import math

import pytest
import torch

from ssl_core.errors import ConfigError
from ssl_core.models.reconstruction import (
    ImageFeatures,
    PoseNetwork,
    ReconCnnConfig,
    Reconstructor,
    ShapeNetwork,
    pose_angles,
)

torch.set_num_threads(1)
SMALL = ReconCnnConfig(bottleneck=16, width=0.1)


def test_they_have_the_released_numbers_of_weights():
    shape, pose = ShapeNetwork(64, 1024, ReconCnnConfig()), PoseNetwork(64, 1.0, "angles_tanh")
    counts = [sum(weight.numel() for weight in network.parameters()) for network in (shape, pose)]
    assert counts == [4_445_312, 1_470_402]


@pytest.mark.parametrize("size", [32, 64, 128])
def test_any_size_gives_a_cloud_and_an_embedding(size):
    network, images = ShapeNetwork(size, 20, SMALL), torch.rand(2, 3, size, size)
    xyz, rgb = network(images)
    assert xyz.shape == rgb.shape == (2, 20, 3)
    assert ((rgb >= 0) & (rgb <= 1)).all()
    assert network.embedding(images).shape == (2, SMALL.feature_dim)
    torch.testing.assert_close(network.decoded(network.embedding(images))[0], xyz)


def test_a_size_that_it_cannot_read_is_refused():
    for size in (8, 2048):
        with pytest.raises(ConfigError, match="16 to 128 pixels"):
            ImageFeatures(size, SMALL)


def test_angles_are_what_each_representation_says():
    azimuth, elevation = torch.tensor([-3.0, 0.4, 2.0]), torch.tensor([-0.3, 0.0, 1.2])
    tanh = torch.stack((azimuth, elevation), dim=1).div(math.pi).atanh()
    run = elevation.cos().expm1().log()  # softplus of it is the cosine
    sincos = torch.stack((2 * azimuth.sin(), 2 * azimuth.cos(), elevation.sin(), run), dim=1)
    (sa, ca), (se, ce) = ((each.sin(), each.cos()) for each in (azimuth / 2, -elevation / 2))
    turned = torch.stack((ca * ce, -sa * se, ca * se, sa * ce), dim=1)  # about z by azimuth after y by -elevation
    wanted = torch.stack((azimuth, elevation), dim=1)
    for raw, representation in ((tanh, "angles_tanh"), (sincos, "sincos"), (3 * turned, "quaternion")):
        torch.testing.assert_close(pose_angles(raw, representation), wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("representation", ["angles_tanh", "sincos", "quaternion"])
def test_gradients_of_poses_reach_every_weight_and_are_finite(representation):
    network = PoseNetwork(32, 0.1, representation)
    network(torch.rand(3, 3, 32, 32)).square().sum().backward()
    assert all(torch.isfinite(weight.grad).all() for weight in network.parameters())
    assert any(weight.grad.abs().sum() > 0 for weight in network.trunk.parameters())


def test_the_alignment_turns_points_and_leaves_colours():
    network, images = ShapeNetwork(32, 12, SMALL), torch.rand(2, 3, 32, 32)
    turn = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    plain, turned = Reconstructor(network)(images), Reconstructor(network, turn)(images)
    torch.testing.assert_close(turned[..., 0], -plain[..., 1])
    torch.testing.assert_close(turned[..., 1], plain[..., 0])
    assert torch.equal(turned[..., 2:], plain[..., 2:])
    assert "alignment" in Reconstructor(network).state_dict()


def test_a_bottleneck_that_is_not_rectified_tells_images_apart_where_a_rectified_one_has_died() -> None:
    images = torch.rand(4, 3, 32, 32)
    for latent, clouds in (("relu", 1), ("linear", 4)):
        network = ShapeNetwork(32, 16, ReconCnnConfig(bottleneck=8, width=0.1, latent=latent))
        with torch.no_grad():
            network.features.latent.bias -= 100
            points = network(images)[0]
        assert len(points.flatten(1).unique(dim=0)) == clouds
    assert ReconCnnConfig.from_json('{"kind": "recon_cnn"}').latent == "relu"
