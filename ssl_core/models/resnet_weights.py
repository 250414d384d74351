"""A ResNet's state dict in somebody else's file, its classifier left aside.

torchvision and timm give the same names to the tensors of their plain ResNets (`conv1`, `bn1`, `layer1.0.conv1`, ...,
`fc`). Files from before batch normalisation counted its batches lack `num_batches_tracked`, which only training reads:
all of them may be missing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssl_core.errors import ConfigError
from ssl_core.models.weights_file import check_fits, clean_state, is_state_dict, read_weights_file, some

HEAD = "fc."
_COUNTER = "num_batches_tracked"
_WRAPPERS = ("state_dict", "model")


@dataclass(frozen=True)
class ResNetWeights:
    """What the file holds of the network, of its classifier and otherwise."""

    body: dict[str, Tensor]
    head: dict[str, Tensor]
    fitting: dict[str, Tensor]
    """the body as the network's `load_state_dict` takes it: counters that are not in the file stand at 0"""
    left: tuple[str, ...]
    """names of what else the file holds"""


def read_resnet(file: Path, wanted: Mapping[str, Tensor], kind: str) -> ResNetWeights:
    """The weights of a network whose state dict, without classifier, has the names and shapes of `wanted`.

    Raises:
        ConfigError: the file cannot be read as data, holds values that are not finite, or another network: naming the
            tensors that are missing, unknown or misshapen.
    """
    state, left = _find_state(file)
    clean = clean_state(state, str(file))
    head = {name: tensor for name, tensor in clean.items() if name.startswith(HEAD)}
    body = {name: tensor for name, tensor in clean.items() if name not in head}
    fitting = dict(body)
    counters = [name for name in wanted if name.endswith(_COUNTER)]
    if not any(name in body for name in counters):
        fitting |= {name: torch.zeros_like(wanted[name]) for name in counters}
    remedy = "choose the matching kind or another file"
    check_fits(fitting, wanted, f"{file}: not a torchvision {kind} state dict", remedy)
    return ResNetWeights(body, head, fitting, left)


def _find_state(file: Path) -> tuple[Any, tuple[str, ...]]:
    """The state dict of the file, at its top or in the one place where training scripts put it; what else is there."""
    content = read_weights_file(file)
    if is_state_dict(content):
        return content, ()
    if "resnet18_state_dict" in content:
        raise ConfigError(
            f"{file}: a checkpoint of the cross-modal reference, not plain image weights; "
            "pass --model pointnet_cls or pointnet2_cls_msg"
        )
    for name in _WRAPPERS:
        if is_state_dict(content.get(name)):
            return content[name], tuple(sorted(content.keys() - {name}))
    raise ConfigError(
        f"{file}: expected a state dict of name -> tensor, at its top or under {' or '.join(_WRAPPERS)} "
        f"(it holds {some(sorted(content)) or 'nothing'}); save model.state_dict() alone"
    )
