"""Frozen image networks: the pinned file and no other, and names of tensors that are proved by what they compute."""

import hashlib
from pathlib import Path

import pytest
import timm
import torch
import torchvision

from ssl_core.contracts import ImageContract, PointsContract
from ssl_core.errors import ConfigError, IntegrityError, RegistryError
from ssl_core.models.bundle import save_bundle
from ssl_core.models.cards import ImageEncoderCard, PointEncoderCard
from ssl_core.models.image import ResNetConfig, TimmConfig
from ssl_core.models.pointnet import PointNetConfig
from ssl_core.models.small_cnn import SmallCnnConfig
from ssl_core.models.teachers import (
    BundleTeacher,
    FileTeacher,
    PackagedTeacher,
    _packaged,
    build_teacher,
    initial_supervision,
    supervision_of,
    teacher_card,
)
from ssl_core.models.weights_file import read_weights_file

torch.set_num_threads(1)
VIEWS = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_the_packaged_network_is_trained_frozen_and_as_wide_as_its_card_says() -> None:
    teacher = build_teacher(PackagedTeacher(image_size=64))
    features = teacher(VIEWS)
    assert features.shape == (2, *teacher_card(PackagedTeacher()).output_shape) == (2, 1280)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not any(module.training for module in teacher.modules())


BLOCKS = (1, 2, 2, 3, 3, 4, 1)
"""of each stage of EfficientNet-Lite0 (Tan & Le 2019, table 1)"""


def timm_name(name: str) -> str:
    """The package's name of a tensor as timm's, piece by piece."""
    top = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
    head, _, rest = name.partition(".")
    if head != "_blocks":
        return f"{top[head]}.{rest}"
    number, layer, kind = rest.split(".")
    stage, block = [(s, b) for s, count in enumerate(BLOCKS) for b in range(count)][int(number)]
    layers = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
    layers |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
    if stage == 0:  # expands nothing, so it begins with the depthwise layer
        layers = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    return f"blocks.{stage}.{block}.{layers[layer]}.{kind}"


def test_every_tensor_of_the_package_is_where_its_name_says() -> None:
    theirs = read_weights_file(_packaged())
    found = build_teacher(PackagedTeacher()).backbone.state_dict()
    names = {name: timm_name(name) for name in theirs if not name.startswith("_fc.")}
    assert sorted(names.values()) == sorted(found)
    assert all(torch.equal(theirs[name], found[other]) for name, other in names.items())


def test_weights_of_timm_come_from_a_local_file(tmp_path: Path) -> None:
    network = timm.create_model("mobilenetv3_small_050", pretrained=False).eval()
    torch.save({"state_dict": network.state_dict()}, tmp_path / "weights.pth")
    width = int(network.head_hidden_size)
    config = FileTeacher(
        backbone=TimmConfig(network="mobilenetv3_small_050", feature_dim=width),
        weights_file=str(tmp_path / "weights.pth"),
        sha256=sha256(tmp_path / "weights.pth"),
        image_size=64,
        mean=(0, 0, 0),
        std=(1, 1, 1),
    )
    wanted = network.forward_head(network.forward_features(VIEWS), pre_logits=True)
    torch.testing.assert_close(build_teacher(config)(VIEWS), wanted)
    for wrong, said in (
        ({"sha256": "0" * 64}, "sha256"),
        ({"backbone": ResNetConfig()}, "not this network"),
        ({"backbone": TimmConfig(network="mobilenetv3_small_050", feature_dim=7)}, "features, not 7"),
        ({"backbone": TimmConfig(network="no_such_network")}, "no network 'no_such_network'"),
        ({"weights_file": str(tmp_path / "gone.pth")}, "no such file"),
    ):
        with pytest.raises(ConfigError, match=said):
            build_teacher(config.model_copy(update=wrong))


def test_a_registered_image_encoder_teaches(tmp_path: Path) -> None:
    card = ImageEncoderCard(contract=ImageContract(image_size=64), backbone=ResNetConfig())
    encoder = card.build(3).eval()
    save_bundle(encoder, card, tmp_path / "bundle", name="some-image", lineage={})
    digest = sha256(tmp_path / "bundle" / "encoder.safetensors")
    config = BundleTeacher(folder=str(tmp_path / "bundle"), sha256=digest)
    torch.testing.assert_close(build_teacher(config)(VIEWS), encoder(VIEWS))
    with pytest.raises(ConfigError, match=r"teacher\.sha256"):
        build_teacher(config.model_copy(update={"sha256": "0" * 64}))


def test_weights_of_torchvision_come_from_a_local_file(tmp_path: Path) -> None:
    network = torchvision.models.resnet18(weights=None).eval()
    file = tmp_path / "resnet18.pth"
    torch.save(network.state_dict(), file)
    config = FileTeacher(backbone=ResNetConfig(), weights_file=str(file), sha256=sha256(file), image_size=64)
    network.fc = torch.nn.Identity()
    normalised = torchvision.transforms.functional.normalize(VIEWS, list(config.mean), list(config.std))
    torch.testing.assert_close(build_teacher(config)(VIEWS), network(normalised))
    with pytest.raises(ConfigError, match=r"takes .*64, 64"):
        build_teacher(config)(VIEWS[..., :48, :48])
    for content, said in (
        ({**network.state_dict(), "conv1.weight": torch.zeros(64, 1, 7, 7)}, r"conv1\.weight \[64, 1, 7, 7\]"),
        ({**network.state_dict(), "bn1.weight": torch.full((64,), torch.nan)}, "NaN"),
        (network, "holds more than tensors"),
    ):
        torch.save(content, file)
        with pytest.raises(ConfigError, match=said) as caught:
            build_teacher(config.model_copy(update={"sha256": sha256(file)}))
        assert "resnet18.pth" in str(caught.value)


def test_a_bundle_that_was_changed_or_is_none_does_not_teach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssl_core.models.bundle.export_program", lambda module, card, file: file.touch())
    card = ImageEncoderCard(contract=ImageContract(image_size=24), backbone=SmallCnnConfig(channels=(4, 6)))
    save_bundle(card.build(3).eval(), card, tmp_path / "bundle", name="some-image", lineage={})
    weights = tmp_path / "bundle" / "encoder.safetensors"
    config = BundleTeacher(folder=str(tmp_path / "bundle"), sha256=sha256(weights))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"encoder\.safetensors"):
        build_teacher(config)
    with pytest.raises(RegistryError, match="gone"):
        build_teacher(config.model_copy(update={"folder": str(tmp_path / "gone")}))
    points = PointEncoderCard(contract=PointsContract(num_points=16), backbone=PointNetConfig())
    save_bundle(points.build(0).eval(), points, tmp_path / "points", name="some-points", lineage={})
    with pytest.raises(ConfigError, match="point_encoder; name an image encoder"):
        build_teacher(config.model_copy(update={"folder": str(tmp_path / "points")}))


def test_an_encoder_hands_on_whose_labels_reached_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssl_core.models.bundle.export_program", lambda module, card, file: file.touch())
    card = ImageEncoderCard(contract=ImageContract(image_size=24), backbone=SmallCnnConfig(channels=(4, 6)))
    encoder, learnt = card.build(3).eval(), supervision_of(PackagedTeacher())
    for name, lineage in (("plain", {"study": "s"}), ("distilled", {"study": "s", "supervision": learnt})):
        save_bundle(encoder, card, tmp_path / name, name="some-image", lineage=lineage)
    said = {
        name: supervision_of(BundleTeacher(folder=str(tmp_path / name), sha256="0" * 64))
        for name in ("plain", "distilled", "gone")
    }
    assert said["plain"] == "a teacher of an earlier study"
    assert said["distilled"] == "a teacher of an earlier study that learnt from an ImageNet-supervised teacher"
    assert said["gone"].endswith("whose card is not there any more")


def test_weights_that_training_begins_at_are_somebodys(tmp_path: Path) -> None:
    assert initial_supervision(ResNetConfig()) == initial_supervision(TimmConfig()) == ""
    assert "trained elsewhere" in initial_supervision(ResNetConfig(weights_file=str(tmp_path / "resnet18.pth")))
