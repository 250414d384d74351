"""Dense features of image networks: the map of a given stride that they make on their way to pooled features."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from ssl_core.errors import ConfigError
from ssl_core.models.build import Encoder
from ssl_core.models.readout import ReadOut
from ssl_core.models.small_cnn import SmallCnn

_RESNET_LAYERS = {4: 1, 8: 2, 16: 3, 32: 4}
"""stride -> how many of the four layers of a torchvision ResNet"""


def dense_features(encoder: Encoder, stride: int) -> Callable[[Tensor], Tensor]:
    """The function from images [B, 3, S, S] in [0, 1] to the encoder's last map of a stride, [B, C, h, w].

    Raises ConfigError for a network that makes no such map, naming the strides that it has.
    """
    found = map_of(encoder_network(encoder), stride)

    def features(images: Tensor) -> Tensor:
        encoder.contract.check(images)
        return found(encoder.normaliser(images))

    return features


def encoder_network(encoder: Encoder) -> nn.Module:
    """The backbone itself, without what is read out over it."""
    backbone = encoder.backbone
    return backbone.backbone if isinstance(backbone, ReadOut) else backbone


def map_of(network: nn.Module, stride: int) -> Callable[[Tensor], Tensor]:
    """The function from normalised images [B, 3, H, W] to the network's last map of a stride, [B, C, h, w].

    Raises ConfigError as `dense_features`.
    """
    if hasattr(network, "forward_intermediates"):
        return _of_timm(network, stride)
    if all(hasattr(network, name) for name in ("conv1", "bn1", "relu", "maxpool", "layer4")):
        return _of_resnet(network, stride)
    if isinstance(network, SmallCnn):
        return _of_small_cnn(network, stride)
    raise ConfigError(
        f"the teacher ({type(network).__name__}) has no dense maps, which loss.local_weight > 0 needs; choose a "
        "ResNet or a network of timm, or set loss.local_weight to 0"
    )


def cut_after(network: nn.Module, stride: int) -> None:
    """Take away, in place, the layers that the map of a stride does not need. Raises ConfigError as `map_of`."""
    map_of(network, stride)  # whether there is such a map
    prune: Any = getattr(network, "prune_intermediate_layers", None)
    if prune is not None:
        prune([_level(network, stride)], prune_norm=True, prune_head=True)
    elif isinstance(network, SmallCnn):
        network.layers = network.layers[: _small_cnn_strides(network).index(stride) + 1]
    else:
        for number in range(_RESNET_LAYERS[stride] + 1, 5):
            setattr(network, f"layer{number}", nn.Identity())


def _of_timm(network: Any, stride: int) -> Callable[[Tensor], Tensor]:
    level = _level(network, stride)

    def features(images: Tensor) -> Tensor:
        (maps,) = network.forward_intermediates(
            images, indices=[level], output_fmt="NCHW", stop_early=True, intermediates_only=True
        )
        found: Tensor = maps
        return found

    return features


def _level(network: Any, stride: int) -> int:
    """Number of timm's last map of a stride."""
    info: list[Mapping[str, Any]] = list(network.feature_info)
    levels = [i for i, level in enumerate(info) if level["reduction"] == stride]
    if not levels:
        raise _no_such_stride(network, stride, {int(level["reduction"]) for level in info})
    return levels[-1]


def _of_resnet(network: Any, stride: int) -> Callable[[Tensor], Tensor]:
    if stride not in _RESNET_LAYERS:
        raise _no_such_stride(network, stride, set(_RESNET_LAYERS))

    def features(images: Tensor) -> Tensor:
        x: Tensor = network.maxpool(network.relu(network.bn1(network.conv1(images))))
        for number in range(1, _RESNET_LAYERS[stride] + 1):
            x = getattr(network, f"layer{number}")(x)
        return x

    return features


def _of_small_cnn(network: SmallCnn, stride: int) -> Callable[[Tensor], Tensor]:
    strides = _small_cnn_strides(network)
    if stride not in strides:
        raise _no_such_stride(network, stride, set(strides))
    layers = network.layers[: strides.index(stride) + 1]

    def features(images: Tensor) -> Tensor:
        x: Tensor = layers(images)
        return x

    return features


def _small_cnn_strides(network: SmallCnn) -> list[int]:
    return [2 ** (number + 1) for number in range(len(network.layers))]


def _no_such_stride(network: nn.Module, stride: int, known: set[int]) -> ConfigError:
    return ConfigError(
        f"the teacher ({type(network).__name__}) has no map of stride {stride}; set pairs.stride to one of "
        f"{', '.join(map(str, sorted(known)))}"
    )
