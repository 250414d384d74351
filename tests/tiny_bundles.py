"""Small real bundles of untrained encoders."""

from pathlib import Path

import torch

from ssl_core.contracts import ImageContract, PointsContract
from ssl_core.models.bundle import save_bundle
from ssl_core.models.cards import encoder_card
from ssl_core.models.image import ResNetConfig
from ssl_core.models.pointnet import PointNetConfig

POINTS = PointsContract(num_points=64)
POINT_BACKBONE = PointNetConfig(input_transform=False, feature_transform=False, feature_dim=64)
IMAGE = ImageContract(image_size=24)
IMAGE_BACKBONE = ResNetConfig(kind="resnet18")


def make_bundle(folder: Path, seed: int, modality: str = "points", *, collapsed: bool = False) -> Path:
    """A bundle of an untrained encoder; a collapsed one gives the same features for every input."""
    contract, backbone = (POINTS, POINT_BACKBONE) if modality == "points" else (IMAGE, IMAGE_BACKBONE)
    card = encoder_card(contract, backbone)
    encoder = card.build(seed)
    if collapsed:
        with torch.no_grad():
            for parameter in encoder.parameters():
                parameter.zero_()
    save_bundle(encoder, card, folder, name=f"tiny-{modality}", lineage={"seed": str(seed)})
    return folder
