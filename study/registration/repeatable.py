"""A registered encoder's trial as it was, from its MLflow run or its study's folder, and opened again."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from registry.versions.environment import Environment, differences, environment_here
from registry.versions.lineage import Curves, Trace, plain_digest, read_curves
from registry.versions.records import EncoderVersion, Lineage, optional
from registry.versions.store import EncoderStore
from search_spaces.stored import stored_space
from ssl_core.config import Config, override
from ssl_core.data.dataset import Dataset
from ssl_core.errors import ConfigError, PackError, StudyError
from ssl_core.recipes.recipe_source import RecipeSource
from ssl_core.training.config import RecipeConfig
from ssl_core.training.contract import DEVICE_MEMORY, AnyRecipe, Session
from ssl_core.training.stages import Stages
from study.datasets.object_store import is_uri
from study.datasets.pack_storage import needed_files, open_data, place_name
from study.engine.ledger import read_ledger
from study.record.metrics_file import read_metrics
from study.run.trial_opener import kept_source
from study.spec.home import checked_name, derived_root, packs


@dataclass(frozen=True)
class Repeatable:
    """A trial as it was."""

    source: str  # where this was read, for people
    recipe_source: RecipeSource  # of what was trained
    config: Config  # all settings
    curves: Curves  # what it reported
    best_epoch: int  # whose checkpoint was registered
    pack: str  # where its pack lay; empty when nobody wrote it down
    threads: int | None  # CPU threads it computed on, if known
    notes: tuple[str, ...] = ()  # what is another now, or was not recorded: reasons for a difference

    @property
    def recipe(self) -> AnyRecipe:
        """What was trained."""
        return self.recipe_source.load()

    @property
    def epochs(self) -> int:
        """Epochs it trained; fewer than planned where the scheduler stopped it."""
        return max(epoch for curve in self.curves.values() for epoch in curve)


def repeatable(store: EncoderStore, traced: Trace, studies: Path) -> Repeatable:
    """The trial behind a version.

    Args:
        traced: the version's.
        studies: folder of the studies' folders.

    Raises:
        StudyError: it was not trained here, or too little of it is left; the text says what is missing.
        RegistryError: the server does not answer.
    """
    version, lineage, recorded = traced.version, traced.version.lineage, traced.recorded
    if not traced.trained_here:
        raise StudyError(f"{version.reference} was imported, not trained by a study; there is nothing to train again")
    curves = read_curves(store, lineage.run_id) if recorded.config is not None else {}
    if recorded.config is None or recorded.best_epoch is None or not curves:
        found = _of_folder(lineage, studies)
        if found is None:
            gaps = "; ".join((*recorded.gaps, *(() if recorded.best_epoch else ("its run has no objective",))))
            raise StudyError(
                f"{version.reference} cannot be trained again: {gaps}, and {studies / lineage.study} holds no such "
                "trial either; bring back the run or the study's folder"
            )
        return found
    brought = kept_source(lineage.recipe, studies / checked_name(lineage.study))
    return Repeatable(
        source=recorded.source,
        recipe_source=brought,
        config=brought.load().config.from_json(json.dumps(recorded.config)),
        curves=curves,
        best_epoch=recorded.best_epoch,
        pack=recorded.pack,
        threads=recorded.threads,
        notes=_notes(recorded.environment),
    )


def _of_folder(lineage: Lineage, studies: Path) -> Repeatable | None:
    """The trial in its study's folder; None when it is not there, or is another study's of that name.

    Raises:
        StudyError: it went on from another trial's weights, which its own config does not give again.
    """
    try:
        folder = studies / checked_name(lineage.study)
        ledger = read_ledger(folder)
        record = next((record for record in ledger.records() if record.number == lineage.trial), None)
        if record is None or record.seed != lineage.seed or record.best_epoch is None:
            return None
        if record.redirected:
            raise StudyError(
                f"trial {record.number} of '{lineage.study}' went on from another trial's weights (population-based "
                "training), so its config and seed alone do not give it again"
            )
        brought = kept_source(lineage.recipe, folder)
        space, values = stored_space(ledger.attrs["space"], ledger.attrs["order"], folder), record.values or {}
        base = brought.load().config.from_json(space.recipe_of(values).config.to_json())
        config = override(base, space.own_values(values))
        curves = read_metrics(folder, record.number)
    except (ConfigError, KeyError, ValueError):
        return None
    except StudyError:
        if (studies / lineage.study).is_dir():
            raise
        return None
    if not curves or plain_digest(config.model_dump(mode="json")) != lineage.config_digest:
        return None
    told = ledger.attrs.get("facts", {})
    return Repeatable(
        source=f"study folder {folder}",
        recipe_source=brought,
        config=config,
        curves=curves,
        best_epoch=record.best_epoch,
        pack=str(told.get("pack", "")),
        threads=ledger.spec.threads,
        notes=_notes(optional(Environment, told.get("environment"))),
    )


def _notes(environment: Environment | None) -> tuple[str, ...]:
    """What is another now."""
    if environment is None:
        return ("the environment was not recorded, or not as it was when the encoder was registered",)
    return differences(environment, environment_here())


def open_again(trial: Repeatable, version: EncoderVersion, pack: str | None) -> tuple[Session, str, list[str]]:
    """The trial from its beginning, on the kind of device it had, its name, and what there is to say about that.

    Args:
        pack: its place now, where it is another.

    Raises:
        StudyError: where its pack lay was not recorded. PackError: it is not to be had.
    """
    on_gpu, notes = DEVICE_MEMORY in trial.curves, []
    device = "cuda" if on_gpu and torch.cuda.is_available() else "cpu"
    if on_gpu:
        notes.append(
            "it was trained on a GPU, which does not promise the same bits twice"
            if device == "cuda"
            else "it was trained on a GPU; here there is none, and a CPU rounds differently"
        )
    if trial.threads is None:
        notes.append("how many threads it had was not recorded; it has one now")
    config = trial.config
    if isinstance(config, RecipeConfig):
        config = override(config, {"training.device": device})
    data = _opened(version, pack or trial.pack, trial.config.to_json())
    stages = Stages(trial.recipe, derived_root(), trial.recipe_source.source_digest)
    return stages.open(config, data, version.lineage.seed), device, notes


def _opened(version: EncoderVersion, place: str, asked: str) -> Dataset:
    wanted = version.lineage.pack_digest
    remedy = f"give the pack {wanted} that {version.reference} was trained on with --pack"
    if not place:
        raise StudyError(f"where the pack lay was not recorded; {remedy}")
    beside = packs() / place_name(place)
    if not is_uri(place) and not Path(place).exists() and beside.exists():
        place = str(beside)  # the home was moved, and its packs with it
    try:
        opened = open_data(place, needed_files(asked), wanted)
    except PackError as error:
        raise PackError(f"{error}; {remedy}") from None
    if opened.digest != wanted:
        raise PackError(f"{place} holds pack {opened.digest}; {remedy}")
    return opened
