"""Evaluations of registered versions: measured by the task of the card, put where people look, read back.

The run `evaluate <name> v<version>` holds the report (JSON), the pictures and every accuracy as a metric,
also attached to the logged model. The version gets the headline as tags and description, and the card its
table. `objects.json` lists which objects carried labels in which draw, and which were scored.
"""

import hashlib
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from registry.tracking.connection import explained
from registry.tracking.dataset_input import DatasetView
from registry.versions.fetching import fetch
from registry.versions.gain import gain_of
from registry.versions.model_card import NOT_EVALUATED, describe_version, render_card
from registry.versions.records import FINE_TUNING, PREFIX, Decision, EncoderVersion, EvaluationSummary
from registry.versions.store import EncoderStore, bundle_digest
from registry.versions.upload import CARD_FILE
from ssl_core.data.dataset import Dataset
from ssl_core.errors import RegistryError
from ssl_core.evaluation.extract import ExtractionTimes, FeatureCache
from ssl_core.evaluation.report import Report, TaskConfig, Tell, scale_of, silent
from ssl_core.evaluation.task import parse_report, probing, task_of
from ssl_core.evaluation.task_contract import Companion, Context, Evaluation
from ssl_core.evaluation.tasks.fine_tuned import fine_tuned, fine_tuning_words, was_fine_tuned
from ssl_core.evaluation.tasks.probing_report import ProbingReport, reference_table
from ssl_core.models.bundle import load_bundle, read_card
from ssl_core.models.cards import Card

TEST_SPLIT = "test split"
"""what MLflow calls the data that an evaluation's metrics are of"""
FEATURES_FOLDER = "features"
"""under the home folder"""
REPORT_FILE = "report.json"
_LONGEST = 1000
"""letters of a tag"""
REPORT_DIGEST = f"{PREFIX}report_sha256"
"""tag of the evaluation's run"""


def evaluate_registered(
    store: EncoderStore,
    data: Dataset,
    version: EncoderVersion,
    config: TaskConfig | None = None,
    *,
    device: torch.device | str = "cpu",
    tell: Tell = silent,
    before: Report | None = None,
) -> tuple[Evaluation[Report], Card]:
    """Evaluate a registered version, with features kept under the store's home folder; and its card.

    Args:
        config: the protocol; None: the one that the gate asks of such a card.
        before: a report that answers all of it but fine-tuning, which alone is then measured.

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
        beside = [] if companion is None else [companion]
        for number, reference in enumerate(() if config is None else config.companions):
            folder = Path(scratch) / f"asked-{number}"
            folder.mkdir()
            beside.append(fetch(store, store.resolve(reference), folder))
        context = Context(
            title=version.reference,
            identity=found.identity,
            cache=kept_features(store),
            companions=tuple(_loaded(bundle, device) for bundle in beside),
            tell=tell,
        )
        if before is not None and config is not None:
            return fine_tuned(found.model, found.card, data, config, context, before), found.card
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


def log_evaluation(
    store: EncoderStore,
    version: EncoderVersion,
    evaluation: Evaluation[Report],
    card: Card,
    parent_run_id: str,
) -> EncoderVersion:
    """Store report and pictures, nested under `parent_run_id`; returns the version as it is afterwards."""
    report = evaluation.report
    log, text = store.run_log, report.to_json()
    run_id = log.start_nested(
        parent_run_id,
        f"evaluate {version.name} v{version.version}{', fine-tuned' if was_fine_tuned(report) else ''}",
        {
            f"{PREFIX}kind": "evaluation",
            f"{PREFIX}encoder": version.reference,
            f"{PREFIX}pack_digest": report.data_digest,
            f"{PREFIX}protocol": report.config.protocol,
            f"{PREFIX}config_digest": report.config.digest(),
            REPORT_DIGEST: hashlib.sha256(text.encode()).hexdigest(),
            f"{PREFIX}study": version.lineage.study,
            f"{PREFIX}trial": str(version.lineage.trial),
        },
        {f"protocol.{key}": value for key, value in report.config.model_dump(mode="json").items()},
    )
    try:
        log.log_dataset(run_id, DatasetView(TEST_SPLIT, report.data_digest, "", "evaluation"))
        log.log_text(run_id, text, REPORT_FILE)
        for name, text in evaluation.files.items():
            log.log_text(run_id, text, name)
        with tempfile.TemporaryDirectory() as scratch:
            for name, data in evaluation.pictures.items():
                path = Path(scratch) / name
                path.write_bytes(data)
                log.log_file(run_id, path)
        _log_metrics(store, version, report, run_id)
    except BaseException:
        log.finish(run_id, "FAILED")
        raise
    log.finish(run_id, "FINISHED")
    version = tag_version(store, version, report, run_id)
    store.set_description(version, describe_version(card, version.lineage, f"{version.found}."))
    _write_card(store, version, card, report, version.decision)
    return version


def tag_version(store: EncoderStore, version: EncoderVersion, report: Report, run_id: str) -> EncoderVersion:
    """Tags and event that say on the version what its evaluation's run holds: from here on it counts as evaluated."""
    summary = EvaluationSummary(
        run_id=run_id,
        pack_digest=report.data_digest,
        config_digest=report.config.digest(),
        headline=report.headline_text,
    )
    tags = {
        f"{PREFIX}gain": "" if (gain := gain_of(report)) is None else gain.to_json(),
        f"{PREFIX}evaluation": summary.to_json(),
        f"{PREFIX}evaluation_run": run_id,
        f"{PREFIX}protocol": report.config.protocol,
    }
    if tuned := fine_tuning_words(report):
        tags[FINE_TUNING] = tuned[:_LONGEST]
    if report.deciding is not None:
        measurement, scores = report.paired()[0]
        tags[f"{PREFIX}result"] = f"{scores.name}: {scale_of(scores.measure).interval(measurement.value)}"
    return store.add_event(store.tag(version, tags), "evaluated", tuned or summary.headline)


def read_report(store: EncoderStore, version: EncoderVersion) -> Report | None:
    """The report of the version's last evaluation; None if there is none or it cannot be read any more."""
    return None if version.evaluation is None else report_of_run(store, version.evaluation.run_id)


def report_of_run(store: EncoderStore, run_id: str) -> Report | None:
    """The report of an evaluation's run. None if it is not there, of an older format, or not the one that was written:
    whoever can write to the artifacts alone decides about no champion. The answer to each is to evaluate again."""
    try:
        content, run = store.run_log.read_file(run_id, REPORT_FILE), store.run_log.find_run(run_id)
        # one of before there was a digest has none
        written = None if run is None else run.data.tags.get(REPORT_DIGEST)
        intact = written is None or hashlib.sha256(content).hexdigest() == written
        return parse_report(content) if intact else None
    except (RegistryError, ValueError, OSError):
        return None


def known_report(store: EncoderStore, version: EncoderVersion, pack_digest: str, config: TaskConfig) -> Report | None:
    """The version's last report, if it answers what is asked."""
    known = read_report(store, version)
    return known if known and known.data_digest == pack_digest and known.config.covers(config) else None


def settle_leftovers(
    store: EncoderStore, version: EncoderVersion, pack_digest: str, config: TaskConfig
) -> EncoderVersion:
    """Make good for evaluations of this version, pack and protocol that were cut short, so that none is made twice.

    Called by the owner of the claim to the work (`registry.champions.evaluation_claims`). A run whose report is whole
    is hung on its version again; a run that did not get that far goes to MLflow's bin (`mlflow gc` empties it).

    Raises:
        RegistryError: the registry does not answer.
    """
    tags = {"kind": "evaluation", "encoder": version.reference, "pack_digest": pack_digest}
    tags["config_digest"] = config.digest()
    runs = store.run_log.find_runs({f"{PREFIX}{key}": value for key, value in tags.items()})
    with explained(f"clearing evaluations of {version.reference} that were cut short"):
        for run in runs:
            if run.info.status != "FINISHED":
                store.client.delete_run(run.info.run_id)
    for run in reversed(runs):
        report = report_of_run(store, run.info.run_id) if run.info.status == "FINISHED" else None
        if report is not None and report.config == config and report.data_digest == pack_digest:
            return tag_version(store, version, report, run.info.run_id)
    return version


def log_decision(store: EncoderStore, version: EncoderVersion, decision: Decision, card: Card) -> EncoderVersion:
    """Store the decision on the version (tag), beside the report (artifact) and in the card."""
    told = version.model_copy(update={"decision": decision})
    tags = {"decision": decision.to_json(), "decision_reason": decision.reason[:1000], "status": told.status}
    version = store.tag(version, {f"{PREFIX}{name}": value for name, value in tags.items()})
    if version.evaluation is not None and store.run_log.find_run(version.evaluation.run_id):
        text = json.dumps(decision.model_dump(mode="json"), indent=2)
        store.run_log.log_text(version.evaluation.run_id, text, "decision.json")
    _write_card(store, version, card, read_report(store, version), decision)
    return version


def _log_metrics(store: EncoderStore, version: EncoderVersion, report: Report, run_id: str) -> None:
    """All numbers as metrics of the run, of the logged model, and of the data set they were measured on."""
    from mlflow.entities import Metric

    values = {**report.metrics(), "seconds": report.seconds, "seconds/share_saved": report.share_saved}
    now = int(time.time() * 1000)
    source: dict[str, Any] = {
        "model_id": version.model_id or None,
        "dataset_name": TEST_SPLIT,
        "dataset_digest": report.data_digest,
        "run_id": run_id,
    }
    points = [Metric(key, value, now, 0, **source) for key, value in values.items()]
    with explained(f"storing metrics of {version.reference}"):
        for start in range(0, len(points), 500):
            store.client.log_batch(run_id, metrics=points[start : start + 500])


def _write_card(
    store: EncoderStore,
    version: EncoderVersion,
    card: Card,
    report: Report | None,
    decision: Decision | None,
) -> None:
    found = NOT_EVALUATED if report is None else report.markdown()
    if decision is not None:
        found += f"\n\nGate: {'promoted' if decision.promoted else 'not promoted'}. {decision.reason}"
    text = render_card(version.name, card, version.lineage, found)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / CARD_FILE
        path.write_text(text, encoding="utf-8")
        store.put_file(version, path)
