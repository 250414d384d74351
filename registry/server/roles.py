"""Who may do what with a served registry: readers pull, trainers register, owners promote.

MLflow's permissions lie on whole resources: whoever may add a version to a registered model may also move its
aliases, and whoever creates a model owns it. So its permissions say what a user may see, and this list, asked before
them (`registry.server.guard`), says what a user may change. It is closed: what is not named is refused.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Literal, assert_never, get_args

from registry.tracking.names import KIND

# as in registry.versions.records, which brings torch along: this is imported by MLflow's server
PREFIX, CANDIDATE = "splatsweep.", "candidate"
Role = Literal["reader", "trainer", "owner"]
ROLES: tuple[Role, ...] = get_args(Role)
TRAINERS_RUNS = frozenset({"study", "trial", "import", "", None})
"""kinds of runs that a trainer makes and changes; the others are a judge's: evaluations, promotion histories"""
WORKSPACE = "default"
"""MLflow's, where grants are kept while workspaces are not in use"""
GRANTS: dict[Role, tuple[tuple[str, str], ...]] = {
    "reader": (("experiment", "READ"), ("registered_model", "READ")),
    "trainer": (("experiment", "EDIT"), ("registered_model", "EDIT")),
    "owner": (("experiment", "MANAGE"), ("registered_model", "MANAGE")),
}
"""MLflow's permission on all resources of a type. Runs and models follow their experiment, versions their model."""

_API = re.compile(r"/(?:ajax-)?api/\d+\.\d+/(.+)")
_QUESTIONS = re.compile(
    "mlflow/(?:experiments|runs|logged-models)/search|mlflow/experiments/search-datasets"
    "|mlflow/registered-models/get-latest-versions|mlflow/artifacts/presigned-download-url"
)
_OWN_PASSWORD = "mlflow/users/update-password"
_NAME = "[^/]+"
_TRAINING = {
    "POST": re.compile(
        "mlflow/experiments/(?:create|set-experiment-tag)"
        "|mlflow/runs/(?:create|update|log-metric|log-parameter|log-batch|log-model|log-inputs|outputs|set-tag|delete-tag)"
        f"|mlflow/logged-models|mlflow/logged-models/{_NAME}/params"
        "|mlflow/registered-models/(?:create|alias)"
        "|mlflow/model-versions/(?:create|set-tag)"
        "|mlflow/upload-artifact|mlflow-artifacts/mpu/(?:create|complete|abort)/.+"
    ),
    "PATCH": re.compile(f"mlflow/logged-models/{_NAME}(?:/tags)?"),
    "PUT": re.compile("mlflow-artifacts/artifacts/.+"),
}
_VERDICTS = (
    "evaluation",
    "gain",
    "fine_tuning",
    "decision",
    "accuracy",
    "difference",
    "judged",
    "ledger",
    "claim",
    "unfit",
)
"""beginnings of the tags that evaluation, gate and watch write"""
_JUDGE = "an owner, or `splatsweep watch` with an owner's password, does that"


def role_name(role: Role) -> str:
    """The role's name among MLflow's roles."""
    return f"{PREFIX}{role}"


def strongest(names: set[str]) -> Role | None:
    """The strongest of our roles among the names of MLflow's roles; None where none is ours."""
    return next((role for role in reversed(ROLES) if role_name(role) in names), None)


def changes(method: str, path: str) -> bool:
    """Whether a request could change anything. Searches are sent by POST and change nothing."""
    if method in ("GET", "HEAD", "OPTIONS"):
        return False
    if method == "POST" and path == "/graphql":
        return False
    found = _API.fullmatch(path)
    return not (found and method == "POST" and _QUESTIONS.fullmatch(found[1]))


def refusal(role: Role | None, method: str, path: str, body: Mapping[str, Any]) -> str | None:
    """Why a request that changes something is refused, for people; None to let MLflow's permissions decide.

    `path` comes without prefix or query; `body` is the JSON object, empty for files.
    """
    found = _API.fullmatch(path)
    what = found[1] if found else path
    if what == _OWN_PASSWORD:
        return None
    match role:
        case None:
            return "this user has no role; an administrator gives one: splatsweep users add NAME --role reader"
        case "reader":
            return "readers look and pull, and change nothing; ask an owner for the role trainer"
        case "trainer":
            return _refused_to_trainers(method, what, body)
        case "owner":
            return None
        case _:
            assert_never(role)


def _refused_to_trainers(method: str, what: str, body: Mapping[str, Any]) -> str | None:
    allowed = _TRAINING.get(method)
    if allowed is None or not allowed.fullmatch(what):
        return f"trainers log runs and register encoders; {method} {what} is not theirs: {_JUDGE}"
    if what == "mlflow/registered-models/alias" and body.get("alias") != CANDIDATE:
        return f"trainers move no alias but '{CANDIDATE}': {_JUDGE}"
    if what == "mlflow/model-versions/set-tag":
        key = body.get("key")
        # a body that cannot be read has no key, and is refused as well
        if not isinstance(key, str) or key.startswith(PREFIX):
            return f"trainers do not change {key} of a registered version: {_JUDGE}"
    tags = body.get("tags", [])
    if not isinstance(tags, list) or not all(isinstance(tag, Mapping) for tag in tags):
        return "tags are a list of keys and values"
    if what == "mlflow/model-versions/create":
        return _forged(tags)
    if what.startswith("mlflow/runs/"):
        kinds = {tag.get("value") for tag in [*tags, body] if tag.get("key") == KIND}
        if not kinds <= TRAINERS_RUNS:
            return f"trainers make no runs of kind {', '.join(map(str, kinds))}: {_JUDGE}"
    return None


def _forged(tags: list[Mapping[str, Any]]) -> str | None:
    """A new version may say where it came from, not what was found about it."""
    for tag in tags:
        key, value = str(tag.get("key")), str(tag.get("value", ""))
        if key.startswith(PREFIX) and not _is_origin(key.removeprefix(PREFIX), value):
            return f"a new version cannot bring {key}: {_JUDGE}"
    return None


def _is_origin(name: str, value: str) -> bool:
    if name == "status":
        return value == "registered"
    if not name.startswith("event."):
        return not name.startswith(_VERDICTS)
    try:
        return bool(json.loads(value)["kind"] == "registered")
    except (ValueError, KeyError, TypeError):
        return False
