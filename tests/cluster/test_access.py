"""A client without token or password gets nothing, soon, and is told what to set."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cluster_nodes import RayNodes
from cluster_service import Service

HERE = Path(__file__).resolve().parent
WRONG = "0" * 32

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

RAY_CLIENT = """
import json, ray
from ssl_core.errors import StudyError
from study.cluster.cluster import ray_cluster
try:
    with ray_cluster() as offered:
        print(json.dumps({"cpus": offered.cpus}))
except StudyError as error:
    print(json.dumps({"error": str(error)}))
"""

MLFLOW_CLIENT = """
import json, os, sys
from pathlib import Path
from registry.tracking.run_log import open_run_log
from ssl_core.errors import RegistryError
try:
    with open_run_log(os.environ["MLFLOW_TRACKING_URI"], Path(sys.argv[1])) as log:
        print(json.dumps({"experiment": log.connection.experiment_id}))
except RegistryError as error:
    print(json.dumps({"error": str(error)}))
"""

STATUS = """
import json, sys, urllib.request, urllib.error
found = {}
for path in sys.argv[2:]:
    try:
        found[path] = urllib.request.urlopen(sys.argv[1] + path, timeout=30).status
    except urllib.error.HTTPError as error:
        found[path] = error.code
print(json.dumps(found))
"""


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"RAY_AUTH_TOKEN": WRONG}, "does not accept this token"),
        ({"RAY_AUTH_TOKEN": "", "RAY_AUTH_MODE": ""}, "asks for a token, and none is set"),
        ({"RAY_AUTH_TOKEN": "", "RAY_AUTH_MODE": "disabled"}, "asks for a token, and none is set"),
        ({"RAY_AUTH_TOKEN": ""}, "there is no token"),
    ],
    ids=["wrong", "none", "switched-off", "forgotten"],
)
def test_rays_cluster_wants_its_token(ray_head: RayNodes, changes: dict[str, str], says: str) -> None:
    env = {k: v for k, v in {**ray_head.environment(RAY_ADDRESS=ray_head.address), **changes}.items() if v}
    began = time.monotonic()
    answer = json.loads(ray_head.head.run([sys.executable, "-c", RAY_CLIENT], env).splitlines()[-1])
    assert says in answer["error"]
    assert "RAY_AUTH_MODE=token" in answer["error"]
    assert "RAY_AUTH_TOKEN" in answer["error"]
    assert time.monotonic() - began < 60, "Ray itself would try for a long time"


def test_the_token_opens_rays_cluster(ray_head: RayNodes) -> None:
    env = ray_head.environment(RAY_ADDRESS=ray_head.address)
    assert json.loads(ray_head.head.run([sys.executable, "-c", RAY_CLIENT], env).splitlines()[-1])["cpus"] >= 1


def test_rays_dashboard_wants_its_token(ray_head: RayNodes) -> None:
    words = [sys.executable, "-c", STATUS, ray_head.dashboard, "/api/jobs/", "/nodes?view=summary"]
    assert set(json.loads(ray_head.head.run(words, ray_head.environment())).values()) == {401}


@pytest.mark.parametrize("changes", [{"MLFLOW_TRACKING_PASSWORD": WRONG}, {"MLFLOW_TRACKING_USERNAME": ""}, {}])
def test_mlflow_wants_user_and_password(
    ray_head: RayNodes, tracking: Service, tmp_path: Path, changes: dict[str, str]
) -> None:
    access = {**tracking.access, **changes}
    if changes == {"MLFLOW_TRACKING_USERNAME": ""}:
        access = {"MLFLOW_TRACKING_URI": tracking.uri}
    env = ray_head.environment(**access)
    answer = json.loads(tracking.place.run([sys.executable, "-c", MLFLOW_CLIENT, tmp_path], env).splitlines()[-1])
    if not changes:
        assert answer["experiment"]
        return
    assert "experiment" not in answer
    assert "MLFLOW_TRACKING_USERNAME" in answer["error"], answer
    assert "MLFLOW_TRACKING_PASSWORD" in answer["error"], answer


def test_mlflow_gives_nothing_away(ray_head: RayNodes, tracking: Service) -> None:
    paths = ["/api/2.0/mlflow/experiments/search?max_results=1", "/api/2.0/mlflow-artifacts/artifacts?path=", "/"]
    words = [sys.executable, "-c", STATUS, tracking.uri, *paths]
    assert set(json.loads(tracking.place.run(words, ray_head.environment())).values()) <= {401, 403}


def test_postgres_and_the_store_are_not_needed_by_clients(tracking: Service) -> None:
    assert not set(tracking.access) & set(tracking.store_access)
    assert tracking.password not in " ".join(tracking.store_access.values())


def test_everything_listens_on_loopback_or_asks(ray_head: RayNodes, tracking: Service) -> None:
    """What listens beyond loopback at the head is Ray's own, which asks for the token."""
    if ray_head.head.namespace is None:
        pytest.skip("without namespaces other programs of this machine listen, too")
    assert tracking.port
    listed = ray_head.head.run(["ss", "-Hltn"], ray_head.environment()) if _has("ss") else ""
    public = [line.split()[3] for line in listed.splitlines() if not line.split()[3].startswith(("127.", "[::1]"))]
    ours = {str(tracking.port), str(tracking.database_port), tracking.store.rpartition(":")[2]}
    assert not [address for address in public if address.rpartition(":")[2] in ours]


def _has(program: str) -> bool:
    return subprocess.run(["which", program], capture_output=True).returncode == 0
