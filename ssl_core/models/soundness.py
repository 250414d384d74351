"""Whether a bundle is what it says: asked once, when an encoder is registered.

Checksums only say that files are those that were written. Here the files are looked into: no pickle among them, weights
that are numbers and fit the description, a program that is data and takes the contract's shape, and one forward.
"""

import zipfile
from pathlib import Path

import torch
from torch import nn

from ssl_core.errors import IntegrityError, RegistryError
from ssl_core.models.bundle import CARD, PROGRAM, WEIGHTS, load_bundle, read_card, verify_checksums
from ssl_core.models.program_check import check_archive

PICKLED = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".bin", ".npy", ".npz")
"""Endings of files that hold, or may hold, a pickle."""


def check_sound(folder: Path) -> nn.Module:
    """The model of a bundle, on the CPU in evaluation mode, if nothing is wrong with it.

    Raises:
        IntegrityError: a file is missing, changed, or does not fit the description.
        RegistryError: a pickle; a weight or an output that is not finite; outputs or a program of another shape than
        `encoder.json` says.
    """
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        refuse_pickle(file)
    verify_checksums(folder)
    card = read_card(folder).card
    check_archive(folder / PROGRAM, card.input_shape)
    module = load_bundle(folder)
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
