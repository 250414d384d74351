"""The cross-modal reference's parameter names and ours, both ways.

Shapes are the same, so a state dict is translated by renaming alone. Ours name what a layer does; the
reference's are those of the PointNet code most people use. Each entry maps a prefix of ours to one of
theirs; what follows the prefix (`weight`, `bias`, `running_mean`, ...) is common.

    pointnet        points_1, points_2, pooled         <-> feat.conv1, feat.conv2, feat.conv3 and feat.bn1 ...
                    input_transform.points_1.linear    <-> feat.stn.conv1
                    input_transform.points_1.norm      <-> feat.stn.bn1
                    input_transform.head_1.linear      <-> feat.stn.fc1
                    input_transform.matrix             <-> feat.stn.fc3
                    feature_transform.*                <-> feat.fstn.*
    pointnet2_msg   local_1.scales.0.grouped.linear    <-> sa1.conv_blocks.0.0
                    local_1.scales.0.grouped.norm      <-> sa1.bn_blocks.0.0
                    all_points.points_1.linear         <-> sa3.mlp_convs.0
                    all_points.points_1.norm           <-> sa3.mlp_bns.0
    fusion          hidden, output                     <-> fc1, fc2
    resnet18        the same names (torchvision's)

A reference classifier's own layers (`fc1`, `bn1` ... outside `feat`, a ResNet's `fc`) have no counterpart and are not
in its encoder: `classifier_layers` names them.
"""

from collections.abc import Mapping
from typing import Literal, TypeVar, assert_never

from ssl_core.errors import ConfigError

ReferenceModel = Literal["pointnet", "pointnet2_msg", "fusion", "resnet18"]
V = TypeVar("V")


def key_prefixes(model: ReferenceModel) -> dict[str, str]:
    """Our prefix -> the reference's prefix, each a whole number of dotted parts.

    Names outside are equal in both.
    """
    match model:
        case "pointnet":
            return _pointnet()
        case "pointnet2_msg":
            return _pointnet2_msg()
        case "fusion":
            return {"hidden": "fc1", "output": "fc2"}
        case "resnet18":
            return {}
        case _:
            assert_never(model)


def to_reference(model: ReferenceModel, state: Mapping[str, V]) -> dict[str, V]:
    """Our state dict (of the backbone or head, not of the Encoder) under the reference's names, in the same
    order.
    """
    return _renamed(state, key_prefixes(model), model)


def from_reference(model: ReferenceModel, state: Mapping[str, V]) -> dict[str, V]:
    """The reference's state dict under our names.

    Raises ConfigError for a name that is not in the mapping.
    """
    return _renamed(state, {theirs: ours for ours, theirs in key_prefixes(model).items()}, model)


def classifier_layers(model: ReferenceModel) -> frozenset[str]:
    """First dotted parts of the names of a classifier that may stand on the encoder in the same state dict."""
    match model:
        case "pointnet" | "pointnet2_msg":
            return frozenset({"fc1", "bn1", "fc2", "bn2", "fc3"})
        case "resnet18":
            return frozenset({"fc"})
        case "fusion":
            return frozenset()
        case _:
            assert_never(model)


def _renamed(state: Mapping[str, V], prefixes: Mapping[str, str], model: ReferenceModel) -> dict[str, V]:
    if not prefixes:
        return dict(state)
    renamed = {}
    for name, value in state.items():
        prefix, _, leaf = name.rpartition(".")
        if prefix not in prefixes:
            raise ConfigError(f"parameter '{name}' is not one of {model}; check which model the weights belong to")
        renamed[f"{prefixes[prefix]}.{leaf}"] = value
    return renamed


def _layer(ours: str, linear: str, norm: str) -> dict[str, str]:
    return {f"{ours}.linear": linear, f"{ours}.norm": norm}


def _pointnet() -> dict[str, str]:
    prefixes: dict[str, str] = {}
    for number, layer in enumerate(("points_1", "points_2", "pooled"), start=1):
        prefixes |= _layer(layer, f"feat.conv{number}", f"feat.bn{number}")
        for ours, theirs in (("input_transform", "feat.stn"), ("feature_transform", "feat.fstn")):
            prefixes |= _layer(f"{ours}.{layer}", f"{theirs}.conv{number}", f"{theirs}.bn{number}")
    for ours, theirs in (("input_transform", "feat.stn"), ("feature_transform", "feat.fstn")):
        prefixes |= _layer(f"{ours}.head_1", f"{theirs}.fc1", f"{theirs}.bn4")
        prefixes |= _layer(f"{ours}.head_2", f"{theirs}.fc2", f"{theirs}.bn5")
        prefixes[f"{ours}.matrix"] = f"{theirs}.fc3"
    return prefixes


def _pointnet2_msg() -> dict[str, str]:
    prefixes: dict[str, str] = {}
    for stage in (1, 2):
        for scale in range(3):
            for number, layer in enumerate(("grouped", "hidden", "pooled")):
                place = f"{scale}.{number}"
                prefixes |= _layer(
                    f"local_{stage}.scales.{scale}.{layer}",
                    f"sa{stage}.conv_blocks.{place}",
                    f"sa{stage}.bn_blocks.{place}",
                )
    for number, layer in enumerate(("points_1", "points_2", "pooled")):
        prefixes |= _layer(f"all_points.{layer}", f"sa3.mlp_convs.{number}", f"sa3.mlp_bns.{number}")
    return prefixes
