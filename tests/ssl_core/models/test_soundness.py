"""What a bundle may hold: data that is what it says. Each way to be otherwise is refused, and nothing is ever run."""

import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from ssl_core.contracts import PointsContract
from ssl_core.errors import IntegrityError, RegistryError
from ssl_core.models.bundle import CHECKSUMS, check_sound, refuse_pickle, save_bundle
from ssl_core.models.cards import PointEncoderCard
from ssl_core.models.pointnet import PointNetConfig
from ssl_core.models.pointnet2 import PointNet2SSGConfig
from ssl_core.models.program import check_archive, export_program, on_the_cpu, traced
from tests.registry.resealed import reseal

torch.set_num_threads(1)
PLAIN = PointNetConfig(input_transform=False, feature_transform=False, feature_dim=32)
CONTRACT = PointsContract(num_points=16)
SHAPE = CONTRACT.input_shape
CARD = PointEncoderCard(contract=CONTRACT, backbone=PLAIN)


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[[str, str], object], tuple[str, str]]:
        return (open, (str(self.file), "w"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sound") / "whole"
    save_bundle(CARD.build(0), CARD, folder, name="points", lineage={})
    return folder


@pytest.fixture
def bundle(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "bundle"))


def rewrite(file: Path, change: Callable[[str, bytes], bytes | None], extra: dict[str, bytes] | None = None) -> None:
    """A zip with members changed (None: left out) and others added under its root."""
    with zipfile.ZipFile(file) as old:
        members = [(name, change(name, old.read(name))) for name in old.namelist()]
    root = members[0][0].partition("/")[0]
    with zipfile.ZipFile(file, "w") as new:
        for name, content in members:
            if content is not None:
                new.writestr(name, content)
        for name, content in (extra or {}).items():
            new.writestr(f"{root}/{name}", content)


def in_model(old: str, new: str) -> Callable[[str, bytes], bytes]:
    """Change the first occurrence of a text in the graph."""

    def change(name: str, content: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return content
        assert old in content.decode()
        return content.decode().replace(old, new, 1).encode()

    return change


def test_a_sound_bundle_passes_and_gives_the_encoder(whole: Path) -> None:
    encoder = check_sound(whole)
    assert encoder(CARD.example(2)).shape == (2, 32)


def test_no_pickle_and_no_path_of_ours_is_in_a_program(whole: Path) -> None:
    with zipfile.ZipFile(whole / "program.pt2") as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    assert not [name for name, content in contents.items() if content[:1] == b"\x80" or content[:2] == b"PK"]
    assert not [name for name, content in contents.items() if b"ssl_core/" in content]


def test_older_programs_with_example_inputs_pass(tmp_path: Path) -> None:
    program = traced(on_the_cpu(CARD.build(0)), CARD)
    torch.export.save(program, tmp_path / "program.pt2")
    with zipfile.ZipFile(tmp_path / "program.pt2") as archive:
        assert archive.getinfo("program/data/sample_inputs/model.pt").file_size > 0
    check_archive(tmp_path / "program.pt2", SHAPE)


def test_weights_that_are_not_numbers_are_refused(bundle: Path) -> None:
    state = safetensors.torch.load_file(bundle / "encoder.safetensors")
    name = next(name for name in state if name.endswith("linear.weight"))
    state[name].flatten()[3] = float("nan")
    safetensors.torch.save_file(state, bundle / "encoder.safetensors")
    reseal(bundle)
    with pytest.raises(RegistryError, match=f"{name} holds 1 values that are not finite"):
        check_sound(bundle)


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        (
            {"features": ["xyz", "scale"], "num_points": 16},
            RegistryError,
            "encoder.json says",
        ),
        ({"num_points": 32}, RegistryError, "the card is not this program's"),
    ],
)
def test_a_contract_that_lies_about_shapes_is_refused(bundle: Path, change: dict, error: type, reason: str) -> None:
    card = json.loads((bundle / "encoder.json").read_text())
    card["card"]["contract"] |= change
    (bundle / "encoder.json").write_text(json.dumps(card))
    reseal(bundle)
    with pytest.raises(error, match=reason):
        check_sound(bundle)


def test_weights_of_another_shape_are_refused(bundle: Path) -> None:
    card = json.loads((bundle / "encoder.json").read_text())
    card["card"]["backbone"]["feature_dim"] = 33
    (bundle / "encoder.json").write_text(json.dumps(card))
    reseal(bundle)
    with pytest.raises(IntegrityError, match="does not fit the model"):
        check_sound(bundle)


@pytest.mark.parametrize("name", ["weights.pkl", "model.pth", "harmless.txt", "archive.dat", "encoder.safetensors"])
def test_a_pickle_is_refused_whatever_its_name_and_not_read(bundle: Path, name: str, tmp_path: Path) -> None:
    mark = tmp_path / "it was run"
    if name == "archive.dat":
        torch.save({"x": Bomb(mark)}, bundle / name)
    else:
        (bundle / name).write_bytes(pickle.dumps(Bomb(mark)))
    reseal(bundle)
    with pytest.raises(RegistryError, match="pickle"):
        check_sound(bundle)
    assert not mark.exists()


def test_a_link_and_missing_weights_are_refused(bundle: Path, whole: Path) -> None:
    (bundle / "encoder.safetensors").unlink()
    with pytest.raises(IntegrityError, match=r"encoder\.safetensors: missing"):
        check_sound(bundle)
    (bundle / "encoder.safetensors").symlink_to(whole / "encoder.safetensors")
    with pytest.raises(IntegrityError, match="a link"):
        check_sound(bundle)


def test_safetensors_whose_header_begins_like_a_pickle_are_no_pickle(tmp_path: Path) -> None:
    (tmp_path / "encoder.safetensors").write_bytes((0x0280).to_bytes(8, "little") + b"{" + b" " * 0x27F)
    refuse_pickle(tmp_path / "encoder.safetensors")


# the program file


def test_a_pickle_where_torch_would_read_it_is_refused(bundle: Path, tmp_path: Path) -> None:
    """torch.export.load runs it; this is what the check is for."""
    mark = tmp_path / "it was run"
    bomb = pickle.dumps(Bomb(mark))
    rewrite(bundle / "program.pt2", lambda name, content: bomb if "sample_inputs" in name else content)
    with pytest.raises(RegistryError, match="holds a pickle"):
        check_archive(bundle / "program.pt2")
    assert not mark.exists()


def test_weights_that_ask_to_be_unpickled_are_refused(bundle: Path) -> None:
    def ask(name: str, content: bytes) -> bytes:
        text = content.decode(errors="replace")
        return text.replace('"use_pickle": false', '"use_pickle": true', 1).encode() if ".json" in name else content

    rewrite(bundle / "program.pt2", ask)
    with pytest.raises(RegistryError, match="holds a pickle"):
        check_archive(bundle / "program.pt2")


@pytest.mark.parametrize(
    "member", ["data/aotinductor/model/x.so", "data/constants/custom_obj_0", "data/weights/model.pt", "extra/x", "../x"]
)
def test_members_that_no_program_of_ours_has_are_refused(bundle: Path, member: str) -> None:
    rewrite(bundle / "program.pt2", lambda _, content: content, {member: b"x"})
    with pytest.raises(RegistryError, match="which no program of ours has"):
        check_archive(bundle / "program.pt2")


def test_two_members_of_one_name_are_refused(bundle: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        rewrite(bundle / "program.pt2", lambda _, content: content, {"models/model.json": b"{}"})
    with pytest.raises(RegistryError, match="which no program of ours has"):
        check_archive(bundle / "program.pt2")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("torch.ops.aten.linear.default", "torch.hub.load", "calls 'torch.hub.load'"),
        ("torch.ops.aten.linear.default", "torch.ops.aten.from_file.default", "from_file"),
        ("torch.ops.aten.linear.default", "_operator.methodcaller", "methodcaller"),
        ("Symbol('s77', positive=True, integer=True)", "__import__('os').system('x')", "a size is"),
        ('"guards_code": []', '"guards_code": ["import os"]', "code of its own"),
        ('"as_tensor": {"name": "x"}', '"as_custom_obj": {"name": "x"}', "as_custom_obj"),
        ("torch.ops.aten.linear.default", "torch.ops.aten.__class__.mro", "not an operator"),
        ('"builtins.tuple\\"', '"collections.defaultdict\\"', "in_spec is"),
        ('"metadata": {', '"metadata": {"notes": {"expr_str": "open()"}, ', "stands where torch takes a name"),
    ],
)
def test_a_graph_that_would_run_more_than_operators_is_refused(bundle: Path, old: str, new: str, reason: str) -> None:
    rewrite(bundle / "program.pt2", in_model(old, new))
    with pytest.raises(RegistryError, match=reason):
        check_archive(bundle / "program.pt2", SHAPE)


@pytest.mark.parametrize(
    ("old", "name"),
    [
        ('{"as_tensor": {"name": "x"}}', "x"),
        ('"forward_arg_names": ["x"]', "x"),
        ('"parameter_name": "backbone.pooled.linear.weight"', "backbone.pooled.linear.weight"),
        ('"fqn": "backbone.pooled"', "backbone.pooled"),
    ],
)
@pytest.mark.parametrize(
    "code", ["x=open('mark', 'w')", 'x", open("mark", "w"), "', "x):\n  open()\n  def f(", "x:open"]
)
def test_code_in_place_of_a_name_is_refused(bundle: Path, old: str, name: str, code: str) -> None:
    """Torch's loader writes names into the source of a function, which it compiles: a default value is run then."""
    rewrite(bundle / "program.pt2", in_model(old, old.replace(json.dumps(name), json.dumps(code))))
    with pytest.raises(RegistryError, match="stands where torch takes a name into the code it compiles"):
        check_archive(bundle / "program.pt2", SHAPE)


@pytest.fixture(scope="module")
def looping(tmp_path_factory) -> Path:
    """The program of an encoder that searches its centres, which is a loop over a graph of its own."""
    backbone = PointNet2SSGConfig(centres="fps", centres_1=8, centres_2=4, feature_dim=16)
    file = tmp_path_factory.mktemp("looping") / "program.pt2"
    card = PointEncoderCard(contract=CONTRACT, backbone=backbone)
    export_program(card.build(0), card, file)
    return file


def test_a_loop_passes_and_holds_no_path_of_ours(looping: Path) -> None:
    check_archive(looping, SHAPE)
    with zipfile.ZipFile(looping) as archive:
        graph = archive.read("program/models/model.json")
    assert b"torch.ops.higher_order.while_loop" in graph
    assert b"ssl_core/" not in graph


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("torch.ops.aten.minimum.default", "torch.load", "calls 'torch.load'"),
        ("torch.ops.higher_order.while_loop", "torch.ops.higher_order.call_torchbind", "call_torchbind"),
        ('"name": "while_loop_body_graph_0"', '"name": "f\\"), open(\\"mark"', "stands where torch takes a name"),
        ("Symbol('s77', positive=True, integer=True)", "open('mark', 'w')", "a size is"),
    ],
)
def test_what_a_loop_does_is_looked_at_too(looping: Path, tmp_path: Path, old: str, new: str, reason: str) -> None:
    file = Path(shutil.copy(looping, tmp_path))
    rewrite(file, in_model(old, new))
    with pytest.raises(RegistryError, match=reason):
        check_archive(file, SHAPE)


@pytest.mark.parametrize("content", [b"", b"PK", b"nonsense", b"\x80\x04."])
def test_what_is_no_program_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "program.pt2").write_bytes(content)
    with pytest.raises(IntegrityError, match=r"program\.pt2"):
        check_archive(tmp_path / "program.pt2")


def test_deep_json_and_no_graph_are_refused(bundle: Path) -> None:
    rewrite(bundle / "program.pt2", lambda name, content: b"[" * 10**6 if name.endswith("model.json") else content)
    with pytest.raises(IntegrityError, match="not a program"):
        check_archive(bundle / "program.pt2")
    rewrite(bundle / "program.pt2", lambda name, content: None if name.endswith("model.json") else content)
    with pytest.raises(IntegrityError, match="holds no graph"):
        check_archive(bundle / "program.pt2")


def test_checksums_alone_do_not_make_it_sound(bundle: Path) -> None:
    rewrite(bundle / "program.pt2", in_model("torch.ops.aten.linear.default", "torch.load"))
    reseal(bundle)
    assert json.loads((bundle / CHECKSUMS).read_text())
    with pytest.raises(RegistryError, match=r"calls 'torch\.load'"):
        check_sound(bundle)
