"""Bundles: whole or refused, nothing half-written, nothing unpickled."""

import json
import shutil
import tarfile
from pathlib import Path

import pytest
import torch

from ssl_core.contracts import ImageContract, PointsContract
from ssl_core.errors import IntegrityError, RegistryError, StorageError
from ssl_core.models.build import Encoder, build_image_encoder
from ssl_core.models.bundle import BundleCard, check_sound, load_bundle, read_card, save_bundle, verify_checksums
from ssl_core.models.cards import ImageEncoderCard, PointEncoderCard
from ssl_core.models.image import ResNetConfig
from ssl_core.models.pointnet import PointNetConfig
from ssl_core.models.program import check_program

torch.set_num_threads(1)
PLAIN = PointNetConfig(input_transform=False, feature_transform=False, feature_dim=32)
CARD = PointEncoderCard(contract=PointsContract(num_points=16), backbone=PLAIN)
FILES = ("encoder.safetensors", "encoder.json", "program.pt2", "checksums.json")


def encoder(seed: int = 0) -> Encoder:
    return CARD.build(seed)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "whole"
    save_bundle(encoder(), CARD, folder, name="points", lineage={"study": "s"})
    return folder


@pytest.fixture
def bundle(whole: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(whole, tmp_path / "bundle"))


def test_a_bundle_is_four_files_and_nothing_beside_it(whole: Path) -> None:
    assert {file.name for file in whole.iterdir()} == set(FILES)
    assert [file.name for file in whole.parent.iterdir()] == ["whole"]
    verify_checksums(whole)


@pytest.mark.parametrize("name", FILES[:3])
def test_a_changed_byte_is_found(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(IntegrityError, match=name):
        load_bundle(bundle)


@pytest.mark.parametrize("name", FILES[:3])
def test_a_missing_file_is_found(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(IntegrityError, match=f"{name}: missing"):
        verify_checksums(bundle)


def test_without_checksums_it_is_not_whole(bundle: Path, tmp_path: Path) -> None:
    (bundle / "checksums.json").unlink()
    for folder in (bundle, tmp_path / "nowhere"):
        with pytest.raises(RegistryError, match="not a whole encoder bundle"):
            load_bundle(folder)


@pytest.mark.parametrize("text", ["{", "[]", '{"encoder.json": "0"}'])
def test_a_damaged_list_is_found(bundle: Path, text: str) -> None:
    (bundle / "checksums.json").write_text(text)
    with pytest.raises(IntegrityError, match=r"checksums.json"):
        verify_checksums(bundle)


def test_a_list_cannot_reach_outside(bundle: Path) -> None:
    sums = json.loads((bundle / "checksums.json").read_text())
    (bundle / "checksums.json").write_text(json.dumps(sums | {"../whole": "0"}))
    with pytest.raises(IntegrityError, match="not a plain file name"):
        verify_checksums(bundle)


def test_other_files_may_lie_beside(bundle: Path) -> None:
    (bundle / "model_card.md").write_text("hello")
    verify_checksums(bundle)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format_version": 99}, "newer"),
        ({"colour": 1}, "unknown key 'colour'"),
        ({"card": {"kind": "point_encoder", "contract": {"modality": "image"}}}, "card.point_encoder.backbone"),
        ({"card": {"kind": "hologram"}}, "card of kind 'hologram'.*upgrade splatsweep"),
        ({"card": {"kind": 3}}, "union|kind"),
        ({"card": 3}, "card"),
    ],
)
def test_a_card_that_makes_no_sense_is_refused(bundle: Path, change: dict, reason: str) -> None:
    values = json.loads((bundle / "encoder.json").read_text())
    (bundle / "encoder.json").write_text(json.dumps(values | change))
    with pytest.raises(RegistryError, match=reason):
        read_card(bundle)


def test_no_card_is_not_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"no encoder.json"):
        read_card(tmp_path)


def test_saving_again_replaces(bundle: Path) -> None:
    other = encoder(seed=9)
    save_bundle(other, CARD, bundle, name="points", lineage={})
    assert all(torch.equal(t, other.state_dict()[n]) for n, t in load_bundle(bundle).state_dict().items())
    assert read_card(bundle).lineage == {}


def test_what_cannot_be_kept_leaves_nothing_behind(tmp_path: Path) -> None:
    broken = encoder()
    with torch.no_grad():
        broken.backbone.pooled.linear.weight.fill_(float("nan"))
    with pytest.raises(RegistryError, match="not finite"):
        save_bundle(broken, CARD, tmp_path / "out" / "bundle", name="points", lineage={})
    assert list((tmp_path / "out").iterdir()) == []


def test_a_failed_save_keeps_the_old_bundle(bundle: Path) -> None:
    broken = encoder()
    with torch.no_grad():
        broken.backbone.pooled.linear.weight.fill_(float("inf"))
    with pytest.raises(RegistryError):
        save_bundle(broken, CARD, bundle, name="points", lineage={})
    verify_checksums(bundle)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        save_bundle(encoder(), CARD, tmp_path / "file" / "bundle", name="points", lineage={})


def test_a_program_of_other_weights_is_found(whole: Path) -> None:
    check_program(encoder().eval(), CARD, whole / "program.pt2")
    with pytest.raises(RegistryError, match=r"differs from the model by .* at batch 1"):
        check_program(encoder(seed=1).eval(), CARD, whole / "program.pt2")


def test_the_path_of_initial_weights_stays_at_home(tmp_path: Path) -> None:
    contract, weights = ImageContract(image_size=32), tmp_path / "secret" / "weights.pth"
    weights.parent.mkdir()
    torch.save(build_image_encoder(contract, ResNetConfig(), seed=1).backbone.state_dict(), weights)
    config = ResNetConfig(weights_file=str(weights))
    card = ImageEncoderCard(contract=contract, backbone=config)
    save_bundle(build_image_encoder(contract, config, seed=0), card, tmp_path / "b", name="image", lineage={})
    weights.unlink()
    assert "secret" not in (tmp_path / "b/encoder.json").read_text()
    assert load_bundle(tmp_path / "b")(card.example(2)).shape == (2, 512)


def test_the_card_survives_json() -> None:
    card = BundleCard(name="x", card=CARD, lineage={"a": "b"})
    assert BundleCard.from_json(card.to_json()) == card


def test_a_bundle_of_format_1_is_read(tmp_path: Path) -> None:
    """Written by revision 3e03538, whose encoder.json knew encoders alone."""
    with tarfile.open(Path(__file__).parents[2] / "golden" / "bundle_format_1.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    read, module = read_card(tmp_path), check_sound(tmp_path)
    contract = PointsContract(num_points=16, features=("xyz", "opacity"))
    assert (read.format_version, read.name, read.lineage) == (1, "points", {"study": "old", "trial": "4"})
    assert read.card == PointEncoderCard(contract=contract, backbone=PLAIN.model_copy(update={"feature_dim": 8}))
    features = [-0.015077, -0.050969, 0.043386, 0.165509, 0.021282, 0.049161, 0.109881, 0.212119]
    with torch.no_grad():
        found = module(read.card.example(2))[0]
    torch.testing.assert_close(found, torch.tensor(features), atol=2e-6, rtol=1e-5)
    written = json.loads((tmp_path / "encoder.json").read_text())
    for change, reason in (
        ({"feature_dim": 7}, "feature_dim 7 is not the backbone's 8"),
        ({"contract": {"modality": "image"}}, "does not read image"),
        ({"colour": 1}, "unknown key 'colour'"),
    ):
        (tmp_path / "encoder.json").write_text(json.dumps(written | change))
        with pytest.raises(RegistryError, match=reason):
            read_card(tmp_path)
