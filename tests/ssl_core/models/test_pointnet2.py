"""PointNet++ against its plain statement and the usual order of operations, and its centres."""

import copy

import numpy as np
import pytest
import torch

from ssl_core.contracts import PointsContract
from ssl_core.data.point_sampler import PointSampler
from ssl_core.models.neighbours import farthest_points, gather_rows
from ssl_core.models.pointnet2 import PointNet2, PointNet2MSGConfig, PointNet2SSGConfig
from ssl_core.models.reference_checkpoint import to_reference
from tests.reference.plain_pointnet2 import plain_pointnet2_msg
from tests.reference.small_pack import small_pack
from tests.reference.usual_pointnet2 import usual_pointnet2
from tests.ssl_core.models.test_pointnet import arrays, shaken

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


def in_order(x: torch.Tensor) -> torch.Tensor:
    """The same clouds in farthest-point order."""
    return gather_rows(x, farthest_points(x[..., :3], x.shape[1]))


def both_ways(model: PointNet2, x: torch.Tensor) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Output, gradients of all parameters and of the input, and statistics: ours, and in the usual order."""
    results = []
    for compute in (lambda module, leaf: module(leaf), usual_pointnet2):
        twin, leaf = copy.deepcopy(model), x.clone().requires_grad_()
        out = compute(twin, leaf)
        direction = torch.randn(out.shape, generator=torch.Generator().manual_seed(7)).to(out)
        (out * direction).mean().backward()
        grads = {name: parameter.grad for name, parameter in twin.named_parameters()}
        statistics = {name: value for name, value in twin.named_buffers() if "num_batches" not in name}
        results.append({"out": out.detach(), "x": leaf.grad, **grads, **statistics})
    return results[0], results[1]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("columns", [3, 10])
@pytest.mark.parametrize("config", [PointNet2MSGConfig, PointNet2SSGConfig])
def test_gradients_agree_with_the_usual_order(config, columns: int, training: bool) -> None:
    """More points than centres, groups that overflow and groups that are filled up."""
    model = shaken(PointNet2(columns, config(centres_1=40, centres_2=12)).double()).train(training)
    ours, usual = both_ways(model, in_order(clouds(2, 150, columns)))
    assert len(ours) == len(dict(model.named_parameters())) + 2 + 2 * sum(
        "running_mean" in n for n in model.state_dict()
    )
    for name, value in ours.items():
        torch.testing.assert_close(value, usual[name], rtol=1e-8, atol=1e-10, msg=f"{name} differs")


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("config", [PointNet2MSGConfig, PointNet2SSGConfig])
def test_single_precision_agrees_with_the_usual_order(config, training: bool) -> None:
    torch.manual_seed(0)
    model = PointNet2(6, config(centres_1=64, centres_2=16)).train(training)
    ours, usual = both_ways(model, in_order(clouds(4, 200, 6, dtype=torch.float32)))
    for name, value in ours.items():
        torch.testing.assert_close(value, usual[name], rtol=1e-4, atol=1e-4, msg=f"{name} differs")


@pytest.mark.slow
@pytest.mark.parametrize("columns", [3, 10])
def test_full_clouds_agree_with_the_usual_order(columns: int) -> None:
    """2,048 points, training; in float64, where hardly two values of a maximum come so close that rounding decides."""
    torch.manual_seed(0)
    ours, usual = both_ways(PointNet2(columns, PointNet2MSGConfig()).double(), in_order(clouds(2, 2048, columns)))
    for name, value in ours.items():
        torch.testing.assert_close(value, usual[name], rtol=1e-6, atol=1e-8, msg=f"{name} differs")


@pytest.mark.slow
@pytest.mark.parametrize("columns", [3, 10])
def test_a_full_batch_agrees_in_single_precision(columns: int) -> None:
    """Eight clouds of 2,048 points, training: half a million rows per normalisation.

    Features are equal to 1e-4. A few per cent of the gradient's entries go to another winner of a maximum, in either
    order of operations alike when compared with float64, so gradients are compared as vectors.
    """
    torch.manual_seed(0)
    x = in_order(clouds(8, 2048, columns, dtype=torch.float32))
    ours, usual = both_ways(PointNet2(columns, PointNet2MSGConfig()), x)
    torch.testing.assert_close(ours["out"], usual["out"], rtol=0, atol=1e-4)
    for name, value in ours.items():
        # some are zero but for rounding: a normalisation takes out what a bias before it adds
        assert (value - usual[name]).norm() <= 0.02 * usual[name].norm() + 1e-4, f"{name} differs"


def test_a_sampler_of_farthest_points_gives_prefix_centres_exactly(tmp_path) -> None:
    """From a pack to features: searching the centres again changes nothing when the sampler is `fps`, at the pack's
    threshold and above it, and does when the points are in any other order.
    """
    pack = small_pack(tmp_path / "pack", (300, 400, 350), cached=256)
    objects = np.arange(3)
    torch.manual_seed(0)
    prefix = PointNet2(4, PointNet2SSGConfig(centres_1=64, centres_2=16)).eval()
    search = PointNet2(4, PointNet2SSGConfig(centres="fps", centres_1=64, centres_2=16)).eval()
    search.load_state_dict(prefix.state_dict())
    for sampling, threshold, same in (("fps", 0.05, True), ("fps", 0.4, True), ("uniform", 0.05, False)):
        contract = PointsContract(
            features=("xyz", "opacity"), num_points=160, alpha_threshold=threshold, sampling=sampling
        )
        x = torch.from_numpy(PointSampler(pack, contract, objects).draw(objects, 1))
        centres = farthest_points(x[..., :3], 64)
        assert torch.equal(centres, torch.arange(64).expand(3, 64)) == same
        with torch.no_grad():
            assert torch.equal(search(x), prefix(x)) == same


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
