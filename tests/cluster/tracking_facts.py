"""What MLflow and the object store hold about a study, as JSON. Argument: the study's name."""

import json
import os
import sys


def facts(study: str) -> dict:
    """Runs by MLflow's client, artifacts as MLflow lists them, keys as the object store does."""
    import boto3
    import mlflow

    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("splatsweep")
    runs = list(client.search_runs([experiment.experiment_id], max_results=5000))
    parents = [r for r in runs if r.data.tags.get("splatsweep.study") == study and not _parent(r)]
    trials = [r for r in runs if _parent(r) in {p.info.run_id for p in parents}]
    store = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    pages = store.get_paginator("list_objects_v2").paginate(Bucket="packs", Prefix="mlflow/")
    return {
        "artifact_root": parents[0].info.artifact_uri if parents else "",
        "parents": [r.info.status for r in parents],
        "trials": sorted([int(r.data.tags["splatsweep.trial"]), r.info.status, sorted(r.data.metrics)] for r in trials),
        "artifacts": [f.path for p in parents for f in client.list_artifacts(p.info.run_id)],
        "keys": [item["Key"] for page in pages for item in page.get("Contents", [])],
    }


def _parent(run) -> str | None:
    return run.data.tags.get("mlflow.parentRunId")


if __name__ == "__main__":
    print(json.dumps(facts(sys.argv[1])))
