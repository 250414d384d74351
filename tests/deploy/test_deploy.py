"""What deploy/ says is valid, of the lock's versions, closed to strangers, and has no password of its own."""

import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_shape import Compose
from kuberay_shape import SHAPES
from pydantic import ValidationError

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
KUBERAY = sorted((DEPLOY / "kuberay").glob("*.yaml"))
TEXTS = sorted(f for f in DEPLOY.rglob("*") if f.is_file())
SECRETS = ("TOKEN", "PASSWORD", "SECRET", "ACCESS_KEY")


def compose() -> dict[str, Any]:
    return {k: v for k, v in yaml.safe_load((DEPLOY / "compose.yaml").read_text()).items() if not k.startswith("x-")}


def documents(file: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(file.read_text()))


def locked(name: str) -> str:
    found = re.search(rf"^{name}==(\S+)", (ROOT / "requirements.lock").read_text(), re.M)
    assert found, name
    return found[1]


def strings(value: Any) -> list[str]:
    match value:
        case dict():
            return [text for key, part in value.items() for text in (str(key), *strings(part))]
        case list():
            return [text for part in value for text in strings(part)]
        case _:
            return [str(value)]


# each file by its own rules


def test_compose_is_as_specified() -> None:
    Compose.model_validate(compose())
    Compose.model_validate(yaml.safe_load((DEPLOY / "compose.gpu.yaml").read_text()))


@pytest.mark.parametrize("wrong", [{"porst": []}, {"ports": ["0.0.0.0/0:5000"]}, {"shm_size": 1.5}, {"restart": True}])
def test_the_shape_refuses_what_compose_would(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Compose.model_validate({"services": {"one": {"image": "a:1", **wrong}}})


@pytest.mark.parametrize("more", [[], ["compose.gpu.yaml"]])
def test_compose_accepts_it(more: list[str], tmp_path: Path) -> None:
    """By Compose itself where it is installed. Without secrets it refuses and names the first that is missing."""
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode
    ):
        pytest.skip("no docker compose here")
    files = [part for name in ["compose.yaml", *more] for part in ("--file", str(DEPLOY / name))]
    words = ["docker", "compose", *files, "config", "--quiet"]
    env = {name: value for name, value in os.environ.items() if not any(s in name for s in SECRETS)}
    bare = subprocess.run([*words[:2], "--env-file", "/dev/null", *words[2:]], env=env, capture_output=True, text=True)
    assert bare.returncode != 0
    assert "into .env" in bare.stderr
    filled = tmp_path / "env"
    filled.write_text("".join(f"{name}=a1b2c3d4e5f6a7b8\n" for name in required_variables()))
    words = [*words[:2], "--env-file", str(filled), *words[2:]]
    subprocess.run(words, env=env, check=True, capture_output=True)


def test_ray_accepts_its_cluster_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((DEPLOY / "ray-cluster.yaml").read_text())
    validate_config(prepare_config(config))
    with pytest.raises(Exception, match="worker_setup_comands"):
        validate_config(prepare_config({**config, "worker_setup_comands": []}))


@pytest.mark.parametrize("file", KUBERAY, ids=lambda f: f.name)
def test_kuberays_files_are_as_its_reference_says(file: Path) -> None:
    for document in documents(file):
        SHAPES[document["kind"]].model_validate(document)


def test_the_volume_of_the_job_is_that_of_the_cluster() -> None:
    claims = {d["metadata"]["name"] for f in KUBERAY for d in documents(f) if d["kind"] == "PersistentVolumeClaim"}
    used = {c for f in KUBERAY for c in re.findall(r"claimName: ([\w-]+)", f.read_text())}
    assert used == claims


# versions


def test_versions_are_the_locks() -> None:
    for file in KUBERAY:
        versions = re.findall(r'rayVersion: "(.+)"', file.read_text())
        assert versions
        assert set(versions) == {locked("ray")}
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = {tag for f in TEXTS for tag in re.findall(r"\bsplatsweep:(\d[\w.]*)", f.read_text())}
    assert images == {ours}
    assert "requirements.lock" in (DEPLOY / "Dockerfile").read_text()
    assert "--require-hashes" in (DEPLOY / "Dockerfile").read_text()


def test_images_have_versions() -> None:
    for service in compose()["services"].values():
        assert not service["image"].endswith(":latest")
    assert "FROM python:3.11" in (DEPLOY / "Dockerfile").read_text()
    # pg_dump refuses a server that is newer than itself
    server = re.search(r"image: postgres:(\d+)", (DEPLOY / "compose.yaml").read_text())
    assert server is not None
    assert f"postgresql-client-{server[1]}" in (DEPLOY / "Dockerfile").read_text()


# authentication


def test_ray_asks_for_its_token_everywhere() -> None:
    services = compose()["services"]
    rays = {name: s for name, s in services.items() if s.get("command", [""])[0] == "ray"}
    assert set(rays) == {"ray-head", "ray-worker"}
    for service in rays.values():
        assert service["environment"]["RAY_AUTH_MODE"] == "token"
        assert service["environment"]["RAY_AUTH_TOKEN"].startswith("${RAY_AUTH_TOKEN:?")
    for file in KUBERAY:
        for document in documents(file):
            spec = document["spec"].get("rayClusterSpec", document["spec"])
            if "headGroupSpec" in spec:
                assert spec["authOptions"] == {"mode": "token", "secretName": "splatsweep-ray"}
    cluster = yaml.safe_load((DEPLOY / "ray-cluster.yaml").read_text())
    for kind in ("head", "worker"):
        (start,) = [c for c in cluster[f"{kind}_start_ray_commands"] if "ray start" in c]
        assert start.startswith("RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=")
        path = dict(word.split("=", 1) for word in shlex.split(start) if "=" in word)["RAY_AUTH_TOKEN_PATH"]
        assert path in cluster["file_mounts"]


def test_mlflow_asks_for_user_and_password() -> None:
    server = compose()["services"]["mlflow"]
    assert "--app-name=basic-auth" in server["command"]
    assert server["environment"]["MLFLOW_AUTH_ADMIN_PASSWORD"].startswith("${MLFLOW_TRACKING_PASSWORD:?")
    assert "MLFLOW_FLASK_SERVER_SECRET_KEY" in server["environment"]
    settings = compose()["configs"]["mlflow-auth"]["content"]
    assert "default_permission = NO_PERMISSIONS" in settings
    assert "--disable-security-middleware" not in server["command"]


def test_the_drivers_of_the_databases_are_named() -> None:
    """SQLAlchemy's own choice for postgresql:// is a library that the lock does not have."""
    text = (DEPLOY / "compose.yaml").read_text()
    assert set(re.findall(r"postgresql[+\w]*://", text)) == {"postgresql+psycopg2://"}
    assert locked("psycopg2-binary")


def test_no_secret_has_a_default() -> None:
    """A secret is `${NAME:?...}` or a reference to one, never a text."""
    for name, service in compose()["services"].items():
        for variable, value in service.get("environment", {}).items():
            if any(word in variable for word in SECRETS):
                assert re.match(r"^\$\{[A-Z_]+:\?.+\}$", value), f"{name}: {variable}={value}"
    for text in strings(compose()):
        for defaulted in re.findall(r"\$\{(\w+):?-", text):
            assert not any(word in defaulted for word in SECRETS), defaulted
    for file in KUBERAY:
        assert "stringData" not in file.read_text(), (
            "secrets are made by the operator of the cluster, not kept in files"
        )
        assert not any(d["kind"] == "Secret" for d in documents(file))


@pytest.mark.parametrize("file", TEXTS, ids=lambda f: f.name)
def test_no_file_holds_a_secret(file: Path) -> None:
    assert not re.search(r"(?i)(password|token|secret)\w*[=:]\s*[\"']?[a-z0-9]{8,}[\"']?\s*$", file.read_text(), re.M)


# who can connect


def test_nothing_is_published_beyond_this_machine() -> None:
    published = [port for service in compose()["services"].values() for port in service.get("ports", [])]
    assert len(published) == 3
    assert all(port.startswith("127.0.0.1:") for port in published), published
    assert not any("network_mode" in service for service in compose()["services"].values())
    for file in KUBERAY:
        assert set(re.findall(r"serviceType: (\w+)", file.read_text())) == {"ClusterIP"}
    cluster = (DEPLOY / "ray-cluster.yaml").read_text()
    assert "--dashboard-host=127.0.0.1" in cluster
    assert "0.0.0.0" not in cluster


def test_the_image_needs_no_root_and_holds_no_secret() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert re.findall(r"^USER (.+)$", text, re.M)[-1] == "splatsweep"
    assert not re.search(r"^(ARG|ENV).*(TOKEN|PASSWORD|SECRET)", text, re.M)
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert {".env", ".git", ".venv", "runs"} <= set(ignored)


# variables


def required_variables() -> set[str]:
    return set(re.findall(r"\$\{(\w+):\?", (DEPLOY / "compose.yaml").read_text()))


def test_every_variable_is_in_the_example() -> None:
    example = (ROOT / ".env.example").read_text()
    for file in TEXTS:
        for name in re.findall(r"\$\{(\w+)[:}]", file.read_text()):
            assert re.search(rf"^#? ?{name}=", example, re.M), f"{file.name}: {name}"
    filled = re.findall(r"^(\w+)=(\S+)", example, re.M)
    assert not [name for name, value in filled if any(word in name for word in SECRETS)], "an example is not a default"


# the text for the person on call


def test_the_commands_of_operations_exist() -> None:
    from study.commands.cli import app

    text = (ROOT / "docs/operations.md").read_text()
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    commands |= {group.name for group in app.registered_groups if group.name}
    named = set(re.findall(r"`(?:\.venv/bin/)?splatsweep ([a-z]+)", text)) | set(
        re.findall(r"^(?:\.venv/bin/)?splatsweep ([a-z]+)", text, re.M)
    )
    assert named
    assert named <= commands, named - commands
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets
    for link in re.findall(r"`(deploy/[\w./-]*)`", text):
        assert (ROOT / link).exists(), link


def test_secrets_are_made_once(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("RAY_AUTH_TOKEN=mine\nPOSTGRES_PASSWORD=\n# AWS_REGION=\nOTHER=x=y\n")
    make = lambda: subprocess.run(["python3", str(DEPLOY / "make_secrets.py"), str(file)], check=True)  # noqa: E731
    make()
    first = file.read_text()
    values = dict(line.split("=", 1) for line in first.splitlines() if not line.startswith("#"))
    assert required_variables() <= set(values)
    assert (values["RAY_AUTH_TOKEN"], values["OTHER"]) == ("mine", "x=y")
    random = [value for name, value in values.items() if any(word in name for word in SECRETS) and value != "mine"]
    assert len(set(random)) == len(random)
    assert min(map(len, random)) >= 20
    assert all(value.isalnum() for value in random)  # they become parts of addresses
    assert first.count("POSTGRES_PASSWORD=") == 1
    assert file.stat().st_mode & 0o077 == 0
    make()
    assert file.read_text() == first
