"""What an evaluation left behind that died half-way: found again by its tags, so that there is never a second one.

Called by whoever holds the claim to the work (`registry.evaluation.evaluation_claims`), before evaluating. A run whose
report is whole is hung on its version again; a run that did not get that far goes to MLflow's bin (`mlflow gc`
empties it).
"""

import tempfile
from pathlib import Path
from typing import Any

from registry.connection import explained, import_mlflow
from registry.evaluation.evaluation_log import REPORT_FILE, hang_on_version, read_report
from registry.evaluation.reports import EvaluationConfig, EvaluationReport
from registry.versions.records import PREFIX, EncoderVersion
from registry.versions.store import EncoderStore
from ssl_core.config import parse_json
from ssl_core.errors import RegistryError


def settle_leftovers(
    store: EncoderStore, version: EncoderVersion, pack_digest: str, config: EvaluationConfig
) -> EncoderVersion:
    """Make good for evaluations of this version, pack and protocol that were cut short.

    Raises:
        RegistryError: the registry does not answer.
    """
    known = read_report(store, version)
    if known is not None and known.pack_digest == pack_digest and known.config.covers(config):
        return version
    tags = {"kind": "evaluation", "encoder": version.reference, "pack_digest": pack_digest}
    tags["config_digest"] = config.digest()
    query = " and ".join(f"tags.`{PREFIX}{key}` = '{value}'" for key, value in tags.items())
    with explained(f"looking for evaluations of {version.reference}"):
        runs = store.client.search_runs([store.run_log.connection.experiment_id], query, max_results=200)
        for run in runs:
            if run.info.status != "FINISHED":
                store.client.delete_run(run.info.run_id)
    for run in runs:
        report = _report(store, run.info.run_id) if run.info.status == "FINISHED" else None
        if report is not None and report.config == config and report.pack_digest == pack_digest:
            return hang_on_version(store, version, report, run.info.run_id)
    return version


def _report(store: EncoderStore, run_id: str) -> EvaluationReport | None:
    """The report of a run; None if it is not there or of another format."""
    artifacts: Any = import_mlflow().artifacts
    try:
        with explained(f"reading the report of run {run_id}"), tempfile.TemporaryDirectory() as scratch:
            path = artifacts.download_artifacts(
                run_id=run_id, artifact_path=REPORT_FILE, dst_path=scratch, tracking_uri=store.run_log.tracking_uri
            )
            return EvaluationReport.model_validate(parse_json(Path(path).read_text(encoding="utf-8")))
    except (RegistryError, ValueError, OSError):
        return None
