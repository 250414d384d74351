"""A cluster on one machine: Ray nodes in namespaces of their own, and the tracking service beside the head."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "study"))  # fake sessions, the S3 API

from cluster_network import Place, network
from cluster_nodes import RayNodes
from cluster_service import Service, service


@pytest.fixture(scope="session")
def places() -> Iterator[dict[str, Place]]:
    """A head and two workers."""
    with network(["head", "worker1", "worker2"]) as made:
        yield made


@pytest.fixture(scope="session")
def ray_head(places: dict[str, Place]) -> Iterator[RayNodes]:
    """A head with one slot, the dashboard and token authentication; tests add workers."""
    nodes = RayNodes(places["head"], Path(mkdtemp(prefix="sr-")))
    try:
        nodes.start_head(1, dashboard=True)
        yield nodes
    finally:
        nodes.stop()
        shutil.rmtree(nodes.scratch, ignore_errors=True)


@pytest.fixture(scope="session")
def tracking(places: dict[str, Place], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """MLflow with authentication on Postgres and an S3 API."""
    with service(places["head"], tmp_path_factory.mktemp("service")) as made:
        yield made
