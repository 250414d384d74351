"""Starting Ray quietly, or joining the cluster that `RAY_ADDRESS` names; and what it has to offer."""

import logging
import math
import os
import secrets
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.tracking.network import CertificateVariables, keep_loopback_direct, no_answer, proxy_remedy, through
from ssl_core.errors import MissingDependencyError, StudyError
from study.cluster.pending_starts import watched_start
from study.cluster.ray_internals import (
    any_agent_port,
    dashboard_of_this_process,
    found_cluster,
    logs_folder,
    sheltered_processes,
    termination_stays_ours,
)
from study.cluster.session_folder import choose_session_folder
from study.cluster.waiting_reasons import last_words, machine_strain
from study.cluster.worker_imports import joining_environment, preloaded
from study.spec.study_spec import StudySpec
from study.workers.gpu_share import MeasuredNeeds, measured_share

ANSWER_SECONDS = 10.0
_REMEDY = (
    "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) to the token that the cluster was started with"
)
_CERTIFICATES = CertificateVariables(("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), own=None)
_ASK = "/ray.rpc.NodeInfoGcsService/GetClusterId"
_ASK_CLIENT_SERVER = "/ray.rpc.RayletDriver/ClusterInfo"
"""The first question of every client of Ray's control process, and of its client server; empty messages need no
generated code."""


def ray_token() -> str | None:
    """The token that Ray would send; None without one or when RAY_AUTH_MODE switches authentication off.

    Raises:
        StudyError: RAY_AUTH_TOKEN_PATH names a file that cannot be read or is empty, where Ray would abort.
    """
    mode = os.environ.get("RAY_AUTH_MODE", "").strip().lower()
    if mode not in ("", "token"):
        return None
    if token := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return token
    if path := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        token = _read(path)
        if not token:
            raise StudyError(f"RAY_AUTH_TOKEN_PATH={path} holds no token; write the cluster's token into that file")
        return token
    return _read("~/.ray/auth_token") or None


def _supply_token() -> None:
    """A token for a Ray of this machine, which would keep one in the home folder, where that cannot be written."""
    if os.environ.get("RAY_AUTH_MODE", "").strip().lower() not in ("", "token") or ray_token() is not None:
        return
    with suppress(OSError, RuntimeError):
        folder = Path.home() / ".ray"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK):
            return
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(16)


def check_cluster(address: str) -> None:
    """Ask the control process at `host:port` who it is: Ray itself tries for half a minute and does not say why.

    `auto` is the cluster that Ray finds on this machine, `ray://host:port` its client server. Clusters with TLS and
    other schemes are left to Ray.

    Raises:
        StudyError: nobody answers there within 10 s, the token is missing or wrong, or it is a dashboard's address; the
        text names the remedy.
    """
    place = _place(address)
    token = ray_token()
    by_token = os.environ.get("RAY_AUTH_MODE", "").strip().lower() == "token"
    if by_token and token is None:
        raise StudyError(f"RAY_AUTH_MODE=token, but there is no token; {_REMEDY}")
    question = _ASK
    if address.startswith("ray://"):
        question, token = _ASK_CLIENT_SERVER, token if by_token else None  # Ray's client sends none unasked
    host, colon, port = place.rpartition(":")
    if not colon or not port.isdigit() or "/" in host or os.environ.get("RAY_USE_TLS", "0") not in ("0", ""):
        return
    import grpc

    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    with grpc.insecure_channel(place, options=(("grpc.enable_http_proxy", 0),)) as channel:
        ask = channel.unary_unary(question)
        try:
            ask(b"", metadata=metadata, timeout=ANSWER_SECONDS, wait_for_ready=True)
        except grpc.RpcError as error:
            _explain(error, address, token)


def _place(address: str) -> str:
    """`host:port` of an address, where it is one of those that `check_cluster` asks."""
    if address.startswith(("http://", "https://")):
        raise StudyError(
            f"RAY_ADDRESS={address} is the address of a dashboard; a study joins a cluster at RAY_ADDRESS=host:6379, "
            f"or is sent to it: RAY_API_SERVER_ADDRESS={address} splatsweep submit"
        )
    place = found_cluster() if address == "auto" else address.removeprefix("ray://")
    if place is None:
        raise StudyError(
            "RAY_ADDRESS=auto, and no Ray cluster runs on this machine; start one with `ray start --head`, or unset "
            "RAY_ADDRESS to have one for this command"
        )
    return place


def check_dashboard(address: str) -> None:
    """Ask the Jobs API at `http://host:port`.

    Raises:
        StudyError: nobody answers there, it is not Ray's dashboard, or the token is missing or wrong.
    """
    import requests

    keep_loopback_direct()
    token = ray_token()
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        # as Ray's own client asks, which finds certificates and proxies where requests does
        with requests.get(
            f"{address.rstrip('/')}/api/jobs/", headers=headers, timeout=ANSWER_SECONDS, stream=True
        ) as answer:
            status = answer.status_code
    except (OSError, ValueError) as error:
        remedy = (
            "start the cluster (make up), open a tunnel (ssh -L 8265:127.0.0.1:8265 head), or set "
            "RAY_API_SERVER_ADDRESS"
        )
        raise StudyError(no_answer("Ray dashboard", address, error, _CERTIFICATES, remedy)) from None
    if status in (401, 403):
        raise _refused(f"the Ray cluster at {address}{through(address)}", token)
    if not 200 <= status < 300:
        other = proxy_remedy(address)
        raise StudyError(
            f"{address}{through(address)} answers {status} to Ray's Jobs API; name the dashboard of a cluster with "
            f"ray[default]{f', or {other}' if other else ''}"
        )


def _explain(error: Any, address: str, token: str | None) -> None:
    import grpc

    match error.code():
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            raise _refused(f"the Ray cluster at RAY_ADDRESS={address}", token) from None
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.DEADLINE_EXCEEDED:
            raise StudyError(
                f"no Ray cluster answers at RAY_ADDRESS={address}; start one with `ray start --head`, correct the "
                "address, or unset RAY_ADDRESS to run on this machine"
            ) from None
        case _:
            return  # another version's control process, perhaps; Ray itself will say


def _refused(cluster: str, token: str | None) -> StudyError:
    what = "does not accept this token" if token else "asks for a token, and none is set"
    return StudyError(f"{cluster} {what}; {_REMEDY}")


def _read(path: str) -> str:
    try:
        return Path(path).expanduser().read_text().strip()
    except (OSError, RuntimeError):  # a user without a home folder
        return ""


QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "A worker died or was killed",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
}
"""Set before Ray is imported: no usage report, no second progress table, no snapshots nobody restores; and after
`uv run` workers have the driver's environment, not one that uv builds for each from a copy of the working directory."""

_OBJECT_STORE_BYTES = 200 * 2**20
"""Packs are memory-mapped files; only messages travel through Ray's object store."""


DASHBOARD = "SPLATSWEEP_DASHBOARD"
"""Set for a Ray of this machine with pages and `ray list`: ten more processes and a gigabyte of memory."""

_START_TRIES = 3
"""A machine under heavy load can take longer to start Ray than Ray waits."""


@dataclass(frozen=True)
class Resources:
    """What a cluster has."""

    cpus: float  # of all machines
    gpus: float  # of all machines
    machine_cpus: float = math.inf  # of the largest machine, where there are several; a trial must fit into one
    machine_gpus: float = math.inf  # the same
    here: bool = False  # this process started it, on this machine alone, so its processes have the same environment
    address: str = ""  # host:port of its control process
    dashboard: str = ""  # host:port of its pages; empty without any


_started_here = ContextVar("started_here", default=False)
"""Whether this process has started the Ray that it is connected to; blocks within blocks ask."""


@contextmanager
def ray_cluster(least_cpus: float = 1.0) -> Iterator[Resources]:
    """Ray for the duration of the block: joined if `RAY_ADDRESS` is set or it runs here already, else started.

    Args:
        least_cpus: a local Ray offers at least this many slots, even on fewer cores: asking for more trials
            at a time than cores is allowed.

    Raises:
        MissingDependencyError: Ray is not installed. StudyError: nobody answers at `RAY_ADDRESS`.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    keep_loopback_direct()  # workers inherit it
    try:
        import ray
    except ModuleNotFoundError:
        raise MissingDependencyError("studies need Ray, which is not installed; run `make setup`") from None
    ours = not ray.is_initialized()
    try:
        if ours:
            with termination_stays_ours():
                _connect(least_cpus)
            _started_here.set(not os.environ.get("RAY_ADDRESS"))
        yield _resources()
    finally:
        if ours:
            ray.shutdown()
            _started_here.set(False)


def _resources() -> Resources:
    import ray

    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus = [float(machine.get("CPU", 0.0)) for machine in machines]
    gpus = [float(machine.get("GPU", 0.0)) for machine in machines]
    here = _started_here.get() and len(machines) == 1
    largest = max(cpus, default=0.0), max(gpus, default=0.0)
    address = ray.get_runtime_context().gcs_address
    return Resources(sum(cpus), sum(gpus), *largest, here, address, dashboard_of_this_process() or "")


def _connect(least_cpus: float) -> None:
    import ray

    address = os.environ.get("RAY_ADDRESS")
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address:
        check_cluster(address)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if address:
            try:
                with watched_start():
                    ray.init(address=address, runtime_env=None if "://" in address else joining_environment(), **quiet)
            except (ConnectionError, RuntimeError, ValueError) as error:
                reason = " ".join(str(error).split())[:200]
                raise StudyError(
                    f"no Ray cluster answers at RAY_ADDRESS={address} ({reason}); start one with "
                    "`ray start --head`, or unset RAY_ADDRESS to run on this machine"
                ) from None
            return
        choose_session_folder()
        _supply_token()
        cpus = max(len(os.sched_getaffinity(0)), math.ceil(least_cpus))
        for tries_left in reversed(range(_START_TRIES)):
            try:
                with any_agent_port(), preloaded(), watched_start(), sheltered_processes():
                    ray.init(
                        address="local",
                        num_cpus=cpus,
                        include_dashboard=bool(os.environ.get(DASHBOARD)),
                        object_store_memory=_OBJECT_STORE_BYTES,
                        **quiet,
                    )
                return
            except Exception as error:  # Ray gives its own processes 30 s and then raises whatever it likes
                words = last_words(logs_folder())
                ray.shutdown()
                if not tries_left:
                    parts = (" ".join(str(error).split())[:200], words, machine_strain())
                    raise StudyError(
                        f"Ray did not start here in {_START_TRIES} attempts: {'; '.join(filter(None, parts))}"
                    ) from error


def trial_resources(spec: StudySpec, offered: Resources, measured: MeasuredNeeds | None = None) -> dict[str, float]:
    """CPUs and GPUs of one trial.

    Args:
        measured: what the study's trials needed so far; a GPU is shared by it when `gpus_per_trial` is `auto`.

    Raises:
        StudyError: no machine of the cluster can hold even one.
    """
    gpus = spec.gpus_per_trial
    if gpus is None:
        gpus = 1.0 if offered.gpus >= 1 else 0.0
    elif gpus == "auto":
        gpus = measured_share(measured, offered.cpus, offered.gpus, spec.cpus_per_trial)
    for name, needed, there, largest in (
        ("CPU", spec.cpus_per_trial, offered.cpus, offered.machine_cpus),
        ("GPU", gpus, offered.gpus, offered.machine_gpus),
    ):
        if needed > min(there, largest):
            has = f"the cluster has {there:g}"
            if there > largest:
                has += f", {largest:g} on its largest machine"
            raise StudyError(f"one trial asks for {needed:g} {name}s and {has}; lower {name.lower()}s_per_trial")
    return {"CPU": spec.cpus_per_trial, "GPU": gpus}


def enlarged(per_trial: dict[str, float], share: float) -> dict[str, float]:
    """Resources of a trial that gets a multiple of the usual: of its GPU where it has one, else of its CPUs."""
    cpus, gpus = per_trial["CPU"], per_trial["GPU"]
    return {"CPU": cpus, "GPU": min(1.0, gpus * share)} if 0 < gpus < 1 else {"CPU": cpus * share, "GPU": gpus}


def largest_share(per_trial: dict[str, float], offered: Resources) -> float:
    """The largest multiple that helps: a whole GPU, or without GPUs all CPUs of a machine, so that it runs alone."""
    gpus = per_trial["GPU"]
    if gpus > 0:
        return max(1.0, 1.0 / gpus)
    return max(1.0, min(offered.cpus, offered.machine_cpus) / per_trial["CPU"])


def slots(spec: StudySpec, per_trial: dict[str, float], offered: Resources) -> int:
    """Trials at a time: what fits, or fewer when the spec says so."""
    fits = math.floor(offered.cpus / per_trial["CPU"] + 1e-9)
    if per_trial["GPU"] > 0:
        # a GPU shared by fractions serves floor(1/fraction) trials; fractions never span two
        share = per_trial["GPU"]
        whole = math.floor(offered.gpus / share) if share >= 1 else int(offered.gpus) * math.floor(1 / share + 1e-9)
        fits = min(fits, whole)
    fits = max(1, fits)
    return fits if spec.concurrency is None else min(fits, spec.concurrency)
