"""Users of a served registry, each with one role: added, listed, removed by the administrator."""

import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

from registry.server.places import is_running, service_folder
from registry.server.processes import LOOPBACK
from registry.server.roles import GRANTS, ROLES, WORKSPACE, Role, role_name, strongest
from registry.server.secret_file import ADMINISTRATOR, service_secrets
from registry.tracking.address import checked_address, without_credentials
from registry.tracking.connection import ask, import_mlflow
from registry.tracking.network import MLFLOW_CERTIFICATES, no_answer, through
from ssl_core.config import Config
from ssl_core.errors import RegistryError

_ANSWER_SECONDS = 60.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}")


class User(Config):
    """One user. `role` is None for one that has none of ours, and for the administrator, who needs none."""

    name: str
    role: Role | None
    administrator: bool


class Users:
    """The users of MLflow's server at an address.

    Seen with the password of an administrator, and no other settings; without one as MLflow's variables say.
    """

    def __init__(self, address: str, user: str | None = None, password: str | None = None) -> None:
        self.address = address.rstrip("/")
        self._signed_in = (user, password)

    def list(self) -> tuple[User, ...]:
        """All users, by name. Raises RegistryError; here and below."""
        found = []
        for user in self._ask("GET", "2.0/mlflow/users/list")["users"]:
            role = strongest({role["name"] for role in user.get("roles", [])})
            found.append(User(name=user["username"], role=role, administrator=bool(user["is_admin"])))
        return tuple(sorted(found, key=lambda user: user.name))

    def add(self, name: str, role: Role, *, renew: bool = False) -> str | None:
        """Give a user a role, making the user first if there is none.

        Returns the password of a new user, or of an old one with `renew`; None where the old one stays.
        """
        if not _NAME.fullmatch(name):
            raise RegistryError(f"{name!r} is not a usable name; take letters, digits, '.', '_', '@' and '-'")
        there = {user.name: user for user in self.list()}
        if name in there and there[name].administrator:
            raise RegistryError(f"{name} is an administrator and may do everything; take another name")
        ids = self._roles()
        password = None
        if name not in there or renew:
            password = secrets.token_urlsafe(18)
            how, what = ("POST", "create") if name not in there else ("PATCH", "update-password")
            self._ask(how, f"2.0/mlflow/users/{what}", {"username": name, "password": password})
        held = {found["name"] for found in self._ask("GET", "3.0/mlflow/users/roles/list", {"username": name})["roles"]}
        for other in ROLES:
            wanted, has = other == role, role_name(other) in held
            if wanted != has:
                how, what = ("POST", "assign") if wanted else ("DELETE", "unassign")
                self._ask(how, f"3.0/mlflow/roles/{what}", {"username": name, "role_id": ids[other]})
        return password

    def remove(self, name: str) -> None:
        """Remove a user; what the user made stays."""
        if name not in {user.name for user in self.list()}:
            raise RegistryError(f"there is no user {name} at {self.address}")
        self._ask("DELETE", "2.0/mlflow/users/delete", {"username": name})

    def _roles(self) -> Mapping[Role, int]:
        """Ids of our roles in MLflow, made where missing, with their grants and no others."""
        there = {
            role["name"]: role for role in self._ask("GET", "3.0/mlflow/roles/list", {"workspace": WORKSPACE})["roles"]
        }
        ids: dict[Role, int] = {}
        for role in ROLES:
            name = role_name(role)
            found = (
                there.get(name)
                or self._ask("POST", "3.0/mlflow/roles/create", {"workspace": WORKSPACE, "name": name})["role"]
            )
            ids[role] = int(found["id"])
            self._set_grants(role, ids[role])
        return ids

    def _set_grants(self, role: Role, role_id: int) -> None:
        wanted = set(GRANTS[role])
        for held in self._ask("GET", "3.0/mlflow/roles/permissions/list", {"role_id": str(role_id)})[
            "role_permissions"
        ]:
            grant = (held["resource_type"], held["permission"])
            if grant in wanted and held["resource_pattern"] == "*":
                wanted.remove(grant)
            else:
                self._ask("DELETE", "3.0/mlflow/roles/permissions/remove", {"role_permission_id": held["id"]})
        for kind, permission in sorted(wanted):
            body = {"role_id": role_id, "resource_type": kind, "resource_pattern": "*", "permission": permission}
            self._ask("POST", "3.0/mlflow/roles/permissions/add", body)

    def _ask(self, method: str, path: str, values: Mapping[str, Any] | None = None) -> Any:
        place, mlflow = without_credentials(self.address), import_mlflow()
        options: dict[str, Any] = {"params" if method == "GET" else "json": values}
        try:
            if all(self._signed_in):
                from mlflow.utils.rest_utils import MlflowHostCreds

                options["credentials"] = MlflowHostCreds(self.address, *self._signed_in)
                options["auth"] = self._signed_in  # else a .netrc would replace the password
            answer = ask(self.address, method, f"/api/{path}", _ANSWER_SECONDS, **options)
        except mlflow.MlflowException as error:
            remedy = "start it: splatsweep serve"
            raise RegistryError(no_answer("MLflow server", place, error, MLFLOW_CERTIFICATES, remedy)) from None
        if answer.status_code in (401, 403):
            raise RegistryError(
                f"{place} refuses ({answer.status_code}): users are the administrator's; set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to the administrator's"
            )
        if answer.status_code == 404:
            raise RegistryError(f"the MLflow server at {place} has no users; start one with `splatsweep serve`")
        if not answer.ok:
            raise RegistryError(f"{path}: MLflow answers{through(place)} {answer.status_code}: {_message(answer)}")
        return answer.json() if answer.content else {}


def open_users(home: Path, environ: Mapping[str, str] = os.environ) -> Users:
    """The users of MLFLOW_TRACKING_URI, or of the service running under a home folder.

    Raises:
        RegistryError: neither is there, or no server can be at that address.
    """
    address = checked_address(environ.get("MLFLOW_TRACKING_URI")) or ""
    if address.startswith("http"):
        return Users(address)
    folder = service_folder(home)
    running = is_running(folder) if folder.exists() else None
    if running is None:
        raise RegistryError(
            f"no service runs in {folder}; start it with `splatsweep serve`, or set MLFLOW_TRACKING_URI"
        )
    return Users(f"http://{LOOPBACK}:{running.port}", ADMINISTRATOR, service_secrets(folder).administrator)


def may_judge(address: str) -> bool:
    """Whether the user of MLflow's variables may evaluate and promote: everywhere but at a server that says otherwise.

    A trainer's study registers its encoders and leaves the rest to the registry's judge (`splatsweep watch`).
    """
    if not address.startswith("http"):
        return True
    try:
        found = Users(address)._ask("GET", "3.0/mlflow/users/current/permissions")
    except RegistryError:
        return True  # a server without users, or another way in: what follows says what is wrong
    names = {str(row["role_name"]) for row in found.get("permissions", [])}
    return bool(found.get("is_admin")) or strongest(names) in (None, "owner")


def _message(answer: requests.Response) -> str:
    try:
        return str(answer.json()["message"]).splitlines()[0][:300]
    except (ValueError, KeyError, IndexError):
        return answer.text[:200]
