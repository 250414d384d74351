"""Image backbones: torchvision's ResNets (He, Zhang, Ren, Sun, CVPR 2016, arXiv 1512.03385) without their classifier,
and their state dicts in somebody else's file.

torchvision and timm give the same names to the tensors of their plain ResNets (`conv1`, `bn1`, `layer1.0.conv1`, ...,
`fc`). Files from before batch normalisation counted its batches lack `num_batches_tracked`, which only training reads:
all of them may be missing. Of a training checkpoint with a moving average of the weights, the average is taken, as timm
does when it loads one.

timm's `resnetblur18`, `resnetblur50` and `resnetaa50` average before they take every second point and have the same
tensors otherwise. Only a checkpoint that names its network (`arch`) can be refused for that.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ssl_core.config import Config
from ssl_core.errors import ConfigError, MissingDependencyError
from ssl_core.models.weights_file import check_fits, clean_state, is_state_dict, read_weights_file, some

HEAD = "fc."
_COUNTER = "num_batches_tracked"
_AVERAGES = ("state_dict_ema", "model_ema")
_WRAPPERS = (*_AVERAGES, "state_dict", "model")
_AVERAGED = "n_averaged"
"""torch.optim.swa_utils counts its updates in the state dict."""
_LOOK_ALIKE = {"resnet18": ("resnetblur18",), "resnet50": ("resnetblur50", "resnetaa50")}


class ResNetConfig(Config):
    """A ResNet. Random weights unless a local file is given; nothing is ever downloaded."""

    kind: Literal["resnet18", "resnet34", "resnet50"] = "resnet18"
    weights_file: str | None = Field(
        default=None,
        description="initial weights: a state dict, .safetensors or what torch.load reads with weights_only",
    )

    @property
    def feature_dim(self) -> int:
        """Width of the pooled features."""
        return 2048 if self.kind == "resnet50" else 512


class TimmConfig(Config):
    """Any network of the timm library without its classifier. Random weights; nothing is ever downloaded."""

    kind: Literal["timm"] = "timm"
    network: str = Field(default="tf_efficientnet_lite0", pattern=r"^[a-z0-9_]+$", max_length=100)
    feature_dim: int = Field(default=1280, ge=1, le=16384, description="width of its pooled features")


def build_timm(config: TimmConfig) -> nn.Module:
    """[B, 3, H, W] -> [B, feature_dim], pooled as the network does.

    Raises:
        MissingDependencyError: timm is not installed.
        ConfigError: it has no such network, or one of another width.
    """
    try:
        import timm
    except ModuleNotFoundError:
        raise MissingDependencyError(
            f"the network {config.network} is timm's, which is not installed; install splatsweep[teachers]"
        ) from None
    if not timm.is_model(config.network):
        raise ConfigError(f"timm {timm.__version__} has no network '{config.network}'; see timm.list_models()")
    network: nn.Module = timm.create_model(config.network, pretrained=False, num_classes=0)
    if network.num_features != config.feature_dim and getattr(network, "head_hidden_size", 0) != config.feature_dim:
        raise ConfigError(f"{config.network} has {network.num_features} features, not {config.feature_dim}")
    return network


def build_resnet(config: ResNetConfig) -> nn.Module:
    """[B, 3, H, W] -> [B, feature_dim], averaged over the last map (so non-negative). Raises ConfigError."""
    import torchvision  # takes as long as torch, and who only reads configs can do without

    resnet: nn.Module = torchvision.models.get_model(config.kind, weights=None)
    resnet.fc = nn.Identity()
    if config.weights_file is not None:
        resnet.load_state_dict(read_resnet(Path(config.weights_file), resnet.state_dict(), config.kind).fitting)
    return resnet


@dataclass(frozen=True)
class ResNetWeights:
    """What the file holds of the network, of its classifier and otherwise."""

    body: dict[str, Tensor]
    head: dict[str, Tensor]
    fitting: dict[str, Tensor]
    """the body as the network's `load_state_dict` takes it: counters that are not in the file stand at 0"""
    left: tuple[str, ...]
    """names of what else the file holds"""
    averaged: str
    """where in the file the moving average lay that was taken; empty: the weights themselves were"""


def read_resnet(file: Path, wanted: Mapping[str, Tensor], kind: str) -> ResNetWeights:
    """The weights of a network whose state dict, without classifier, has the names and shapes of `wanted`.

    Raises ConfigError: the file cannot be read as data, holds values that are not finite, or another network: naming
    the tensors that are missing, unknown or misshapen.
    """
    state, place, others = _find_state(file)
    named = str(others.get("arch", "")).partition(".")[0]  # timm puts the training recipe behind the dot
    if named in _LOOK_ALIKE.get(kind, ()):
        raise ConfigError(
            f"{file}: of a {named}, which has the tensors of a {kind} but averages before it takes every second point; "
            "choose a file of a plain ResNet"
        )
    clean = clean_state({name: tensor for name, tensor in state.items() if name != _AVERAGED}, str(file))
    head = {name: tensor for name, tensor in clean.items() if name.startswith(HEAD)}
    body = {name: tensor for name, tensor in clean.items() if name not in head}
    fitting = dict(body)
    counters = [name for name in wanted if name.endswith(_COUNTER)]
    if not any(name in body for name in counters):
        fitting |= {name: torch.zeros_like(wanted[name]) for name in counters}
    remedy = "choose the matching kind or another file"
    check_fits(fitting, wanted, f"{file}: not a torchvision {kind} state dict", remedy)
    return ResNetWeights(body, head, fitting, tuple(sorted(others)), place if place in _AVERAGES else "")


def _find_state(file: Path) -> tuple[Mapping[str, Any], str, Mapping[str, Any]]:
    """The state dict, the key where training scripts put it (empty: it is the file's top), and what else is there."""
    content = read_weights_file(file)
    if is_state_dict(content):
        return content, "", {}
    if "resnet18_state_dict" in content:
        raise ConfigError(
            f"{file}: a checkpoint of the cross-modal reference, not plain image weights; "
            "pass --model pointnet_cls or pointnet2_cls_msg"
        )
    for name in _WRAPPERS:
        if is_state_dict(content.get(name)):
            return content[name], name, {key: value for key, value in content.items() if key != name}
    *others, last = _WRAPPERS
    raise ConfigError(
        f"{file}: expected a state dict of name -> tensor, at its top or under {', '.join(others)} or {last} "
        f"(it holds {some(sorted(content)) or 'nothing'}); save model.state_dict() alone"
    )
