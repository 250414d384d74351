"""The data set of a run, as MLflow lists a run's inputs."""

import json
from typing import Any, Literal, NamedTuple


class DatasetView(NamedTuple):
    """A pack: MLflow knows it by name and digest within an experiment."""

    name: str
    digest: str  # at most 36 characters
    place: str  # folder or URI; empty where it is not known
    context: Literal["training", "evaluation"] = "training"


def dataset_input(dataset: DatasetView) -> Any:
    """MLflow's entity; made by hand, as `mlflow.data` would load the data to describe it."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    scheme, has_scheme, _ = dataset.place.partition("://")
    kind, source = scheme if has_scheme else "local", json.dumps({"uri": dataset.place})
    return DatasetInput(
        Dataset(name=dataset.name[:500], digest=dataset.digest[:36], source_type=kind, source=source),
        [InputTag("mlflow.data.context", dataset.context)],
    )
