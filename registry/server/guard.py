"""The question before MLflow's own: may this user change that? Runs inside MLflow's server.

MLflow's authentication names it in its settings file: `authorization_function = registry.server.guard:authenticate`.
It asks for the password as MLflow does, then refuses what `registry.server.roles` does not allow. What a judge wrote
stays as it is for trainers: runs of evaluations and promotion histories, and the files of finished models.
"""

import json
import re
from typing import Any
from urllib.parse import unquote

from flask import Response, g, request
from mlflow.exceptions import MlflowException
from mlflow.server import auth, handlers
from werkzeug.exceptions import HTTPException

from registry.server.roles import TRAINERS_RUNS, changes, refusal, strongest
from registry.tracking.names import KIND

_RUN, _MODEL = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])"), re.compile(r"m-[0-9a-f]{32}")


def authenticate() -> Any:
    """The request's user as MLflow wants it, or the answer that ends the request (401, 403)."""
    found = auth.authenticate_request_basic_auth()
    # MLflow asks several times in a request; the first answer decides
    if isinstance(found, Response) or not changes(request.method, request.path) or "splatsweep_passed" in g:
        return found
    reason = _refused(str(found.username))
    if reason is not None:
        text = json.dumps({"error_code": "PERMISSION_DENIED", "message": reason})
        return Response(text, status=403, mimetype="application/json")
    g.splatsweep_passed = True
    return found


def _refused(username: str) -> str | None:
    user = auth.store.get_user(username)
    if user.is_admin:
        return None
    role = strongest({role.name for role in auth.store.list_user_roles(user.id)})
    reason = refusal(role, request.method, request.path, _body())
    return _of_a_judge() if reason is None and role == "trainer" else reason


def _body() -> dict[str, Any]:
    """The request's JSON object, read as MLflow's handlers read it."""
    if request.method == "PUT":  # a file's bytes
        return {}
    try:
        body = handlers._get_normalized_request_json(request)
    except (MlflowException, HTTPException, ValueError):
        return {}
    return body if isinstance(body, dict) else {}


def _of_a_judge() -> str | None:
    """Whether the request writes into a judge's run, or into the files of a finished model."""
    body, path = _body(), _plain(request.full_path)
    # MLflow takes runId for run_id
    named = {str(value) for key, value in body.items() if key.replace("_", "").lower() in ("runid", "runuuid")}
    runs = named | set(_RUN.findall(path))
    for run in runs:
        if _kind_of(run) not in TRAINERS_RUNS:
            return f"run {run} holds what a judge wrote; trainers do not change it"
    if not request.path.endswith("/tags"):  # a version's link comes after its files
        for model in _MODEL.findall(path):
            if _finished(model):
                return f"model {model} is finished and does not change: register another version"
    return None


def _plain(text: str) -> str:
    """An address without any layer of percent signs: MLflow decodes more than once."""
    while (decoded := unquote(text)) != text:
        text = decoded
    return text


def _kind_of(run_id: str) -> str | None:
    try:
        tags: dict[str, str] = handlers._get_tracking_store().get_run(run_id).data.tags
    except MlflowException:
        return None  # no such run: MLflow says so
    return tags.get(KIND)


def _finished(model_id: str) -> bool:
    try:
        return bool(handlers._get_tracking_store().get_logged_model(model_id).status == "READY")
    except MlflowException:
        return False
