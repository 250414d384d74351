"""What every encoder must do, whatever its backbone. A new backbone gets a case here and nothing else."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ssl_core.contracts import ImageContract, PointsContract
from ssl_core.models.build import Encoder, ImageBackbone, PointBackbone
from ssl_core.models.cards import ImageEncoderCard, PointEncoderCard, encoder_card
from ssl_core.models.dgcnn import DGCNNConfig
from ssl_core.models.image import ResNetConfig, TimmConfig
from ssl_core.models.point_transformer import PointTransformerConfig
from ssl_core.models.pointnet import PointNetConfig
from ssl_core.models.pointnet2 import PointNet2MSGConfig, PointNet2SSGConfig
from ssl_core.models.readout import ReadoutConfig
from ssl_core.models.reconstruction import ReconCnnConfig
from ssl_core.models.small_cnn import SmallCnnConfig

BATCHES = (1, 2, 7)


@dataclass(frozen=True)
class EncoderCase:
    """One backbone under one contract, small enough to run in a moment."""

    name: str
    contract: PointsContract | ImageContract
    backbone: PointBackbone | ImageBackbone
    permutation_invariant: bool = False
    slow_export: bool = False
    readout: ReadoutConfig | None = None

    @property
    def card(self) -> PointEncoderCard | ImageEncoderCard:
        return encoder_card(self.contract, self.backbone).model_copy(update={"readout": self.readout})

    def build(self, seed: int = 0) -> Encoder:
        return self.card.build(seed)

    def input(self, batch: int) -> Tensor:
        return self.card.example(batch)


XYZ = PointsContract(num_points=64)
ATTRIBUTES = PointsContract(features=("xyz", "scale", "rotation"), num_points=48)
SMALL_STAGES = {"centres_1": 12, "centres_2": 6}
BLACK = ImageContract(image_size=40, background="black")
IMAGE = ImageContract(image_size=40, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))

CASES = (
    EncoderCase("pointnet", XYZ, PointNetConfig(), permutation_invariant=True),
    EncoderCase("pointnet-attributes", ATTRIBUTES, PointNetConfig(feature_transform=False), True, True),
    EncoderCase(
        "pointnet-plain",
        XYZ,
        PointNetConfig(input_transform=False, feature_transform=False),
        permutation_invariant=True,
    ),
    EncoderCase(
        "pointnet-readout",
        XYZ,
        PointNetConfig(input_transform=False, feature_transform=False),
        permutation_invariant=True,
        readout=ReadoutConfig(hidden=24, output=40, parts=("backbone", "hidden", "head", "ridge")),
    ),
    EncoderCase("pointnet2_ssg", XYZ, PointNet2SSGConfig()),
    EncoderCase("pointnet2_ssg-fps", ATTRIBUTES, PointNet2SSGConfig(centres="fps", **SMALL_STAGES), slow_export=True),
    EncoderCase("pointnet2_msg", XYZ, PointNet2MSGConfig(**SMALL_STAGES), slow_export=True),
    EncoderCase("pointnet2_msg-attributes", ATTRIBUTES, PointNet2MSGConfig(), slow_export=True),
    EncoderCase("pointnet2_msg-fps", XYZ, PointNet2MSGConfig(centres="fps", **SMALL_STAGES), slow_export=True),
    EncoderCase("dgcnn", XYZ, DGCNNConfig(k=8), permutation_invariant=True),
    EncoderCase("dgcnn-attributes", ATTRIBUTES, DGCNNConfig(k=100, feature_dim=96), True, True),
    EncoderCase(
        "point_transformer",
        ATTRIBUTES,
        PointTransformerConfig(groups=8, neighbours=6, dim=24, layers=2, heads=3),
        permutation_invariant=True,
    ),
    EncoderCase("point_transformer-max", XYZ, PointTransformerConfig(pooling="max"), True, slow_export=True),
    EncoderCase("resnet18", IMAGE, ResNetConfig()),
    EncoderCase("small_cnn", IMAGE, SmallCnnConfig(channels=(8, 12, 16))),
    EncoderCase("recon_cnn", BLACK, ReconCnnConfig(bottleneck=24, width=0.1)),
    EncoderCase("timm", IMAGE, TimmConfig(), slow_export=True, readout=ReadoutConfig(hidden=24)),
    EncoderCase("resnet34", IMAGE, ResNetConfig(kind="resnet34"), slow_export=True),
    EncoderCase("resnet50", IMAGE, ResNetConfig(kind="resnet50"), slow_export=True),
)

AS_IMPORTED = (
    EncoderCase("pointnet2_ssg-imported", PointsContract(num_points=1024), PointNet2SSGConfig(centres="fps")),
    EncoderCase("pointnet2_msg-imported", PointsContract(num_points=1024), PointNet2MSGConfig(centres="fps")),
)
"""At full size, searching 512 centres: for the exports alone, in the slow tests."""


def check_shapes(case: EncoderCase) -> None:
    """[B, feature_dim] for batches of 1, 2 and 7; one object's features do not depend on its companions."""
    encoder = case.build().eval()
    with torch.no_grad():
        for batch in BATCHES:
            features = encoder(case.input(batch))
            assert features.shape == (batch, encoder.feature_dim)
            assert features.dtype == torch.float32
        x = case.input(7)
        torch.testing.assert_close(encoder(x)[3:4], encoder(x[3:4]), rtol=1e-3, atol=1e-4)


def check_permutation_invariance(case: EncoderCase) -> None:
    """The order of the points does not matter."""
    encoder, x = case.build().eval(), case.input(2)
    order = torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(encoder(x[:, order]), encoder(x), rtol=1e-4, atol=1e-5)


def check_seeded(case: EncoderCase) -> None:
    """Equal seeds give equal weights, other seeds others; torch's global generator does not move."""
    before = torch.random.get_rng_state()
    first, again, other = (case.build(seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def check_gradients(case: EncoderCase) -> None:
    """Every parameter gets a finite gradient in training, and a non-zero one where statistics are fixed."""
    for training in (True, False):
        encoder = case.build().train(training)
        features = encoder(case.input(4))
        weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(1))
        (features * weights).sum().backward()
        for name, parameter in encoder.named_parameters():
            assert parameter.grad is not None, f"{name}: no gradient"
            assert torch.isfinite(parameter.grad).all(), f"{name}: gradient is not finite"
            assert training or parameter.grad.abs().sum() > 0, f"{name}: gradient is zero"


def check_finite_for_duplicates(case: EncoderCase) -> None:
    """All points of a cloud in one place (a constant image): finite features and gradients."""
    x = case.input(3)
    x = x[:, :1].expand_as(x).clone() if isinstance(case.contract, PointsContract) else torch.full_like(x, 0.5)
    for training in (True, False):
        encoder = case.build().train(training)
        features = encoder(x)
        features.sum().backward()
        assert torch.isfinite(features).all()
        assert all(torch.isfinite(p.grad).all() for p in encoder.parameters() if p.grad is not None)


def check_training_in_half_precision(case: EncoderCase) -> None:
    """Autocast (bfloat16 on the CPU) trains: features near the full-precision ones, finite gradients."""
    encoder, x = case.build().train(), case.input(6)
    with torch.no_grad():
        expected = case.build().train()(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = encoder(x)
    features.float().square().mean().backward()
    assert (features.float() - expected).abs().mean() < 0.4 * expected.abs().mean()
    assert all(torch.isfinite(p.grad).all() for p in encoder.parameters() if p.grad is not None)
