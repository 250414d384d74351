"""From a registered version to its evaluation: fetched, measured by the task of its card, features kept.

Nothing is logged here; `registry.versions.evaluation_log` does that.
"""

import tempfile
from pathlib import Path

import torch

from registry.versions.fetching import fetch
from registry.versions.records import EncoderVersion
from registry.versions.store import EncoderStore, bundle_digest
from ssl_core.data.dataset import Dataset
from ssl_core.errors import RegistryError
from ssl_core.evaluation.extract import ExtractionTimes, FeatureCache
from ssl_core.evaluation.report import Report, TaskConfig, Tell, silent
from ssl_core.evaluation.task import probing, task_of
from ssl_core.evaluation.task_contract import Companion, Context, Evaluation
from ssl_core.evaluation.tasks.probing_report import ProbingReport, reference_table
from ssl_core.models.bundle import load_bundle, read_card
from ssl_core.models.cards import Card

FEATURES_FOLDER = "features"
"""under the home folder"""


def evaluate_registered(
    store: EncoderStore,
    data: Dataset,
    version: EncoderVersion,
    config: TaskConfig | None = None,
    *,
    device: torch.device | str = "cpu",
    tell: Tell = silent,
) -> tuple[Evaluation[Report], Card]:
    """Evaluate a registered version, with features kept under the store's home folder; and its card.

    Args:
        config: the protocol; None: the one that the gate asks of such a card.

    Raises:
        InfeasibleError: the data cannot serve the model.
        IntegrityError: the registered files do not match their checksums.
    """
    with tempfile.TemporaryDirectory() as scratch:
        mine, theirs = Path(scratch) / "model", Path(scratch) / "companion"
        for folder in (mine, theirs):
            folder.mkdir()
        found = _loaded(fetch(store, version, mine), device)
        companion = _companion(store, version, theirs)
        context = Context(
            title=version.reference,
            identity=found.identity,
            cache=kept_features(store),
            companions=() if companion is None else (_loaded(companion, device),),
            tell=tell,
        )
        task = task_of(found.card)
        return task.evaluate(found.model, found.card, data, config or task.config(), context), found.card


def reference_table_of(
    store: EncoderStore, reference: str, data: Dataset, *, device: torch.device | str = "cpu", tell: Tell = silent
) -> tuple[ProbingReport, ExtractionTimes]:
    """The cross-modal reference's SVM table of the encoder `NAME@ALIAS` or `NAME/VERSION`, and where the time of its
    features went. Read only: a version keeps the report of the protocol it was judged by.

    Raises:
        RegistryError: no such encoder.
        IntegrityError: the registered files do not match their checksums.
        InfeasibleError: it is no encoder, or the data cannot serve it, or has no test objects.
    """
    version, times = store.resolve(reference), ExtractionTimes()
    with tempfile.TemporaryDirectory() as scratch:
        found = _loaded(fetch(store, version, Path(scratch)), device)
        context = Context(version.reference, found.identity, kept_features(store), tell=tell)
        table = probing(found.model, found.card, data, reference_table(), context, times)
    return table.report, times


def kept_features(store: EncoderStore) -> FeatureCache:
    """The cache that belongs to a store: under the home folder of its run log."""
    return FeatureCache(store.run_log.home / FEATURES_FOLDER)


def _loaded(bundle: Path, device: torch.device | str) -> Companion:
    return Companion(load_bundle(bundle).to(device), read_card(bundle).card, bundle_digest(bundle))


def _companion(store: EncoderStore, version: EncoderVersion, scratch: Path) -> Path | None:
    """Bundle of a model of another kind from the same trial; None where there is none that is whole."""
    if not version.lineage.run_id:
        return None
    for other in store.list():
        if other.lineage.run_id == version.lineage.run_id and other.kind != version.kind:
            try:
                return fetch(store, other, scratch)
            except RegistryError:
                return None
    return None
