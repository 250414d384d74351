"""What each role may ask of the server: a closed list, whatever the words of a request."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.server import roles
from registry.server.roles import ROLES, changes, refusal, role_name, strongest
from registry.versions import records

API = "/api/2.0/"
ALIAS, SET_TAG, CREATE = (
    "mlflow/registered-models/alias", "mlflow/model-versions/set-tag", "mlflow/model-versions/create",
)  # fmt: skip
METHODS = st.sampled_from(["POST", "PUT", "PATCH", "DELETE"])
TRAINING = [
    ("POST", "mlflow/experiments/create", {}),
    ("POST", "mlflow/runs/create", {"tags": [{"key": "splatsweep.kind", "value": "trial"}]}),
    ("POST", "mlflow/runs/log-batch", {"metrics": [{"key": "loss", "value": 1.0}]}),
    ("POST", "mlflow/logged-models", {}),
    ("PATCH", "mlflow/logged-models/m-1", {}),
    ("PATCH", "mlflow/logged-models/m-1/tags", {}),
    ("PUT", "mlflow-artifacts/artifacts/1/abc/artifacts/file", {}),
    ("POST", "mlflow/registered-models/create", {"name": "n"}),
    ("POST", CREATE, {"name": "n", "tags": [{"key": "splatsweep.digest", "value": "d"}]}),
    ("POST", CREATE, {"tags": [{"key": "splatsweep.event.1", "value": json.dumps({"kind": "registered"})}]}),
    ("POST", SET_TAG, {"key": "note", "value": "mine"}),
    ("POST", ALIAS, {"name": "n", "alias": "candidate", "version": "1"}),
]  # fmt: skip
JUDGING: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", ALIAS, {"name": "n", "alias": "champion", "version": "1"}),
    ("POST", ALIAS, {"name": "n", "alias": "Candidate", "version": "1"}),
    ("POST", ALIAS, {}),
    ("DELETE", ALIAS, {"name": "n", "alias": "candidate"}),
    ("DELETE", ALIAS, {"name": "n", "alias": "champion"}),
    ("POST", SET_TAG, {"key": "splatsweep.checksums", "value": "other"}),
    ("POST", SET_TAG, {"key": "splatsweep.evaluation", "value": "{}"}),
    ("POST", SET_TAG, {}),
    ("DELETE", "mlflow/model-versions/delete-tag", {"key": "splatsweep.checksums"}),
    ("DELETE", "mlflow/model-versions/delete", {"name": "n", "version": "1"}),
    ("PATCH", "mlflow/model-versions/update", {"description": "champion"}),
    ("POST", "mlflow/model-versions/transition-stage", {"stage": "Production"}),
    ("DELETE", "mlflow/registered-models/delete", {"name": "n"}),
    ("POST", "mlflow/registered-models/rename", {"name": "n"}),
    ("POST", "mlflow/registered-models/set-tag", {"key": "splatsweep.ledger_head"}),
    ("POST", CREATE, {"tags": [{"key": "splatsweep.decision", "value": "{}"}]}),
    ("POST", CREATE, {"tags": [{"key": "splatsweep.judged.2", "value": "{}"}]}),
    ("POST", CREATE, {"tags": [{"key": "splatsweep.status", "value": "champion"}]}),
    ("POST", CREATE, {"tags": [{"key": "splatsweep.event.1", "value": json.dumps({"kind": "promoted"})}]}),
    ("POST", CREATE, {"tags": [{"key": "splatsweep.event.1", "value": "no json"}]}),
    ("POST", CREATE, {"tags": "no list"}),
    ("POST", CREATE, {"tags": ["no tag"]}),
    ("POST", "mlflow/runs/create", {"tags": [{"key": "splatsweep.kind", "value": "ledger"}]}),
    ("POST", "mlflow/runs/set-tag", {"key": "splatsweep.kind", "value": "evaluation"}),
    ("POST", "mlflow/runs/log-batch", {"tags": [{"key": "splatsweep.kind", "value": "ledger"}]}),
    ("POST", "mlflow/runs/delete", {"run_id": "r"}),
    ("DELETE", "mlflow-artifacts/artifacts/1/abc", {}),
    ("POST", "mlflow/experiments/delete", {"experiment_id": "1"}),
    ("POST", "mlflow/webhooks", {}),
    ("POST", "mlflow/users/permissions/grant", {"permission": "MANAGE"}),
]  # fmt: skip


def test_the_words_are_those_of_the_records() -> None:
    assert (roles.PREFIX, roles.CANDIDATE) == (records.PREFIX, records.CANDIDATE)


@pytest.mark.parametrize(("method", "what", "body"), TRAINING)
@pytest.mark.parametrize("api", ["/api/2.0/", "/ajax-api/2.0/"])
def test_trainers_train_and_register(api: str, method: str, what: str, body: dict[str, Any]) -> None:
    assert changes(method, api + what)
    assert refusal("trainer", method, api + what, body) is None


@pytest.mark.parametrize(("method", "what", "body"), JUDGING)
@pytest.mark.parametrize("api", ["/api/2.0/", "/ajax-api/2.0/", "/api/3.0/", "/prefix/api/2.0/"])
def test_trainers_neither_judge_nor_remove(api: str, method: str, what: str, body: dict[str, Any]) -> None:
    assert changes(method, api + what)
    assert refusal("trainer", method, api + what, body)


@pytest.mark.parametrize(("method", "what", "body"), [*TRAINING, *JUDGING])
def test_owners_are_asked_nothing_and_readers_are_refused(method: str, what: str, body: dict[str, Any]) -> None:
    assert refusal("owner", method, API + what, body) is None
    assert refusal("reader", method, API + what, body)
    assert refusal(None, method, API + what, body)


@given(METHODS, st.text(max_size=40), st.dictionaries(st.text(max_size=8), st.text(max_size=8)))
def test_what_is_not_named_is_refused(method: str, what: str, body: dict[str, str]) -> None:
    for path in (what, API + what, f"{API}mlflow/{what}"):
        assert refusal("reader", method, path, body) or path.endswith("users/update-password")
        assert refusal("trainer", method, path, body) or path.endswith("users/update-password")


@given(st.text(min_size=1, max_size=20))
def test_no_spelling_of_an_alias_passes_but_the_candidates(alias: str) -> None:
    assert (refusal("trainer", "POST", API + ALIAS, {"alias": alias}) is None) == (alias == "candidate")


@pytest.mark.parametrize("what", ["experiments/search", "runs/search", "logged-models/search"])
def test_searching_changes_nothing(what: str) -> None:
    assert not changes("POST", f"{API}mlflow/{what}")
    assert changes("DELETE", f"{API}mlflow/{what}")


def test_own_passwords_can_be_changed_by_everybody() -> None:
    assert refusal("reader", "PATCH", f"{API}mlflow/users/update-password", {"username": "me"}) is None


def test_the_strongest_role_counts() -> None:
    names = {role_name(role) for role in ROLES}
    assert strongest(names) == "owner"
    assert strongest(names - {role_name("owner")}) == "trainer"
    assert strongest({"another's role"}) is None
