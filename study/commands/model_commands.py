"""What was learnt: models, evaluate, pull, the MLflow pages, and models that others trained: import-checkpoint."""

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssl_core.errors import ConfigError, InfeasibleError
from study.commands.options import Json, Reference, opened_store
from study.reports.console import answer, console, evaluation_progress, print_json, say, table
from study.reports.verdict_text import bought_lines, verdict_rows
from study.reports.verdicts import EncoderVerdict
from study.spec.home import home

if TYPE_CHECKING:
    from ssl_core.data.dataset import Dataset
    from ssl_core.evaluation.report import Report, TaskConfig
    from ssl_core.models.imported import Imported


class Protocol(StrEnum):
    """What `evaluate` measures."""

    GATE = "gate"
    FULL = "full"
    REFERENCE = "reference"


class ForeignModel(StrEnum):
    """What a checkpoint holds that was not trained here."""

    POINTNET = "pointnet_cls"
    POINTNET2_MSG = "pointnet2_cls_msg"
    RESNET18 = "resnet18"
    RESNET34 = "resnet34"
    RESNET50 = "resnet50"

    @property
    def of_points(self) -> bool:
        """The cross-modal reference's; the others are plain image weights."""
        return self in (ForeignModel.POINTNET, ForeignModel.POINTNET2_MSG)


def models(
    name: Annotated[str | None, typer.Argument(help="registered model; all when left out")] = None,
    json: Json = False,
) -> None:
    """Registered encoders: versions, aliases, status and what the test split said."""
    with opened_store(reading=True) as store:
        found = store.list() if name is None else store.known(name)
    if json:
        print_json([version.model_dump(mode="json") for version in found])
    elif not found:
        say("no encoder is registered yet; `make sweep` makes the first")
    else:
        verdicts = [EncoderVerdict.of(version, (version.fine_tuning,)) for version in found]
        for line in bought_lines(verdicts):
            say(line)
        console.print(verdict_rows("registered models", verdicts, decisions=False), markup=True)


def evaluate(
    reference: Reference,
    pack: Annotated[str, typer.Option(help="pack whose test split is used: a folder, or a URI such as s3://…")],
    promote: Annotated[bool, typer.Option(help="let the gate decide about the alias champion")] = True,
    protocol: Annotated[
        Protocol,
        typer.Option(
            help="gate: probes beside baselines, in minutes; full: fine-tuning, novel views and robustness too, in "
            "hours; reference: its SVM table, never gated"
        ),
    ] = Protocol.GATE,
    no_fine_tuning: Annotated[
        bool,
        typer.Option(
            "--no-fine-tuning",
            help="with --protocol full: all but fine-tuning, in minutes; the result says that it is not complete",
        ),
    ] = False,
    point_encoder: Annotated[
        str | None,
        typer.Option(help="of a reconstructor: also ask this registered point encoder about the clouds, NAME@ALIAS"),
    ] = None,
    json: Json = False,
) -> None:
    """Evaluate a registered model on a pack's test split, beside what its kind has to beat."""
    from registry.champions.adoption import completed
    from registry.champions.promote import evaluate_version
    from registry.champions.promote import promote as put_before_gate
    from ssl_core.evaluation.task import task_named
    from ssl_core.training.config import choose_device
    from study.datasets.pack_storage import open_data

    if no_fine_tuning and protocol is not Protocol.FULL:
        raise ConfigError("--no-fine-tuning goes with --protocol full; the other protocols have none")
    opened = open_data(pack)
    if protocol is Protocol.REFERENCE:
        _print_reference_table(reference, opened, json)
        return
    with opened_store() as store, evaluation_progress() as tell:
        device, version = choose_device(), completed(store, store.resolve(reference))
        task = task_named(version.kind)
        if protocol is Protocol.GATE:
            config = task.config()
        else:
            config = task.without_training() if no_fine_tuning else task.full()
        if point_encoder is not None:
            config = _asking(config, point_encoder)
        report = evaluate_version(store, opened, version, config, device=device, tell=tell)
        decision = put_before_gate(store, opened, version, device=device, tell=tell).reason if promote else ""
    if json:
        print_json({"reference": version.reference, "rows": report.overview(), "sections": report.tables(),
                    "protocol": report.config.protocol, "complete": report.complete, "left_out": report.left_out,
                    "decision": decision, "seconds": report.seconds, "share_saved": report.share_saved})  # fmt: skip
        return
    _print_report(report)
    if protocol is Protocol.FULL and not report.complete:
        gaps = "; ".join(f"{name.replace('_', ' ')}: {reason}" for name, reason in sorted(report.left_out.items()))
        say(f"not a complete evaluation by the full protocol, left out: {gaps}")
    saved = f", {100 * report.share_saved:.0f} % saved by kept features" if report.share_saved else ""
    say(f"{report.seconds:.0f} s{saved}")
    if decision:
        say(decision)


def _asking(config: "TaskConfig", point_encoder: str) -> "TaskConfig":
    """Raises ConfigError: another kind of model has no use for it."""
    from ssl_core.evaluation.tasks.reconstruction_report import ReconstructionConfig

    if not isinstance(config, ReconstructionConfig):
        raise ConfigError("--point-encoder goes with a reconstructor, whose clouds it is asked about; leave it out")
    return config.model_copy(update={"point_encoder": point_encoder})


def _print_report(report: "Report") -> None:
    """What was measured as tables. What the intervals are over is left to --json: a terminal is 80 wide."""
    rows = report.overview()
    columns = [name for name in rows[0] if name != "over"] if rows else []
    table("", columns, [[row[column] for column in columns] for row in rows])
    for title, names, cells in report.tables():
        table(title, list(names), [list(row) for row in cells])


def _print_reference_table(reference: str, pack: "Dataset", json: bool) -> None:
    """The cross-modal reference's SVM table of a registered encoder; nothing is stored and the gate is not asked."""
    from registry.versions.evaluation_log import reference_table_of
    from ssl_core.training.config import choose_device

    with opened_store(reading=True) as store, evaluation_progress() as tell:
        report, times = reference_table_of(store, reference, pack, device=choose_device(), tell=tell)
    rows = report.by_views()
    if json:
        seconds = {"forward": round(times.forward, 3), "data": round(times.data, 3)}
        print_json({"reference": reference, "rows": rows, "extraction_seconds": seconds})
        return
    if not rows:
        raise InfeasibleError(f"{reference} gives features that are not finite; there is nothing to probe")
    names = list(rows[0])
    title = f"linear SVM, test accuracy in percent, by views and labels ({report.test_objects} test objects)"
    table(title, names, [[row[name] for name in names] for row in rows])
    say(f"features: {times.forward + times.data:.1f} s, {100 * times.forward_share:.0f} % of it in the encoder")


def pull(
    reference: Annotated[str, typer.Argument(help="NAME@ALIAS or NAME/VERSION; with --from the encoder's name there")],
    to: Annotated[Path, typer.Option(help="folder to make")],
    source: Annotated[
        Path | None, typer.Option("--from", help="folder with pulled encoders, instead of the registry: works offline")
    ] = None,
    json: Json = False,
) -> None:
    """Fetch a registered encoder; checksums are verified before the folder appears."""
    from registry.versions.fetching import pull as fetch
    from registry.versions.fetching import pull_offline

    if source is not None:
        folder = pull_offline(source, to, reference)
    else:
        with opened_store(reading=True) as store:
            folder = fetch(store, reference, to)
    sizes = {file: file.stat().st_size for file in sorted(folder.rglob("*")) if file.is_file()}
    files = {str(file.relative_to(folder)): size for file, size in sizes.items()}
    facts = {"reference": reference, "folder": str(folder), "files": files}
    answer(json, facts, "\n".join(f"{file}  {size:,} bytes" for file, size in sizes.items()))


def ui(port: Annotated[int, typer.Option(min=1, max=65535)] = 5000) -> None:
    """Serve MLflow's pages on loopback until Ctrl-C."""
    from registry.server.server import serve_pages

    serve_pages(os.environ.get("MLFLOW_TRACKING_URI"), home(), port, announce=say)


def import_checkpoint(
    file: Annotated[Path, typer.Argument(help="best_model.pth of the cross-modal reference, or image weights")],
    model: Annotated[
        ForeignModel, typer.Option(help="the reference's point network, or the ResNet of plain image weights")
    ],
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
    json: Json = False,
) -> None:
    """Register the encoders of a checkpoint that was not trained here; every tensor of it must find its place."""
    from registry.champions.promote import promote
    from registry.versions.import_checkpoint import check_pack, register_imported
    from ssl_core.data.scene_pack import ScenePack
    from ssl_core.errors import PackError
    from ssl_core.training.config import choose_device
    from study.datasets.pack_storage import open_data

    given = {
        "features": None if features is None else [part.strip() for part in features.split(",")],
        "num_points": num_points,
        "alpha_threshold": alpha_threshold,
        "sampling": sampling,
        "image_size": image_size,
        "normalisation": normalisation,
    }
    imported = _imported(file, model, {key: value for key, value in given.items() if value is not None})
    opened = None if pack is None else open_data(pack)
    if isinstance(opened, ScenePack):
        raise PackError(f"{pack}: is the pack of a scene; a pack of objects is needed here")
    if opened is not None:
        check_pack(imported, opened)
    stem, recipe = name or ("cross-modal" if model.of_points else model.value), "cross_modal" if model.of_points else ""
    with opened_store() as store:
        versions = register_imported(store, imported, stem, recipe)
        decisions = []
        if opened is not None:
            with evaluation_progress() as tell:
                device = choose_device()
                decisions = [promote(store, opened, version, device=device, tell=tell) for version in versions]
        versions = [store.get(version.name, version.version) for version in versions]
    if json:
        print_json({
            "report": {"summary": imported.report.summary, **imported.report.model_dump(mode="json")},
            "versions": [version.model_dump(mode="json") for version in versions],
            "decisions": [decision.model_dump(mode="json") for decision in decisions],
        })  # fmt: skip
        return
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
        say("not evaluated yet: give --pack, or run `splatsweep evaluate NAME/VERSION --pack PACK`")


def _imported(file: Path, model: ForeignModel, values: dict[str, Any]) -> "Imported":
    """The encoders of the file. Raises ConfigError, also for an option that this kind of file has no use for."""
    from ssl_core.config import validated
    from ssl_core.models.imported import ImageImport, import_image_weights
    from ssl_core.models.reference_checkpoint import ReferenceImport, import_reference_checkpoint

    kind = ReferenceImport if model.of_points else ImageImport
    for key in values:
        if key not in kind.model_fields:
            raise ConfigError(f"--{key.replace('_', '-')} has no meaning for --model {model.value}; leave it out")
    settings = {"model": model.value, **values}
    if model.of_points:
        return import_reference_checkpoint(file, validated(ReferenceImport, settings))
    return import_image_weights(file, validated(ImageImport, settings))
