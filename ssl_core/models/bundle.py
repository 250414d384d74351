"""An encoder on disk: weights and description as data, no pickle.

encoder.safetensors   weights and normalisation statistics of the Encoder
encoder.json          EncoderCard: input contract, backbone config, feature_dim, lineage
program.pt2           the same as a program that needs torch alone (see `program.py`)
encoder.onnx          the same as ONNX (see `onnx_export.py`), in bundles that `add_onnx` was asked to complete
checksums.json        sha256 of each of the others; written last, so a folder without it is not a bundle
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import safetensors
import safetensors.torch
from pydantic import Field, ValidationError, model_validator

from ssl_core.config import Config, explain, parse_json
from ssl_core.errors import IntegrityError, RegistryError, StorageError
from ssl_core.files.whole import atomic_write
from ssl_core.models.build import Backbone, ImageBackbone, PointBackbone, build_encoder
from ssl_core.models.encoder import Encoder, EncoderContract
from ssl_core.models.image import ResNetConfig
from ssl_core.models.program import export_program

WEIGHTS, CARD, PROGRAM, CHECKSUMS = "encoder.safetensors", "encoder.json", "program.pt2", "checksums.json"
ONNX = "encoder.onnx"
FORMAT_VERSION = 1


class EncoderCard(Config):
    """What an encoder is and where it comes from; all that is needed to build it again."""

    format_version: int = FORMAT_VERSION
    name: str = Field(min_length=1, max_length=200)
    contract: EncoderContract
    backbone: Backbone
    feature_dim: int = Field(ge=1)
    lineage: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if isinstance(self.backbone, ResNetConfig) != (self.contract.modality == "image"):
            raise ValueError(f"backbone '{self.backbone.kind}' does not read {self.contract.modality}")
        if self.backbone.feature_dim != self.feature_dim:
            raise ValueError(f"feature_dim {self.feature_dim} is not the backbone's {self.backbone.feature_dim}")
        if isinstance(self.backbone, ResNetConfig) and self.backbone.weights_file is not None:
            raise ValueError("backbone.weights_file names another file; a bundle brings its own weights")
        return self


def save_bundle(
    encoder: Encoder,
    backbone: PointBackbone | ImageBackbone,
    folder: Path,
    *,
    name: str,
    lineage: Mapping[str, str],
) -> None:
    """Write a bundle of `encoder` (built from `backbone`) to `folder`, replacing a bundle that is there.

    Made in a temporary folder beside it; what cannot be exported leaves nothing behind.

    Raises:
        RegistryError: the program does not reproduce the encoder.
        StorageError: the disk is full or not writable.
    """
    if isinstance(backbone, ResNetConfig):
        # the file of initial weights is not needed to build it again, and its path means nothing elsewhere
        backbone = backbone.model_copy(update={"weights_file": None})
    card = EncoderCard(
        name=name,
        contract=encoder.contract,
        backbone=backbone,
        feature_dim=encoder.feature_dim,
        lineage=dict(lineage),
    )
    making = folder.parent / f".{folder.name}.{os.getpid()}"
    try:
        making.mkdir(parents=True)
        state = {key: value.detach().cpu().contiguous() for key, value in encoder.state_dict().items()}
        safetensors.torch.save_file(state, making / WEIGHTS)
        (making / CARD).write_text(json.dumps(card.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")
        export_program(encoder, making / PROGRAM)
        sums = {file: _sha256(making / file) for file in (CARD, PROGRAM, WEIGHTS)}
        (making / CHECKSUMS).write_text(json.dumps(sums, indent=2) + "\n", encoding="utf-8")
        _move_into_place(making, folder)
    except (OSError, safetensors.SafetensorError) as error:
        raise StorageError(f"{folder}: cannot be written ({error}); free some space or choose another folder") from None
    finally:
        shutil.rmtree(making, ignore_errors=True)


def add_onnx(folder: Path) -> Path:
    """Complete a bundle with `encoder.onnx`, compared with the encoder; one that has it is left as it is.

    Converting takes seconds and libraries that training does without, so `save_bundle` does not do it.

    Raises:
        MissingDependencyError, RegistryError, StorageError: as `export_onnx`. IntegrityError: the bundle was changed.
    """
    from ssl_core.models.onnx_export import export_onnx

    encoder = load_bundle(folder)
    sums = parse_json((folder / CHECKSUMS).read_text(encoding="utf-8"))
    if ONNX not in sums:
        export_onnx(encoder, folder / ONNX)
        sums[ONNX] = _sha256(folder / ONNX)
        with atomic_write(folder / CHECKSUMS) as stream:
            stream.write((json.dumps(sums, indent=2) + "\n").encode())
    return folder / ONNX


def load_bundle(folder: Path) -> Encoder:
    """The encoder of a bundle, on the CPU in evaluation mode, after its checksums were verified.

    Raises:
        IntegrityError: a file is missing or was changed.
        RegistryError: not a bundle, or one of a newer format.
    """
    verify_checksums(folder)
    card = read_card(folder)
    try:
        # before anything of the width that the card speaks of is made: each feature has a weight at least
        if 4 * card.feature_dim > (folder / WEIGHTS).stat().st_size:
            raise RuntimeError(f"it is too small for {card.feature_dim} features")
        weights = safetensors.torch.load_file(folder / WEIGHTS)
        encoder = build_encoder(card.contract, card.backbone, seed=0)
        for name, wanted in encoder.state_dict().items():
            # torch would convert them, and drop what does not fit: the imaginary parts of complex weights, for one
            if name in weights and weights[name].dtype != wanted.dtype:
                raise RuntimeError(f"{name} is {weights[name].dtype}, not {wanted.dtype}")
        encoder.load_state_dict(weights)
    except (RuntimeError, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise IntegrityError(f"{folder / WEIGHTS}: does not fit the encoder that {CARD} describes ({reason})") from None
    return encoder.eval()


def read_card(folder: Path) -> EncoderCard:
    """The description alone, without verifying the rest. Raises RegistryError."""
    file = folder / CARD
    try:
        values = parse_json(file.read_text(encoding="utf-8"), strict=True)
    except OSError:
        raise RegistryError(
            f"{folder}: no {CARD}, so this is not an encoder bundle; give the folder that holds it"
        ) from None
    except ValueError as error:
        raise IntegrityError(f"{file}: not valid JSON ({str(error)[:80]}); pull the encoder again") from None
    version = values.get("format_version") if isinstance(values, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise RegistryError(
            f"{file}: format {version} is newer than this installation's {FORMAT_VERSION}; upgrade splatsweep"
        )
    try:
        return EncoderCard.model_validate(values)
    except ValidationError as error:
        raise RegistryError(f"{file}: {explain(error, EncoderCard)}") from None


def verify_checksums(folder: Path) -> None:
    """Compare every file of a bundle with checksums.json. Other files in the folder are nobody's business.

    Raises:
        IntegrityError: a file is missing or changed, or the list is incomplete or names something outside
        the folder. RegistryError: there is no checksums.json.
    """
    file = folder / CHECKSUMS
    try:
        sums = parse_json(file.read_text(encoding="utf-8"), strict=True)
    except OSError:
        raise RegistryError(
            f"{folder}: no {CHECKSUMS}, so this is not a whole encoder bundle; export or pull it again"
        ) from None
    except ValueError as error:
        raise IntegrityError(f"{file}: not valid JSON ({str(error)[:80]}); pull the encoder again") from None
    if not isinstance(sums, dict) or not {CARD, PROGRAM, WEIGHTS} <= sums.keys():
        raise IntegrityError(f"{file}: does not list {CARD}, {PROGRAM} and {WEIGHTS}; pull the encoder again")
    for name, wanted in sums.items():
        if Path(name).name != name:
            raise IntegrityError(f"{file}: '{name}' is not a plain file name; this bundle is not one of ours")
        if not (folder / name).is_file():
            raise IntegrityError(f"{folder / name}: missing; pull the encoder again")
        if _sha256(folder / name) != wanted:
            raise IntegrityError(f"{folder / name}: its sha256 is not the recorded one; pull the encoder again")


def _move_into_place(made: Path, folder: Path) -> None:
    """`made` becomes `folder`.

    An older bundle loses its checksums first, so that no mixture passes for whole.
    """
    if not folder.exists():
        made.replace(folder)
        return
    (folder / CHECKSUMS).unlink(missing_ok=True)
    (folder / ONNX).unlink(missing_ok=True)  # of the older weights
    for name in (WEIGHTS, CARD, PROGRAM, CHECKSUMS):
        (made / name).replace(folder / name)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
