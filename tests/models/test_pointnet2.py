"""PointNet++ against its plain statement, and its centres."""

import numpy as np
import pytest
import torch

from ssl_core.models.neighbours import farthest_points, gather_rows
from ssl_core.models.pointnet2 import PointNet2, PointNet2MSGConfig, PointNet2SSGConfig
from ssl_core.models.reference_keys import to_reference
from tests.models.test_pointnet import arrays, shaken
from tests.reference.plain_pointnet2 import plain_pointnet2_msg

torch.set_num_threads(1)


def clouds(batch: int, points: int, columns: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    x = torch.randn(batch, points, columns, dtype=dtype, generator=torch.Generator().manual_seed(seed))
    x[..., :3] /= x[..., :3].norm(dim=-1, keepdim=True).amax(1, keepdim=True)
    return x


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("columns", [3, 10])
def test_multi_scale_agrees_with_the_plain_statement(columns: int, training: bool) -> None:
    model = shaken(PointNet2(columns, PointNet2MSGConfig()).double()).train(training)
    state = arrays(to_reference("pointnet2_msg", model.state_dict()))
    x = clouds(2, 50, columns)
    with torch.no_grad():
        ours = model(x).numpy()
    np.testing.assert_allclose(
        ours, plain_pointnet2_msg(state, x.numpy(), batch_statistics=training), atol=1e-8, rtol=1e-7
    )


def test_agrees_where_there_are_more_points_than_centres() -> None:
    torch.manual_seed(0)
    model = PointNet2(3, PointNet2MSGConfig(centres_1=40, centres_2=12)).eval()
    x = clouds(2, 90, 3, dtype=torch.float32)
    with torch.no_grad():
        ours = model(x).numpy()
    state = arrays(to_reference("pointnet2_msg", model.state_dict()))
    np.testing.assert_allclose(ours, plain_pointnet2_msg(state, x.numpy(), centres=(40, 12)), atol=1e-5)


@pytest.mark.slow
def test_agrees_at_full_size() -> None:
    torch.manual_seed(0)
    model = PointNet2(10, PointNet2MSGConfig()).eval()
    x = clouds(1, 700, 10, dtype=torch.float32)
    with torch.no_grad():
        ours = model(x).numpy()
    plain = plain_pointnet2_msg(arrays(to_reference("pointnet2_msg", model.state_dict())), x.numpy())
    np.testing.assert_allclose(ours, plain, atol=1e-5)


def test_prefix_and_search_agree_on_points_in_farthest_point_order() -> None:
    x = clouds(2, 96, 6, dtype=torch.float32)
    ordered = gather_rows(x, farthest_points(x[..., :3], 96))
    prefix = shaken(PointNet2(6, PointNet2SSGConfig(centres_1=32, centres_2=8))).eval()
    search = PointNet2(6, PointNet2SSGConfig(centres="fps", centres_1=32, centres_2=8)).eval()
    search.load_state_dict(prefix.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(search(ordered), prefix(ordered))
        assert not torch.allclose(search(x), prefix(x)), "the order must matter to the prefix"


def test_features_before_relative_xyz() -> None:
    """The first layer's columns: attributes first, then xyz relative to the centre."""
    model = PointNet2(5, PointNet2SSGConfig(centres_1=16, centres_2=4)).eval()
    layer = model.local_1.scales[0].grouped
    with torch.no_grad():
        layer.linear.weight[:, :2] = 0
        x = clouds(1, 40, 5, dtype=torch.float32)
        other = x.clone()
        other[..., 3:] += 1
        torch.testing.assert_close(model(x), model(other))
        moved = x.clone()
        moved[..., :3] = x[..., :3] * 0.5
        assert not torch.allclose(model(x), model(moved))


def test_single_scale_widths() -> None:
    model = PointNet2(3, PointNet2SSGConfig(feature_dim=96))
    assert model.local_1.out == 128
    assert model.local_2.out == 256
    assert [tuple(p.shape[:2]) for n, p in model.all_points.named_parameters() if n.endswith("linear.weight")] == [
        (256, 259),
        (512, 256),
        (96, 512),
    ]
