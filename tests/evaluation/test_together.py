"""Encoders measured together give what each gives alone; novel views are new, seeded, and stream."""

import numpy as np
import pytest
import torch

from ssl_core.data.cameras import orbit_cameras
from ssl_core.errors import ConfigError
from ssl_core.evaluation.extract import image_features, point_features
from ssl_core.evaluation.novel_views import novel_cameras, novel_views
from ssl_core.evaluation.robustness import DroppedPoints, Jitter, Turn
from ssl_core.evaluation.together import disturbed_point_features, features_together, view_features
from ssl_core.models.cards import encoder_card
from ssl_core.models.encoder import Encoder, ImageContract, PointsContract
from ssl_core.models.image import ResNetConfig
from ssl_core.models.pointnet import PointNetConfig

PLAIN = PointNetConfig(input_transform=False, feature_transform=False, feature_dim=32)


def point_encoder(seed: int, **contract) -> Encoder:
    return encoder_card(PointsContract(num_points=48, **contract), PLAIN).build(seed)


def image_encoder(seed: int, size: int = 20) -> Encoder:
    return encoder_card(ImageContract(image_size=size), ResNetConfig()).build(seed)


def test_together_is_as_alone_and_modes_stay(tiny_pack):
    first, second = point_encoder(0), point_encoder(1).train()
    batches = [torch.randn(size, 48, 3, generator=torch.Generator().manual_seed(size)) for size in (3, 2)]
    both = features_together([first, second], batches)
    assert second.training
    assert [found.shape for found in both] == [(5, 32), (5, 32)]
    for encoder, found in zip((first, second), both, strict=True):
        np.testing.assert_array_equal(features_together([encoder], batches)[0], found)


def test_a_disturbance_of_nothing_changes_nothing(tiny_pack):
    objects = tiny_pack.objects("test")
    encoder = point_encoder(0)
    almost = Jitter(sd=1e-6)
    clean = point_features(encoder, tiny_pack, objects, 2)
    np.testing.assert_allclose(disturbed_point_features([encoder], tiny_pack, objects, 2, almost)[0], clean, atol=1e-4)
    stronger = disturbed_point_features([encoder], tiny_pack, objects, 2, DroppedPoints(share=0.8))[0]
    assert np.abs(stronger - clean).max() > 1e-3


def test_encoder_and_twin_meet_the_same_disturbance(tiny_pack):
    objects = tiny_pack.objects("test")
    encoder, twin = point_encoder(0), point_encoder(1)
    turn = Turn(degrees=90)
    together = disturbed_point_features([encoder, twin], tiny_pack, objects, 0, turn)
    alone = disturbed_point_features([twin], tiny_pack, objects, 0, turn)[0]
    np.testing.assert_array_equal(together[1], alone)


def test_distances_do_not_turn(tiny_pack):
    """A rotation-invariant encoder is not moved by a turn: the disturbance does nothing else."""

    class Radii(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.weight * x[..., :3].norm(dim=-1).sort(dim=1).values

    encoder = Encoder(PointsContract(num_points=48), Radii(), 48)
    objects = tiny_pack.objects("test")
    found = disturbed_point_features([encoder], tiny_pack, objects, 0, Turn(degrees=180))[0]
    np.testing.assert_allclose(found, point_features(encoder, tiny_pack, objects, 0), atol=1e-5)


def test_views_of_a_stream_are_as_the_packs_own(tiny_pack):
    encoder, objects = image_encoder(0), tiny_pack.objects("test")
    stream = (tiny_pack.views_of(int(index)) for index in objects)
    found = view_features([encoder], stream)[0]
    np.testing.assert_allclose(found, image_features(encoder, tiny_pack, objects), atol=1e-5)


def test_unlike_encoders_are_refused(tiny_pack):
    objects = tiny_pack.objects("test")
    with pytest.raises(ConfigError, match="same input contract"):
        disturbed_point_features(
            [point_encoder(0), point_encoder(0, alpha_threshold=0.4)], tiny_pack, objects, 0, Jitter(sd=0.1)
        )
    with pytest.raises(ConfigError, match="image encoder"):
        disturbed_point_features([image_encoder(0)], tiny_pack, objects, 0, Jitter(sd=0.1))
    with pytest.raises(ConfigError, match="point encoder"):
        view_features([point_encoder(0)], [])


def test_novel_cameras_stand_where_no_packs_camera_stood():
    for camera in novel_cameras(16, 32, seed=0):
        height = np.degrees(np.arcsin(camera.position[2] / np.linalg.norm(camera.position)))
        assert not 5 < height < 55
    owned = [camera.position for camera in orbit_cameras(64, 32)]
    apart = [np.linalg.norm(np.array(owned) - camera.position, axis=1).min() for camera in novel_cameras(16, 32, 0)]
    assert min(apart) > 0.2
    assert (novel_cameras(4, 32, 0)[2].position == novel_cameras(9, 32, 0)[2].position).all()
    assert (novel_cameras(4, 32, 0)[0].position != novel_cameras(4, 32, 1)[0].position).any()


def test_novel_views_stream_and_repeat_themselves(tiny_pack):
    objects = tiny_pack.objects("test")[:2]
    stream = novel_views(tiny_pack, objects, views=3, image_size=16, seed=0)
    first = next(stream)
    assert first.shape == (3, 3, 16, 16)
    assert first.dtype == np.uint8
    assert first.min() < 200  # something is drawn
    again = list(novel_views(tiny_pack, objects, views=3, image_size=16, seed=0))
    np.testing.assert_array_equal(first, again[0])
    assert len(again) == 2
    assert (again[0] != next(novel_views(tiny_pack, objects, views=3, image_size=16, seed=1))).any()
    with pytest.raises(ConfigError, match="at least"):
        next(novel_views(tiny_pack, objects, views=0, image_size=16, seed=0))
