"""Where a dense encoder's original network comes from: weights somebody else trained, or a study of ours; read as data.

Nothing is downloaded: the packaged one comes with the extra `teachers`, others are local files.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, assert_never

import safetensors.torch
import torch
from pydantic import Field, TypeAdapter
from torch import Tensor, nn

from ssl_core.config import Config
from ssl_core.errors import ConfigError
from ssl_core.models.build import Encoder
from ssl_core.models.bundle import WEIGHTS, load_bundle, read_card, verify_checksums
from ssl_core.models.cards import ImageEncoderCard
from ssl_core.models.dense_cards import DenseEncoderCard
from ssl_core.models.dense_encoder import DenseEncoder
from ssl_core.models.dense_maps import encoder_network, map_of
from ssl_core.models.dense_networks import (
    DenseBackbone,
    DenseMapConfig,
    DenseNetwork,
    DenseVitConfig,
    MapNetwork,
    PatchTokens,
)
from ssl_core.models.imported import IMAGENET_MEAN, IMAGENET_STD
from ssl_core.models.teachers import BundleTeacher, PackagedTeacher, build_teacher, checked_state, supervision_of
from ssl_core.models.weights_file import check_fits, file_sha256


class PackagedSource(Config):
    """EfficientNet-Lite0 as trained with the labels of ImageNet (Apache-2.0), up to its map of a stride."""

    kind: Literal["efficientnet_lite0"] = "efficientnet_lite0"
    stride: Literal[4, 8, 16, 32] = 16


class WeightsSource(Config):
    """A vision transformer or a convolutional network of timm or torchvision with weights of a local file: what timm's
    `state_dict()` holds, also of DINOv2, CLIP, MAE, DeiT III."""

    kind: Literal["file"] = "file"
    backbone: DenseBackbone = DenseVitConfig(network="vit_small_patch14_dinov2", patch=14, channels=384)
    weights_file: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the file: another one is another network")
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


class BundleSource(Config):
    """A convolutional image encoder or a dense encoder of ours, as `splatsweep pull` leaves it."""

    kind: Literal["bundle"] = "bundle"
    folder: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of its encoder.safetensors")
    stride: int = Field(default=16, ge=2, le=64, description="of an image encoder's map")


class OwnVitSource(Config):
    """A small vision transformer that learns from pictures of the training scenes, in a stage that trials share; 0
    steps leave random weights."""

    kind: Literal["vit"] = "vit"
    patch: int = Field(default=8, ge=2, le=64)
    channels: int = Field(default=96, ge=8, le=1024)
    depth: int = Field(default=4, ge=1, le=24)
    heads: int = Field(default=4, ge=1, le=16)
    learns: Literal["masked_patches", "teacher"] = Field(
        default="teacher",
        description="the maps of EfficientNet-Lite0, which knows ImageNet's labels; or to fill in masked patches",
    )
    steps: int = Field(default=600, ge=0, description="of pretraining")
    batch: int = Field(default=32, ge=1)
    lr: float = Field(default=1e-3, gt=0)
    masked: float = Field(default=0.6, gt=0, lt=1, description="share of the patches (learns=masked_patches)")
    seed: int = Field(default=0, ge=0)


DenseSource = Annotated[PackagedSource | WeightsSource | BundleSource | OwnVitSource, Field(discriminator="kind")]

_CHANNELS = {4: 24, 8: 40, 16: 112, 32: 320}
"""of EfficientNet-Lite0's maps, by stride"""


def source_card(source: DenseSource, size: tuple[int, int]) -> DenseEncoderCard:
    """The original network's card, for images of `size` (H, W). Raises ConfigError, RegistryError for a folder that
    holds something else."""
    height, width = size
    match source:
        case PackagedSource(stride=stride):
            backbone: DenseBackbone = DenseMapConfig(stride=stride, channels=_CHANNELS[stride])
            return _imagenet(backbone, size)
        case WeightsSource():
            return DenseEncoderCard(
                height=height, width=width, backbone=source.backbone, mean=source.mean, std=source.std
            )
        case BundleSource():
            return _bundle_card(source, size)
        case OwnVitSource():
            backbone = DenseVitConfig(
                patch=source.patch, channels=source.channels, depth=source.depth, heads=source.heads
            )
            return _imagenet(backbone, size)
        case _:
            assert_never(source)


def _imagenet(backbone: DenseBackbone, size: tuple[int, int]) -> DenseEncoderCard:
    return DenseEncoderCard(height=size[0], width=size[1], mean=IMAGENET_MEAN, std=IMAGENET_STD, backbone=backbone)


def multiple_of(source: DenseSource) -> int:
    """What the sides of its images have to be multiples of. Raises as `source_card`."""
    match source:
        case PackagedSource(stride=stride):
            return stride
        case WeightsSource():
            return source.backbone.multiple
        case BundleSource():
            card = read_card(Path(source.folder)).card
            return card.multiple if isinstance(card, DenseEncoderCard) else source.stride
        case OwnVitSource():
            return source.patch
        case _:
            assert_never(source)


def source_supervision(source: DenseSource) -> str:
    """Whose labels the network may have learnt from: for model cards."""
    match source:
        case PackagedSource():
            return supervision_of(PackagedTeacher())
        case WeightsSource():
            return "a network that was trained elsewhere"
        case BundleSource():
            return supervision_of(BundleTeacher(folder=source.folder, sha256=source.sha256))
        case OwnVitSource():
            return supervision_of(PackagedTeacher()) if source.learns == "teacher" and source.steps else ""
        case _:
            assert_never(source)


def load_source(source: DenseSource, encoder: DenseEncoder, made: Path | None = None) -> None:
    """Give the original network of an encoder that `source_card(source, ...)` built its weights, in place; `made` is
    the state dict that the stage of an `OwnVitSource` wrote.

    Raises:
        ConfigError: the file is not the one that the checksum names, or not of this network.
        MissingDependencyError: the extra `teachers` is not installed.
        IntegrityError, RegistryError: a bundle that was changed, or is none.
    """
    network = encoder.original
    match source:
        case PackagedSource():
            _fill(network, encoder_network(build_teacher(PackagedTeacher())).state_dict(), "efficientnet_lite0")
        case WeightsSource():
            _fill(network, checked_state(Path(source.weights_file), source.sha256), source.weights_file)
        case BundleSource():
            loaded = _bundle(source)
            if isinstance(loaded, DenseEncoder):
                inner: Any = loaded.original.network
                grid = inner.patch_embed.grid_size if isinstance(loaded.original, PatchTokens) else None
                _fill(network, inner.state_dict(), source.folder, grid)
            elif isinstance(loaded, Encoder):
                _fill(network, encoder_network(loaded).state_dict(), source.folder)
        case OwnVitSource():
            if made is not None:
                network.network.load_state_dict(safetensors.torch.load_file(made))
        case _:
            assert_never(source)


def _fill(network: DenseNetwork, state: dict[str, Tensor], what: str, grid: tuple[int, int] | None = None) -> None:
    """Layers after the map and a classifier are left out; positions are resampled from those of a `grid`, of a square
    one where none is given."""
    inner = network.network
    wanted = inner.state_dict()
    body = {name: tensor for name, tensor in state.items() if name in wanted}
    body |= {name: torch.zeros_like(t) for name, t in wanted.items() if name.endswith("num_batches_tracked")} | body
    if isinstance(network, PatchTokens) and "pos_embed" in body:
        body["pos_embed"] = network.positions_from(body["pos_embed"], grid)
    check_fits(body, wanted, f"{what}: not this network's state dict", "name the matching backbone")
    inner.load_state_dict(body)


def _bundle_card(source: BundleSource, size: tuple[int, int]) -> DenseEncoderCard:
    card = read_card(Path(source.folder)).card
    if isinstance(card, DenseEncoderCard):
        return card.model_copy(update={"height": size[0], "width": size[1], "tuning": None, "assembly": "concat"})
    if not isinstance(card, ImageEncoderCard):
        raise ConfigError(f"backbone.folder {source.folder} holds a {card.kind}; name an image or a dense encoder")
    contract = card.contract
    with torch.no_grad():
        maps = map_of(encoder_network(card.build(0)).eval(), source.stride)(torch.zeros(1, 3, 64, 64))
    network = TypeAdapter(MapNetwork).validate_python(card.backbone.model_dump())
    backbone = DenseMapConfig(network=network, stride=source.stride, channels=maps.shape[1])
    return DenseEncoderCard(height=size[0], width=size[1], mean=contract.mean, std=contract.std, backbone=backbone)


def _bundle(source: BundleSource) -> nn.Module:
    folder = Path(source.folder)
    verify_checksums(folder)
    if file_sha256(folder / WEIGHTS) != source.sha256:
        raise ConfigError(f"{folder}/{WEIGHTS} is not the file of backbone.sha256; give the other one")
    return load_bundle(folder)
