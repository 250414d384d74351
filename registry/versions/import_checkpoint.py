"""Encoders made of somebody else's checkpoint, registered as any others: a run, a version of each, and then the gate.

The run of an import holds the account (`import.json`: where every tensor of the file went) and what is kept beside the
encoders (`fusion.safetensors`, ...). The same file under the same settings is one run and one version of each encoder,
however often it is imported; an import that died half-way is completed by the same command.
"""

import tempfile
from pathlib import Path
from typing import assert_never

import safetensors.torch

from registry.versions.records import PREFIX, EncoderVersion, Lineage, safe_name
from registry.versions.store import EncoderStore
from ssl_core.data.object_pack import Pack
from ssl_core.data.point_sampler import check_contract
from ssl_core.models.bundle import add_onnx, save_bundle
from ssl_core.models.cards import ImageEncoderCard, PointEncoderCard
from ssl_core.models.dense_cards import DenseEncoderCard
from ssl_core.models.field_card import SceneFieldCard
from ssl_core.models.imported import Imported, ImportReport
from ssl_core.models.reconstruction_cards import PoseEstimatorCard, ReconstructorCard

REPORT_FILE = "import.json"


def register_imported(store: EncoderStore, imported: Imported, stem: str, recipe: str = "") -> list[EncoderVersion]:
    """Register each encoder as `<stem>-points` or `<stem>-image`, and return the versions.

    Args:
        recipe: the recipe that trained them, where it is one of ours.

    Raises:
        RegistryError: an unusable name, an encoder whose features are not finite, or the registry refuses.
        StorageError: the disk is full or not writable.
    """
    names = {output: safe_name(f"{stem}-{output}") for output in imported.models}
    report = imported.report
    run_id = _run_of(store, report)
    came = {"recipe": recipe, "config_digest": report.settings, "source": source_tags(report)[f"{PREFIX}source"]}
    lineage = Lineage(study="", trial=-1, run_id=run_id, seed=0, **came)
    versions = []
    try:
        with tempfile.TemporaryDirectory() as scratch:
            _keep(store, imported, run_id, Path(scratch))
            for output, name in names.items():
                known = [version for version in store.list(name) if version.lineage.run_id == run_id]
                if not known:
                    made, folder = imported.models[output], Path(scratch) / output
                    # nothing of the run: the same file gives the same card, so the same digest, wherever it is imported
                    facts = {"source": report.model, "source_sha256": report.sha256}
                    save_bundle(made.module, made.card, folder, name=name, lineage=facts)
                    add_onnx(folder)
                    known = [store.register(folder, name, lineage, run_id)]
                versions.append(store.tag(known[-1], source_tags(report)))
    except BaseException:
        store.run_log.finish(run_id, "FAILED")
        raise
    store.run_log.finish(run_id, "FINISHED")
    return versions


def check_pack(imported: Imported, pack: Pack) -> None:
    """Whether the pack can serve what the encoders read, as far as that is seen without opening objects.

    Raises:
        InfeasibleError: it lacks feature groups, Gaussians or points; the text says which.
    """
    for made in imported.models.values():
        match made.card:
            case PointEncoderCard(contract=contract):
                check_contract(pack, contract)
            case ImageEncoderCard() | DenseEncoderCard() | SceneFieldCard() | ReconstructorCard() | PoseEstimatorCard():
                pass
            case _:
                assert_never(made.card)


def source_tags(report: ImportReport) -> dict[str, str]:
    """Where a version came from, as its tags: what it was imported as, and which file that was."""
    return {
        f"{PREFIX}source": f"imported {report.model} weights",
        f"{PREFIX}source_file": report.file,
        f"{PREFIX}source_sha256": report.sha256,
        f"{PREFIX}source_placed": report.summary,
    }


def _keep(store: EncoderStore, imported: Imported, run_id: str, scratch: Path) -> None:
    """The account and the tensors beside the encoders, among the run's files."""
    store.run_log.log_text(run_id, imported.report.model_dump_json(indent=1) + "\n", REPORT_FILE)
    for stem, tensors in imported.beside.items():
        file = scratch / f"{stem}.safetensors"
        safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)
        store.run_log.log_file(run_id, file)


def _run_of(store: EncoderStore, report: ImportReport) -> str:
    """The run of this file under these settings: the one that is there, else a new one."""
    key = f"{report.sha256[:32]}-{report.settings}"
    tags = {f"{PREFIX}kind": "import", f"{PREFIX}import": key, **source_tags(report)}
    for run in store.run_log.find_runs({f"{PREFIX}import": key}):
        return str(run.info.run_id)
    params = {"model": report.model, "file": report.file, "settings": report.settings}
    return store.run_log.start_run(f"import {report.file}", tags, params)
