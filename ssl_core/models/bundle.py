"""A trained model on disk: weights and description as data, no pickle. Written, read, and checked.

encoder.safetensors   weights and buffers of the module
encoder.json          BundleCard: the card (what it is, enough to build it again), name, lineage
program.pt2           the same as a program that needs torch alone (see `program.py`)
encoder.onnx          the same as ONNX (see `onnx_export.py`), in bundles that `add_onnx` was asked to complete
checksums.json        sha256 of each of the others; a folder without it is not a bundle

Checksums only say that files are those that were written. `check_sound`, asked once at registration, looks into them.
"""

import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import safetensors
import safetensors.torch
import torch
from pydantic import Field, ValidationError
from torch import nn

from ssl_core.config import Config, explain, parse_json
from ssl_core.contracts import EncoderContract
from ssl_core.errors import ConfigError, IntegrityError, NewerVersionError, RegistryError, StorageError
from ssl_core.files.whole import REMEDY, atomic_write, whole_folder
from ssl_core.models.build import Backbone
from ssl_core.models.cards import Card, CardKind, encoder_card
from ssl_core.models.program import check_archive, export_program
from ssl_core.models.weights_file import file_sha256

WEIGHTS, CARD, PROGRAM, CHECKSUMS = "encoder.safetensors", "encoder.json", "program.pt2", "checksums.json"
ONNX = "encoder.onnx"
FORMAT_VERSION = 2


class BundleCard(Config):
    """What a bundle holds and where it comes from."""

    format_version: int = FORMAT_VERSION
    """of the file that was read"""
    name: str = Field(min_length=1, max_length=200)
    card: Card
    lineage: dict[str, str] = Field(default_factory=dict)


class _Format1(Config):
    """encoder.json as revisions before the cards wrote it: encoders alone, contract and backbone beside the name."""

    format_version: Literal[1] = 1
    name: str = Field(min_length=1, max_length=200)
    contract: EncoderContract
    backbone: Backbone
    feature_dim: int = Field(ge=1)
    lineage: dict[str, str] = Field(default_factory=dict)

    def upgraded(self) -> BundleCard:
        if self.backbone.feature_dim != self.feature_dim:
            raise ConfigError(f"feature_dim {self.feature_dim} is not the backbone's {self.backbone.feature_dim}")
        card = encoder_card(self.contract, self.backbone)
        return BundleCard(format_version=1, name=self.name, card=card, lineage=self.lineage)


def save_bundle(module: nn.Module, card: Card, folder: Path, *, name: str, lineage: Mapping[str, str]) -> None:
    """Write a bundle of `module`, which `card` builds, to `folder`, whole or not at all, in place of an older one.

    Raises:
        RegistryError: the program does not reproduce the model.
        StorageError: the disk is full or not writable.
    """
    described = BundleCard(name=name, card=card, lineage=dict(lineage))
    state = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
    try:
        with whole_folder(folder, sole_writer=False) as new:
            safetensors.torch.save_file(state, new / WEIGHTS)
            (new / CARD).write_text(_document(described.model_dump(mode="json")), encoding="utf-8")
            export_program(module, card, new / PROGRAM)
            sums = {file: file_sha256(new / file) for file in (CARD, PROGRAM, WEIGHTS)}
            (new / CHECKSUMS).write_text(_document(sums), encoding="utf-8")
    except safetensors.SafetensorError as error:
        raise StorageError(f"{folder}: cannot be written: {error}; {REMEDY}") from None


def add_onnx(folder: Path) -> Path:
    """Complete a bundle with `encoder.onnx`, compared with the model; one that has it is left as it is.

    Converting takes seconds and libraries that training does without, so `save_bundle` does not do it.

    Raises:
        MissingDependencyError, RegistryError, StorageError: as `export_onnx`. IntegrityError: the bundle was changed.
    """
    from ssl_core.models.onnx_export import export_onnx

    module = load_bundle(folder)
    sums = parse_json((folder / CHECKSUMS).read_text(encoding="utf-8"))
    if ONNX not in sums:
        export_onnx(module, read_card(folder).card, folder / ONNX)
        sums[ONNX] = file_sha256(folder / ONNX)
        with atomic_write(folder / CHECKSUMS) as stream:
            stream.write(_document(sums).encode())
    return folder / ONNX


def load_bundle(folder: Path) -> nn.Module:
    """The model of a bundle, on the CPU in evaluation mode, after its checksums were verified.

    Raises:
        IntegrityError: a file is missing or was changed.
        RegistryError: not a bundle, or one of a newer format.
    """
    verify_checksums(folder)
    card = read_card(folder).card
    try:
        # before anything of the width that the card speaks of is made: each output channel has a weight at least
        if 4 * card.output_shape[0] > (folder / WEIGHTS).stat().st_size:
            raise RuntimeError(f"it is too small for {card.output_shape[0]} output channels")
        weights = safetensors.torch.load_file(folder / WEIGHTS)
        module = card.build(seed=0)
        for name, wanted in module.state_dict().items():
            # torch would convert them, and drop what does not fit: the imaginary parts of complex weights, for one
            if name in weights and weights[name].dtype != wanted.dtype:
                raise RuntimeError(f"{name} is {weights[name].dtype}, not {wanted.dtype}")
        module.load_state_dict(weights)
    except (RuntimeError, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise IntegrityError(f"{folder / WEIGHTS}: does not fit the model that {CARD} describes ({reason})") from None
    return module.eval()


def read_card(folder: Path) -> BundleCard:
    """The description alone, of this format or format 1, without verifying the rest. Raises RegistryError."""
    file = folder / CARD
    values = _json(file, "this is not a bundle; give the folder that holds it")
    version = values.get("format_version") if isinstance(values, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise NewerVersionError(
            f"{file}: format {version} is newer than this installation's {FORMAT_VERSION}; upgrade splatsweep"
        )
    card = values.get("card") if isinstance(values, dict) else None
    kind_of_card = card.get("kind") if isinstance(card, dict) else None
    if isinstance(kind_of_card, str) and kind_of_card not in get_args(CardKind):
        raise NewerVersionError(
            f"{file}: a card of kind '{kind_of_card[:80]}', which this installation does not know; upgrade splatsweep"
        )
    kind: type[BundleCard | _Format1] = _Format1 if version == 1 else BundleCard
    try:
        read = kind.model_validate(values)
        return read.upgraded() if isinstance(read, _Format1) else read
    except ValidationError as error:
        raise RegistryError(f"{file}: {explain(error, kind)}") from None
    except ConfigError as error:
        raise RegistryError(f"{file}: {error}") from None


def verify_checksums(folder: Path) -> None:
    """Compare every file of a bundle with checksums.json. Other files in the folder are nobody's business.

    Raises:
        IntegrityError: a file is missing or changed, or the list is incomplete or names something outside
        the folder. RegistryError: there is no checksums.json.
    """
    file = folder / CHECKSUMS
    sums = _json(file, "this is not a whole encoder bundle; export or pull it again")
    if not isinstance(sums, dict) or not {CARD, PROGRAM, WEIGHTS} <= sums.keys():
        raise IntegrityError(f"{file}: does not list {CARD}, {PROGRAM} and {WEIGHTS}; pull the encoder again")
    for name, wanted in sums.items():
        if Path(name).name != name:
            raise IntegrityError(f"{file}: '{name}' is not a plain file name; this bundle is not one of ours")
        if not (folder / name).is_file():
            raise IntegrityError(f"{folder / name}: missing; pull the encoder again")
        if file_sha256(folder / name) != wanted:
            raise IntegrityError(f"{folder / name}: its sha256 is not the recorded one; pull the encoder again")


def _document(values: Any) -> str:
    return json.dumps(values, indent=2) + "\n"


def _json(file: Path, without: str) -> Any:
    """What a file of a bundle says; `without` tells what it means that there is none."""
    try:
        return parse_json(file.read_text(encoding="utf-8"), strict=True)
    except OSError:
        raise RegistryError(f"{file.parent}: no {file.name}, so {without}") from None
    except ValueError as error:
        raise IntegrityError(f"{file}: not valid JSON ({str(error)[:80]}); pull the encoder again") from None


PICKLED = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".bin", ".npy", ".npz")
"""Endings of files that hold, or may hold, a pickle."""


def check_sound(folder: Path) -> nn.Module:
    """The model of a bundle, on the CPU in evaluation mode, if nothing is wrong with it.

    Raises:
        IntegrityError: a file is missing, changed, or does not fit the description.
        RegistryError: a pickle; a weight or an output that is not finite; outputs or a program of another shape than
        `encoder.json` says.
    """
    check_files(folder, sorted(file.name for file in folder.iterdir()) if folder.is_dir() else ())
    card, module = read_card(folder).card, load_bundle(folder)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            bad = int((~torch.isfinite(tensor)).sum())
            raise RegistryError(
                f"{folder / WEIGHTS}: {name} holds {bad} values that are not finite; use an earlier checkpoint"
            )
    with torch.inference_mode():
        outputs = module(card.example(2))
    if outputs.shape != (2, *card.output_shape):
        raise RegistryError(
            f"{folder}: gives {card.output_name} {list(outputs.shape)} for two inputs, but {CARD} says "
            f"{[2, *card.output_shape]}; make the bundle again"
        )
    if not torch.isfinite(outputs).all():
        raise RegistryError(f"{folder}: the model's {card.output_name} are not finite; use an earlier checkpoint")
    return module


def check_files(folder: Path, names: Iterable[str]) -> None:
    """Whether a bundle's files are data and whole, as far as that is seen without building the model: no pickle among
    `names`, true checksums, a program that is data and of the card's shape. Raises as `check_sound`."""
    for name in names:
        refuse_pickle(folder / name)
    verify_checksums(folder)
    check_archive(folder / PROGRAM, read_card(folder).card.input_shape)


def refuse_pickle(file: Path) -> None:
    """Refuse a file that is, or may hold, a pickle: by its ending, its first bytes, or what torch.save's zip has in it.

    Raises:
        RegistryError: it is one. IntegrityError: it is a link, which may lead anywhere.
    """
    if file.is_symlink():
        raise IntegrityError(f"{file}: a link, not a file; copy what it points to")
    if not file.is_file():
        return
    if file.suffix.lower() in PICKLED or _looks_pickled(file):
        raise RegistryError(
            f"{file}: a pickle or no known data, which may run code when it is read; a bundle holds safetensors, JSON, "
            "program.pt2 and ONNX only: take it out and make the bundle again"
        )


def _looks_pickled(file: Path) -> bool:
    with file.open("rb") as stream:
        head = stream.read(9)
    if file.name == WEIGHTS:  # they begin with the length of a header, which may be any number, and the header
        return head[8:] != b"{"
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return True
    if file.name == PROGRAM or not zipfile.is_zipfile(file):
        return False  # a program is a zip that `check_archive` looks into
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith(".pkl") for name in archive.namelist())
