"""The cross-modal reference's checkpoints (`best_model.pth`, `checkpoint_epoch_5.pth`, ...) as encoders of ours.

    pointnet_state_dict         -> the points encoder (PointNet or PointNet++ MSG)
    resnet18_state_dict         -> the image encoder
    fusion_network_state_dict   -> kept beside, under the names of `ssl_core.models.build.FusionNetwork`
    epoch                       -> told in the account
    optimizer_state_dict        -> left: only going on with that training needs it

The file says neither which point network it holds nor what its input columns are, so the caller does. The reference
puts columns in one order, xyz, normals, colour, scale and rotation, and gives scale and rotation together; it reads
them raw, and keeps Gaussians whose opacity logit is above .3 (an alpha of .574).

Shapes are the same on both sides, so a state dict is translated by renaming prefixes of names, as in

    pointnet        points_1, points_2, pooled         <-> feat.conv1, feat.conv2, feat.conv3 and feat.bn1 ...
                    input_transform.head_1.linear      <-> feat.stn.fc1
    pointnet2_msg   local_1.scales.0.grouped.norm      <-> sa1.bn_blocks.0.0
                    all_points.points_1.linear         <-> sa3.mlp_convs.0
    fusion          hidden, output                     <-> fc1, fc2
    resnet18        the same names (torchvision's)
"""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, assert_never

from pydantic import Field, model_validator
from torch import Tensor, nn

from ssl_core.config import Config
from ssl_core.contracts import FEATURE_WIDTH, FeatureGroup, ImageContract, PointsContract, Sampling
from ssl_core.errors import ConfigError
from ssl_core.models.build import FusionNetwork, PointBackbone
from ssl_core.models.cards import ImageEncoderCard, PointEncoderCard
from ssl_core.models.image import ResNetConfig
from ssl_core.models.imported import Imported, ImportedModel, ImportReport, Placement
from ssl_core.models.pointnet import PointNetConfig
from ssl_core.models.pointnet2 import PointNet2MSGConfig
from ssl_core.models.weights_file import check_fits, clean_state, file_sha256, is_state_dict, read_weights_file, some

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


PointModel = Literal["pointnet_cls", "pointnet2_cls_msg"]
POINTS, IMAGE, FUSION = "pointnet_state_dict", "resnet18_state_dict", "fusion_network_state_dict"
EPOCH, OPTIMIZER = "epoch", "optimizer_state_dict"
COLUMN_ORDER: tuple[FeatureGroup, ...] = ("xyz", "normals", "reference_color", "scale", "rotation")
"""What the reference can read of a Gaussian, in its order."""
_CHOICES: tuple[tuple[FeatureGroup, ...], ...] = (("normals",), ("reference_color",), ("scale", "rotation"))
_SAID_OF_NORMALS = (
    "normals: the reference read them from the .ply, where trainers leave zeros; here they are worked out of the "
    "Gaussians, so the network gets values in those columns that it was not trained on"
)


class ReferenceImport(Config):
    """How to take a checkpoint of the reference: which network, and the input it was trained on."""

    model: PointModel = "pointnet_cls"
    features: tuple[FeatureGroup, ...] = ("xyz",)
    num_points: int = Field(default=2048, ge=8)
    alpha_threshold: float = Field(default=0.574, ge=0.0, lt=1.0)
    sampling: Sampling = "fps"
    image_size: int = Field(default=224, ge=8)

    @model_validator(mode="after")
    def _columns_of_the_reference(self) -> Self:
        known = tuple(group for group in COLUMN_ORDER if group in self.features)
        if self.features != known or known[:1] != ("xyz",) or ("scale" in known) != ("rotation" in known):
            raise ValueError(
                f"features {','.join(self.features)} are not columns of the reference; it reads xyz, then of normals, "
                "reference_color and scale,rotation (both) what was switched on, in this order"
            )
        return self

    @property
    def points(self) -> PointsContract:
        """The points encoder's input contract."""
        return PointsContract(
            features=self.features,
            num_points=self.num_points,
            alpha_threshold=self.alpha_threshold,
            sampling=self.sampling,
            standardise_attributes=False,
        )

    @property
    def point_backbone(self) -> PointBackbone:
        """The points encoder's backbone.

        Points that are not in farthest-point order have their centres searched.
        """
        match self.model:
            case "pointnet_cls":
                return PointNetConfig()
            case "pointnet2_cls_msg":
                return PointNet2MSGConfig(centres="prefix" if self.sampling == "fps" else "fps")
            case _:
                assert_never(self.model)

    @property
    def our_name(self) -> ReferenceModel:
        """The point network, as `reference_keys` calls it."""
        return "pointnet" if self.model == "pointnet_cls" else "pointnet2_msg"


def import_reference_checkpoint(file: Path, config: ReferenceImport) -> Imported:
    """Both encoders of a checkpoint, the fusion network (and a classifier's head) beside them.

    Raises ConfigError: not such a checkpoint; another network or other columns than `config` says, naming the shape; a
    tensor without a place, naming it; values that are not finite.
    """
    content = read_weights_file(file)
    _check_parts(content, file)
    states = {part: clean_state(content[part], f"{file}, {part}") for part in (POINTS, IMAGE, FUSION)}
    _check_point_model(states[POINTS], config, f"{file}, {POINTS}")

    point_card = PointEncoderCard(contract=config.points, backbone=config.point_backbone)
    image_card = ImageEncoderCard(contract=ImageContract(image_size=config.image_size), backbone=ResNetConfig())
    points, image = point_card.build(seed=0), image_card.build(seed=0)
    fusion = FusionNetwork(image.feature_dim, points.feature_dim)
    point_head = _fill(points.backbone, states[POINTS], config.our_name, f"{file}, {POINTS}")
    image_head = _fill(image.backbone, states[IMAGE], "resnet18", f"{file}, {IMAGE}")
    _fill(fusion, states[FUSION], "fusion", f"{file}, {FUSION}")

    beside: dict[str, Mapping[str, Tensor]] = {"fusion": fusion.state_dict()}
    beside |= {"points_classifier_head": point_head} if point_head else {}
    beside |= {"image_classifier_head": image_head} if image_head else {}
    report = ImportReport(
        file=file.name,
        sha256=file_sha256(file),
        model=config.model,
        settings=config.digest(),
        placements=(
            _placement(POINTS, states[POINTS], point_head),
            _placement(IMAGE, states[IMAGE], image_head),
            _placement(FUSION, states[FUSION], states[FUSION], "fusion network"),
        ),
        left=_left(content),
        notes=(_SAID_OF_NORMALS,) if "normals" in config.features else (),
    )
    models = {"points": ImportedModel(points.eval(), point_card), "image": ImportedModel(image.eval(), image_card)}
    return Imported(models, report, beside)


def _check_parts(content: Mapping[str, Any], file: Path) -> None:
    """The three networks are there, and nothing that has no place."""
    if is_state_dict(content):
        raise ConfigError(
            f"{file}: one network's weights, not a checkpoint of the cross-modal reference; "
            "plain image weights are imported with --model resnet18, resnet34 or resnet50"
        )
    if missing := [part for part in (POINTS, IMAGE, FUSION) if part not in content]:
        raise ConfigError(
            f"{file}: no {', '.join(missing)} (it holds {some(sorted(content)) or 'nothing'}), "
            "so it is not a checkpoint of the cross-modal reference; choose another file"
        )
    if unknown := sorted(content.keys() - {POINTS, IMAGE, FUSION, EPOCH, OPTIMIZER}):
        raise ConfigError(
            f"{file}: nothing is known of its {some(unknown)}, so nothing of it is imported; save a checkpoint without"
        )


def _check_point_model(state: Mapping[str, Tensor], config: ReferenceImport, what: str) -> None:
    """The network and the number of columns, which the first layer's weights tell."""
    first = {"pointnet_cls": "feat.conv1.weight", "pointnet2_cls_msg": "sa1.conv_blocks.0.0.weight"}
    for model, name in first.items():
        if model != config.model and name in state and first[config.model] not in state:
            raise ConfigError(f"{what}: it has '{name}', which is of {model}; pass --model {model}")
    weight = state.get(first[config.model])
    columns = config.points.columns
    if weight is not None and weight.ndim >= 2 and weight.shape[1] != columns:
        raise ConfigError(
            f"{what}: '{first[config.model]}' is {list(weight.shape)}, for {weight.shape[1]} columns, but features "
            f"{','.join(config.features)} have {columns}; {_features_for(weight.shape[1])}"
        )


def _features_for(columns: int) -> str:
    """What to ask for instead."""
    for count in range(len(_CHOICES) + 1):
        for chosen in itertools.combinations(_CHOICES, count):
            features: tuple[FeatureGroup, ...] = ("xyz", *itertools.chain.from_iterable(chosen))
            if sum(FEATURE_WIDTH[group] for group in features) == columns:
                return f"pass --features {','.join(features)}"
    return "the reference has no such input; check where the file comes from"


def _fill(module: nn.Module, state: Mapping[str, Tensor], model: ReferenceModel, what: str) -> dict[str, Tensor]:
    """Put the state into the module and return the tensors of a classifier's head, which the module does not have."""
    layers = classifier_layers(model)
    head = {name: tensor for name, tensor in state.items() if name.partition(".")[0] in layers}
    body = {name: tensor for name, tensor in state.items() if name not in head}
    check_fits(body, to_reference(model, module.state_dict()), what, "check --model, and where the file comes from")
    module.load_state_dict(from_reference(model, body))
    return head


def _placement(
    part: str, state: Mapping[str, Tensor], beside: Mapping[str, Tensor], what: str = "classifier head"
) -> Placement:
    encoder, kept_as = len(state) - len(beside), what if beside else ""
    return Placement(part=part, tensors=len(state), encoder=encoder, beside=tuple(beside), kept_as=kept_as)


def _left(content: Mapping[str, Any]) -> tuple[str, ...]:
    """What is not of a network, in words."""
    left = []
    epoch = content.get(EPOCH)
    if isinstance(epoch, int | float):
        left.append(f"it was saved after epoch {epoch:g}")
    if OPTIMIZER in content:
        left.append("the optimizer's state, which only going on with that training needs")
    return tuple(left)
