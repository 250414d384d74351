"""What an evaluation left behind that died half-way: found again by its tags, so that there is never a second one.

Called by whoever holds the claim to the work (`registry.champions.evaluation_claims`), before evaluating. A run whose
report is whole is hung on its version again; a run that did not get that far goes to MLflow's bin (`mlflow gc`
empties it).
"""

from registry.tracking.connection import explained
from registry.versions.evaluation_log import read_report, report_of_run, tag_version
from registry.versions.records import PREFIX, EncoderVersion
from registry.versions.store import EncoderStore
from ssl_core.evaluation.report import Report, TaskConfig


def settle_leftovers(
    store: EncoderStore, version: EncoderVersion, pack_digest: str, config: TaskConfig
) -> EncoderVersion:
    """Make good for evaluations of this version, pack and protocol that were cut short.

    Raises:
        RegistryError: the registry does not answer.
    """
    if known_report(store, version, pack_digest, config) is not None:
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
        report = report_of_run(store, run.info.run_id) if run.info.status == "FINISHED" else None
        if report is not None and report.config == config and report.data_digest == pack_digest:
            return tag_version(store, version, report, run.info.run_id)
    return version


def known_report(store: EncoderStore, version: EncoderVersion, pack_digest: str, config: TaskConfig) -> Report | None:
    """The version's last report, if it answers what is asked."""
    known = read_report(store, version)
    return known if known and known.data_digest == pack_digest and known.config.covers(config) else None
