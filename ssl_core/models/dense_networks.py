"""Networks that give a map of features: patch tokens of a vision transformer, or the last map of a stride of a
convolutional network, each with one vector for the whole image.

Vision transformers are timm's (Dosovitskiy et al., ICLR 2021, arXiv 2010.11929): its architectures by name, or a small
one by its sizes. Tokens are those after the last block and the final normalisation.
"""

from typing import Annotated, Any, Literal, assert_never

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call

from ssl_core.config import Config
from ssl_core.errors import ConfigError, MissingDependencyError
from ssl_core.models.build import begins_at_a_file
from ssl_core.models.dense_maps import cut_after, map_of
from ssl_core.models.image import ResNetConfig, TimmConfig, build_resnet, build_timm
from ssl_core.models.small_cnn import SmallCnn, SmallCnnConfig

MapNetwork = Annotated[ResNetConfig | TimmConfig | SmallCnnConfig, Field(discriminator="kind")]


class DenseMapConfig(Config):
    """A convolutional network up to its last map of a stride; the layers after it are left out."""

    kind: Literal["map"] = "map"
    network: MapNetwork = TimmConfig()
    stride: int = Field(default=16, ge=2, le=64, description="pixels from one token to the next")
    channels: int = Field(default=112, ge=1, le=16384, description="of that map")

    @property
    def multiple(self) -> int:
        """What height and width of an image have to be multiples of."""
        return self.stride

    @property
    def global_dim(self) -> int:
        """Of the vector of the whole image: the map's mean."""
        return self.channels


class DenseVitConfig(Config):
    """A vision transformer: a named one of timm, or a small one with a class token."""

    kind: Literal["vit"] = "vit"
    network: str = Field(
        default="", pattern=r"^[a-z0-9_]*$", max_length=100, description="timm's name; empty: as the sizes say"
    )
    patch: int = Field(default=8, ge=2, le=64)
    channels: int = Field(default=96, ge=8, le=4096, description="width of its tokens")
    depth: int = Field(default=4, ge=1, le=64, description="blocks, of one without a name")
    heads: int = Field(default=4, ge=1, le=64, description="of attention, of one without a name")

    @property
    def multiple(self) -> int:
        """What height and width of an image have to be multiples of."""
        return self.patch

    @property
    def global_dim(self) -> int:
        """Of the vector of the whole image: the class token, the tokens' mean where there is none."""
        return self.channels


DenseBackbone = Annotated[DenseMapConfig | DenseVitConfig, Field(discriminator="kind")]


class DenseNetwork(nn.Module):
    """Normalised images [B, 3, H, W] -> tokens [B, D, h, w] and a vector of the whole image [B, D].

    H and W are multiples of `multiple`, and h, w how many times.
    """

    network: nn.Module
    multiple: int

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def blocks(self) -> list[nn.Module]:
        """Its blocks in their order: the last of them are those nearest to the tokens."""
        raise NotImplementedError


class ConvolutionalMap(DenseNetwork):
    """The last map of a stride, and its mean."""

    def __init__(self, network: nn.Module, stride: int) -> None:
        super().__init__()
        cut_after(network, stride)
        self.network, self.multiple = network, stride

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        tokens = map_of(self.network, self.multiple)(images)
        return tokens, tokens.mean(dim=(2, 3))

    def blocks(self) -> list[nn.Module]:
        network: Any = self.network
        if hasattr(network, "blocks"):
            return [block for stage in network.blocks for block in stage]
        if isinstance(network, SmallCnn):
            return list(network.layers)
        layers = [getattr(network, name, nn.Sequential()) for name in ("layer1", "layer2", "layer3", "layer4")]
        return [block for layer in layers if isinstance(layer, nn.Sequential) for block in layer]


class PatchTokens(DenseNetwork):
    """Patch tokens and class token of a vision transformer of timm that pools nothing."""

    def __init__(self, network: Any, patch: int) -> None:
        super().__init__()
        network.patch_embed.strict_img_size = False
        self.network, self.multiple = network, patch

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        network: Any = self.network
        height, width = (side // self.multiple for side in images.shape[2:])
        mine = tuple(network.patch_embed.grid_size)
        if (height, width) == mine:
            found = network(images)
        else:
            resampled = self._resampled(network.pos_embed, (height, width), mine)
            found = functional_call(network, {"pos_embed": resampled}, (images,))
        prefix, flat = found[:, : network.num_prefix_tokens], found[:, network.num_prefix_tokens :]
        tokens = flat.transpose(1, 2).unflatten(2, (height, width))
        return tokens, prefix[:, 0] if network.num_prefix_tokens else flat.mean(dim=1)

    def blocks(self) -> list[nn.Module]:
        network: Any = self.network
        return list(network.blocks)

    def positions_from(self, positions: Tensor, grid: tuple[int, int] | None) -> Tensor:
        """Position embeddings [1, prefix + n, D] of a `grid`, a square one where none is given, at this network's."""
        network: Any = self.network
        mine = tuple(network.patch_embed.grid_size)
        if grid == mine or (grid is None and mine[0] == mine[1] and positions.shape == network.pos_embed.shape):
            return positions
        return self._resampled(positions, mine, grid)

    def _resampled(self, positions: Tensor, wanted: tuple[int, int], grid: tuple[int, int] | None) -> Tensor:
        """As timm does it (bicubic, antialiased), so that images of other sizes give the tokens they give there."""
        from timm.layers.pos_embed import resample_abs_pos_embed

        network: Any = self.network
        prefix = 0 if network.no_embed_class else network.num_prefix_tokens
        old = None if grid is None else list(grid)
        found: Tensor = resample_abs_pos_embed(positions, list(wanted), old, num_prefix_tokens=prefix)
        return found


def build_dense_network(backbone: DenseBackbone, size: tuple[int, int]) -> DenseNetwork:
    """With weights of torch's present generator; positions of a transformer are those of images of `size` (H, W).

    Raises ConfigError for an unknown network, or one of other sizes than its config says; MissingDependencyError.
    """
    match backbone:
        case DenseMapConfig():
            return ConvolutionalMap(_convolutional(backbone), backbone.stride)
        case DenseVitConfig():
            return PatchTokens(_transformer(backbone, size), backbone.patch)
        case _:
            assert_never(backbone)


def _convolutional(backbone: DenseMapConfig) -> nn.Module:
    network = backbone.network
    match network:
        case TimmConfig():
            found = build_timm(network)
        case SmallCnnConfig():
            found = SmallCnn(network)
        case _:
            if begins_at_a_file(network):
                raise ConfigError("backbone.network.weights_file: name the file as the source of the weights instead")
            found = build_resnet(network)
    with torch.no_grad():
        given = map_of(found.eval(), backbone.stride)(torch.zeros(1, 3, 64, 64)).shape[1]
    if given != backbone.channels:
        raise ConfigError(
            f"the map of stride {backbone.stride} of {getattr(network, 'network', network.kind)} has {given} channels, "
            f"not {backbone.channels}; set backbone.channels to {given}"
        )
    return found.train()


def _transformer(backbone: DenseVitConfig, size: tuple[int, int]) -> nn.Module:
    try:
        import timm
        from timm.models.vision_transformer import VisionTransformer
    except ModuleNotFoundError:
        raise MissingDependencyError(
            "vision transformers are timm's, which is not installed; install splatsweep[teachers]"
        ) from None
    if not backbone.network:
        if backbone.channels % backbone.heads:
            raise ConfigError(f"backbone.channels {backbone.channels} is no multiple of {backbone.heads} heads")
        return VisionTransformer(
            img_size=size,
            patch_size=backbone.patch,
            embed_dim=backbone.channels,
            depth=backbone.depth,
            num_heads=backbone.heads,
            num_classes=0,
            global_pool="",
        )
    if not timm.is_model(backbone.network):
        raise ConfigError(f"timm {timm.__version__} has no network '{backbone.network}'; see timm.list_models()")
    network = timm.create_model(backbone.network, pretrained=False, num_classes=0, global_pool="", img_size=size)
    if not isinstance(network, VisionTransformer):
        raise ConfigError(f"{backbone.network} is no plain vision transformer; name its map by backbone.kind 'map'")
    found = (network.patch_embed.patch_size[0], network.embed_dim)
    if found != (backbone.patch, backbone.channels):
        raise ConfigError(f"{backbone.network} has patches of {found[0]} pixels and {found[1]} channels; say so")
    return network
