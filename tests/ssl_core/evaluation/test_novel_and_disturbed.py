"""A disturbance does what it says and no more; novel views are new, seeded, and stream."""

import numpy as np
import torch

from ssl_core.contracts import PointsContract
from ssl_core.data.point_sampler import PointSampler
from ssl_core.evaluation.extract import point_features
from ssl_core.evaluation.sections.novel_views import novel_cameras, novel_views
from ssl_core.evaluation.sections.robustness import DroppedPoints, Jitter, Turn, disturbed_point_features
from ssl_core.models.build import Encoder
from ssl_core.models.cards import encoder_card
from ssl_core.models.pointnet import PointNetConfig
from ssl_core.scenes.cameras import orbit_cameras

CONTRACT = PointsContract(num_points=48)
PLAIN = PointNetConfig(input_transform=False, feature_transform=False, feature_dim=32)


def test_a_disturbance_of_nothing_changes_nothing(tiny_pack):
    objects = tiny_pack.objects("test")
    encoder, sampler = encoder_card(CONTRACT, PLAIN).build(0), PointSampler(tiny_pack, CONTRACT, objects)
    clean = point_features(encoder, sampler, objects, 2)
    almost = disturbed_point_features(encoder, sampler, objects, 2, Jitter(sd=1e-6))
    np.testing.assert_allclose(almost, clean, atol=1e-4)
    stronger = disturbed_point_features(encoder, sampler, objects, 2, DroppedPoints(share=0.8))
    assert np.abs(stronger - clean).max() > 1e-3


def test_distances_do_not_turn(tiny_pack):
    """A rotation-invariant encoder is not moved by a turn: the disturbance does nothing else."""

    class Radii(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.weight * x[..., :3].norm(dim=-1).sort(dim=1).values

    encoder = Encoder(CONTRACT, Radii(), 48)
    objects = tiny_pack.objects("test")
    sampler = PointSampler(tiny_pack, CONTRACT, objects)
    found = disturbed_point_features(encoder, sampler, objects, 0, Turn(degrees=180))
    np.testing.assert_allclose(found, point_features(encoder, sampler, objects, 0), atol=1e-5)


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
