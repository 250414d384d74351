"""PointNet against its plain statement, and the laws of its transforms."""

import numpy as np
import pytest
import torch

from ssl_core.models.pointnet import PointNet, PointNetConfig, transform_regulariser
from ssl_core.models.reference_checkpoint import to_reference
from tests.reference.plain_pointnet import plain_pointnet

torch.set_num_threads(1)


def shaken(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Every parameter and statistic away from its initial value; some normalisations' scales negative."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if name.endswith("norm.weight"):
            tensor.normal_(0.3, 1.0, generator=generator)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 2.0, generator=generator)
        elif name.endswith(("bias", "running_mean")):
            tensor.normal_(0.0, 0.3, generator=generator)
        elif tensor.is_floating_point():
            tensor.normal_(0.0, 1.5 / np.sqrt(tensor[0].numel()), generator=generator)
    return module


def arrays(state: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in state.items()}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("columns", "config"),
    [
        (3, PointNetConfig()),
        (10, PointNetConfig()),
        (10, PointNetConfig(input_transform=False)),
        (3, PointNetConfig(input_transform=False, feature_transform=False)),
    ],
)
def test_agrees_with_the_plain_statement(columns: int, config: PointNetConfig, training: bool) -> None:
    model = shaken(PointNet(columns, config).double()).train(training)
    plain_state = arrays(to_reference("pointnet", model.state_dict()))
    x = torch.randn(4, 40, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours = model(x).numpy()
    plain = plain_pointnet(plain_state, x.numpy(), batch_statistics=training)
    np.testing.assert_allclose(ours, plain, atol=1e-8, rtol=1e-8)


def test_agrees_in_single_precision() -> None:
    torch.manual_seed(0)
    model = PointNet(3, PointNetConfig()).eval()
    x = torch.randn(2, 64, 3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours = model(x).numpy()
    plain = plain_pointnet(arrays(to_reference("pointnet", model.state_dict())), x.numpy())
    np.testing.assert_allclose(ours, plain, atol=1e-5)


def test_the_input_transform_reads_all_columns_and_moves_xyz_only() -> None:
    model = shaken(PointNet(6, PointNetConfig(feature_transform=False))).eval()
    seen: list[torch.Tensor] = []
    model.points_1.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    x = torch.randn(2, 30, 6, generator=torch.Generator().manual_seed(2))
    other = x.clone()
    other[..., 3:] += 1.0
    with torch.no_grad():
        model(x)
        model(other)
    torch.testing.assert_close(seen[0][..., 3:], x[..., 3:])
    assert not torch.allclose(seen[0][..., :3], seen[1][..., :3])


def test_features_and_transform_are_those_of_forward() -> None:
    model = shaken(PointNet(3, PointNetConfig())).eval()
    x = torch.randn(3, 20, 3, generator=torch.Generator().manual_seed(3))
    features, transform = model.features_and_transform(x)
    torch.testing.assert_close(features, model(x))
    assert transform is not None
    assert transform.shape == (3, 64, 64)
    assert PointNet(3, PointNetConfig(feature_transform=False)).eval().features_and_transform(x)[1] is None


def test_regulariser_is_zero_for_rotations_and_the_formula_otherwise() -> None:
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(5, 8, 8, dtype=torch.float64, generator=generator)
    rotations = torch.linalg.qr(matrices).Q
    assert transform_regulariser(rotations).item() < 1e-12
    expected = np.mean([np.sqrt(((np.eye(8) - m @ m.T) ** 2).sum()) for m in matrices.numpy()])
    assert transform_regulariser(matrices).item() == pytest.approx(expected)


def test_regulariser_pulls_towards_rotations() -> None:
    matrix = torch.nn.Parameter(torch.randn(1, 6, 6, generator=torch.Generator().manual_seed(0)) * 0.4)
    optimiser = torch.optim.SGD([matrix], lr=0.02)
    for _ in range(400):
        optimiser.zero_grad()
        transform_regulariser(matrix).backward()
        optimiser.step()
    assert transform_regulariser(matrix).item() < 0.1
