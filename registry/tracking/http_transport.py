"""MLflow's REST interface, spoken directly: one connection that stays open, no library to import, one try per request.

MLflow's own client takes seconds of CPU to import and half a second of pauses to say that a server is down; the sender
starts with every study and has a patience of its own. Where the client can do what this cannot (signed requests,
plug-ins, credentials from a file, artifacts that go to a store directly), it is used: `store_transport`.
"""

import os
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import requests

from registry.connection import EXPERIMENT_TAGS, SIGN_IN, without_credentials
from registry.tracking.run_ids import RunRef
from registry.tracking.transport import Found, MissingError, Point, RefusedError, UnreachableError

API = "/api/2.0/mlflow/"
PROXY = "/api/2.0/mlflow-artifacts/artifacts/"
CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 60.0
_CLIENT_ONLY = ("MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4", "MLFLOW_WORKSPACE")


def speaks_http(address: str) -> bool:
    """Whether this transport serves the address in this environment."""
    plain = address.startswith(("http://", "https://"))
    credentials = Path("~/.mlflow/credentials").expanduser()
    return plain and not credentials.exists() and not any(os.environ.get(name) for name in _CLIENT_ONLY)


class HttpTransport:
    """An MLflow server at an http(s) address; see `registry.tracking.transport.Transport`."""

    def __init__(self, address: str, experiment: str) -> None:
        self._base = address.rstrip("/")
        self._experiment = experiment
        self._session = requests.Session()
        name, word = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD")
        token = os.environ.get("MLFLOW_TRACKING_TOKEN")
        if name and word:
            self._session.auth = (name, word)
        elif token:
            self._session.headers["Authorization"] = f"Bearer {token}"
        if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1"):
            self._session.verify = False
        elif certificate := os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH"):
            self._session.verify = certificate
        if own := os.environ.get("MLFLOW_TRACKING_CLIENT_CERT_PATH"):
            self._session.cert = own

    @property
    def address(self) -> str:
        """Of the server."""
        return without_credentials(self._base)

    def experiment(self) -> str:
        """The experiment's id; created where it is missing, restored where it was deleted."""
        try:
            found = self._get("experiments/get-by-name", experiment_name=self._experiment)["experiment"]
        except MissingError:
            tags = _pairs(EXPERIMENT_TAGS)
            made = self._post("experiments/create", name=self._experiment, tags=tags)
            return str(made["experiment_id"])
        if found.get("lifecycle_stage") == "deleted":
            self._post("experiments/restore", experiment_id=found["experiment_id"])
        return str(found["experiment_id"])

    def find(self, tags: Mapping[str, str]) -> RunRef | None:
        """The oldest run with all these tags."""
        found = self._post(
            "runs/search",
            experiment_ids=[self.experiment()],
            filter=" and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items()),
            order_by=["start_time ASC"],
            max_results=1,
        )
        runs = found.get("runs", [])
        return _ref(runs[0]) if runs else None

    def look_up(self, run_id: str) -> Found | None:
        """A run by its id."""
        try:
            run = self._get("runs/get", run_id=run_id)["run"]
        except MissingError:
            return None
        stage = run["info"].get("lifecycle_stage", "active")
        tags = {tag["key"]: tag.get("value", "") for tag in run["data"].get("tags", [])}
        return Found("deleted" if stage == "deleted" else "active", tags)

    def create(self, experiment: str, name: str, time: int, tags: Mapping[str, str]) -> RunRef:
        """A new run."""
        made = self._post("runs/create", experiment_id=experiment, run_name=name, start_time=time, tags=_pairs(tags))
        return _ref(made["run"])

    def restore(self, run_id: str) -> None:
        """Bring a deleted run back."""
        self._post("runs/restore", run_id=run_id)

    def batch(self, run_id: str, points: Sequence[Point], params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """All in one request."""
        metrics = [
            {"key": p.key, "value": "NaN" if p.value != p.value else p.value, "timestamp": p.time, "step": p.step}
            for p in points
        ]
        self._post("runs/log-batch", run_id=run_id, metrics=metrics, params=_pairs(params), tags=_pairs(tags))

    def status(self, run_id: str, status: str, end: int | None) -> None:
        """Set the status."""
        self._post("runs/update", run_id=run_id, status=status, **({} if end is None else {"end_time": end}))

    def steps(self, run_id: str, metric: str) -> set[int]:
        """Steps at which the metric has a value."""
        steps: set[int] = set()
        token = ""
        while True:
            more = {"page_token": token} if token else {}
            page = self._get("metrics/get-history", run_id=run_id, metric_key=metric, max_results=25_000, **more)
            steps |= {int(point.get("step", 0)) for point in page.get("metrics", [])}
            token = page.get("next_page_token", "")
            if not token:
                return steps

    def upload(self, run: RunRef, path: Path, name: str) -> None:
        """Through the server where it stores artifacts itself, else to wherever the run says."""
        place = urllib.parse.urlsplit(run.artifacts)
        if place.scheme != "mlflow-artifacts" or place.netloc:
            from registry.tracking.store_transport import StoreTransport  # imports MLflow

            StoreTransport(self._base, None, self._experiment).upload(run, path, name)
            return
        with path.open("rb") as stream:
            self._request("PUT", PROXY + urllib.parse.quote(f"{place.path.lstrip('/')}/{name}"), data=stream)

    def _get(self, what: str, **query: Any) -> Any:
        return self._request("GET", API + what, params=query)

    def _post(self, what: str, **body: Any) -> Any:
        return self._request("POST", API + what, json=body)

    def _request(self, method: str, path: str, **content: Any) -> Any:
        limits = (CONNECT_SECONDS, ANSWER_SECONDS)
        try:
            answer = self._session.request(method, self._base + path, timeout=limits, **content)
        except requests.RequestException as error:
            why = type(error).__name__
            raise UnreachableError(
                f"no MLflow server answers at {self.address} ({why}); start it or correct MLFLOW_TRACKING_URI"
            ) from None
        if answer.status_code == 200:
            try:
                return answer.json() if answer.content else {}
            except ValueError:
                raise UnreachableError(f"what answers at {self.address} is not an MLflow server") from None
        raise self._refusal(answer)

    def _refusal(self, answer: requests.Response) -> Exception:
        code, text = answer.status_code, " ".join(answer.text.split())[:400]
        try:
            body = answer.json()
            kind, text = str(body.get("error_code", "")), str(body.get("message", text))[:400]
        except (ValueError, AttributeError):
            kind = ""
        if code in (401, 403):
            return UnreachableError(f"MLflow at {self.address} refuses access ({code} {text}); {SIGN_IN}")
        if kind == "RESOURCE_DOES_NOT_EXIST":
            return MissingError(text)
        if code in (400, 409, 413, 422) or (code == 404 and kind):
            return RefusedError(f"{kind}: {text}" if kind else text)
        return UnreachableError(f"MLflow at {self.address} answers {code}: {text}")


def _pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def _ref(run: Mapping[str, Any]) -> RunRef:
    return RunRef(str(run["info"]["run_id"]), str(run["info"].get("artifact_uri", "")))
