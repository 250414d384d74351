"""`import-checkpoint`: somebody else's weights become registered encoders."""

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssl_core.errors import ConfigError, PackError
from study.reports.console import evaluation_progress, print_json, say, table
from study.spec.home import home

if TYPE_CHECKING:
    from registry.versions.records import Decision, EncoderVersion
    from ssl_core.models.imported import Imported

POINT_MODELS = ("pointnet_cls", "pointnet2_cls_msg")


class Model(StrEnum):
    """What the file holds."""

    POINTNET = "pointnet_cls"
    POINTNET2_MSG = "pointnet2_cls_msg"
    RESNET18 = "resnet18"
    RESNET34 = "resnet34"
    RESNET50 = "resnet50"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("import-checkpoint")(import_checkpoint)


def import_checkpoint(
    file: Annotated[Path, typer.Argument(help="best_model.pth of the cross-modal reference, or image weights")],
    model: Annotated[Model, typer.Option(help="the reference's point network, or the ResNet of plain image weights")],
    features: Annotated[
        str | None,
        typer.Option(help="input columns of the point network: xyz[,normals][,reference_color][,scale,rotation]"),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="register as NAME-points and NAME-image; default cross-modal, or the ResNet's name"),
    ] = None,
    pack: Annotated[str | None, typer.Option(help="evaluate on this pack's test split and ask the gate")] = None,
    num_points: Annotated[int | None, typer.Option(help="points per object (2048)")] = None,
    alpha_threshold: Annotated[float | None, typer.Option(help="keep Gaussians with alpha above this (0.574)")] = None,
    sampling: Annotated[str | None, typer.Option(help="fps, uniform or uniform_with_replacement (fps)")] = None,
    image_size: Annotated[int | None, typer.Option(help="side of the image encoder's input in pixels (224)")] = None,
    normalisation: Annotated[
        str | None, typer.Option(help="of plain image weights: imagenet (its mean and std), half or none (imagenet)")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="print JSON for scripts")] = False,
) -> None:
    """Register the encoders of a checkpoint that was not trained here; every tensor of it must find its place."""
    from registry.champions.promote import promote
    from registry.tracking.run_log import open_run_log
    from registry.versions.import_checkpoint import check_pack, register_imported
    from registry.versions.store import EncoderStore
    from ssl_core.data.scene_pack import ScenePack
    from ssl_core.training.device import choose_device
    from study.datasets.pack_storage import open_data

    of_points: dict[str, Any] = {
        "features": None if features is None else [part.strip() for part in features.split(",")],
        "num_points": num_points,
        "alpha_threshold": alpha_threshold,
        "sampling": sampling,
    }
    given = {"image_size": image_size, "normalisation": normalisation, **of_points}
    imported = read(file, model, {key: value for key, value in given.items() if value is not None})
    opened = None if pack is None else open_data(pack)
    if isinstance(opened, ScenePack):
        raise PackError(f"{pack}: is the pack of a scene; a pack of objects is needed here")
    if opened is not None:
        check_pack(imported, opened)
    reference = model.value in POINT_MODELS
    stem, recipe = name or ("cross-modal" if reference else model.value), "cross_modal" if reference else ""
    with open_run_log(os.environ.get("MLFLOW_TRACKING_URI"), home()) as log:
        store = EncoderStore(log)
        versions = register_imported(store, imported, stem, recipe)
        decisions = []
        if opened is not None:
            with evaluation_progress() as tell:
                device = choose_device()
                decisions = [promote(store, opened, version, device=device, tell=tell) for version in versions]
        versions = [store.get(version.name, version.version) for version in versions]
    if json:
        print_json(as_json(imported, versions, decisions))
    else:
        show(imported, versions, decisions)


def read(file: Path, model: Model, values: dict[str, Any]) -> "Imported":
    """The encoders of the file. Raises ConfigError, also for an option that this kind of file has no use for."""
    from ssl_core.config import validated
    from ssl_core.models.image_weights import ImageImport, import_image_weights
    from ssl_core.models.reference_checkpoint import ReferenceImport, import_reference_checkpoint

    kind = ReferenceImport if model.value in POINT_MODELS else ImageImport
    for key in values:
        if key not in kind.model_fields:
            raise ConfigError(f"--{key.replace('_', '-')} has no meaning for --model {model.value}; leave it out")
    settings = {"model": model.value, **values}
    if model.value in POINT_MODELS:
        return import_reference_checkpoint(file, validated(ReferenceImport, settings))
    return import_image_weights(file, validated(ImageImport, settings))


def as_json(imported: "Imported", versions: "list[EncoderVersion]", decisions: "list[Decision]") -> dict[str, Any]:
    """What was done, for scripts."""
    return {
        "report": {"summary": imported.report.summary, **imported.report.model_dump(mode="json")},
        "versions": [version.model_dump(mode="json") for version in versions],
        "decisions": [decision.model_dump(mode="json") for decision in decisions],
    }


def show(imported: "Imported", versions: "list[EncoderVersion]", decisions: "list[Decision]") -> None:
    """What was done, for people."""
    report = imported.report
    rows = [[p.part, p.tensors, p.encoder, len(p.beside), p.kept_as or "-"] for p in report.placements]
    table(f"{report.file}: {report.summary}", ["network", "tensors", "in an encoder", "kept beside", "as"], rows)
    for line in (*report.left, *report.notes):
        say(f"note: {line}")
    for version in versions:
        say(f"{version.reference}  {version.feature_dim} features, {version.status}")
    for decision in decisions:
        say(decision.reason)
    if not decisions:
        text = "not evaluated yet: give --pack, or run `splatsweep evaluate NAME/VERSION --pack PACK`"
        say(text)
