"""Our modules have exactly the reference's parameters, under the documented renaming."""

import json
from pathlib import Path

import pytest
import torch

from ssl_core.contracts import FEATURE_WIDTH, ImageContract, PointsContract
from ssl_core.errors import ConfigError
from ssl_core.models.build import FusionNetwork, build_image_encoder, build_point_encoder
from ssl_core.models.image import ResNetConfig
from ssl_core.models.pointnet import PointNetConfig
from ssl_core.models.pointnet2 import PointNet2MSGConfig
from ssl_core.models.reference_checkpoint import from_reference, to_reference

SHAPES = json.loads((Path(__file__).parents[2] / "golden/reference_shapes.json").read_text())
FEATURES = {
    3: ("xyz",),
    10: ("xyz", "scale", "rotation"),
    54: ("xyz", "reference_color", "scale", "rotation"),
}


def module_of(entry: str) -> torch.nn.Module:
    model, _, columns = entry.partition(" D=")
    match model:
        case "fusion":
            return FusionNetwork(512, 512)
        case "resnet18":
            return build_image_encoder(ImageContract(), ResNetConfig(), seed=0).backbone
        case _:
            features = FEATURES[int(columns)]
            assert sum(FEATURE_WIDTH[group] for group in features) == int(columns)
            config = PointNetConfig() if model == "pointnet" else PointNet2MSGConfig()
            return build_point_encoder(PointsContract(features=features), config, seed=0).backbone


@pytest.mark.parametrize("entry", SHAPES)
def test_names_and_shapes_are_the_reference(entry: str) -> None:
    model = entry.partition(" ")[0]
    renamed = to_reference(model, module_of(entry).state_dict())
    assert {name: list(tensor.shape) for name, tensor in renamed.items()} == SHAPES[entry]


@pytest.mark.parametrize("entry", SHAPES)
def test_reference_weights_load_strictly(entry: str) -> None:
    model = entry.partition(" ")[0]
    module = module_of(entry)
    generator = torch.Generator().manual_seed(0)
    theirs = {name: torch.rand(shape, generator=generator) for name, shape in SHAPES[entry].items()}
    ours = from_reference(model, theirs)
    module.load_state_dict(ours)
    assert to_reference(model, ours).keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in to_reference(model, ours).items())


def test_a_foreign_name_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"'bn1.weight' is not one of pointnet"):
        from_reference("pointnet", {"bn1.weight": torch.zeros(3)})
