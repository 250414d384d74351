"""The service's own passwords: made once, kept in a file that only its user can read, never printed."""

import os
import secrets
import shlex
from pathlib import Path

from ssl_core.config import Config
from ssl_core.errors import ConfigError, RegistryError
from ssl_core.files.whole import atomic_write

ADMINISTRATOR = "admin"


class ServiceSecrets(Config, extra="ignore"):
    """What the service's programs ask of each other and of their administrator.

    Files of earlier revisions hold a key for webhooks, too, which nothing uses.
    """

    administrator: str
    """password of the user `admin`"""
    database: str
    """password of Postgres; hexadecimal, as it becomes part of an address"""
    signing: str
    """signs the sessions of MLflow's pages"""


def service_secrets(folder: Path) -> ServiceSecrets:
    """Those of a service's folder, made at the first call. Raises RegistryError for a damaged or readable file."""
    file = folder / "secrets.json"
    if not file.exists():
        password, database, signing = secrets.token_urlsafe(24), secrets.token_hex(24), secrets.token_hex(24)
        made = ServiceSecrets(administrator=password, database=database, signing=signing)
        write_private(file, made.to_json())
    if file.stat().st_mode & 0o077:
        raise RegistryError(f"{file} can be read by others; run: chmod 600 {shlex.quote(str(file))}")
    try:
        return ServiceSecrets.from_json(file.read_text())
    except (ConfigError, ValueError):
        raise RegistryError(f"{file} is damaged; restore it, or move the folder away and restore a backup") from None


def write_private(file: Path, text: str) -> None:
    """Write a file that only the user can read, at once: nobody sees half of it, and nobody else sees any."""
    with atomic_write(file) as stream:
        os.fchmod(stream.fileno(), 0o600)
        stream.write(text.encode())


def write_access(folder: Path, address: str, user: str, password: str) -> Path:
    """The file `users/USER.env` with what a client of MLflow needs; returns it."""
    (folder / "users").mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / "users" / f"{user}.env"
    lines = {
        "MLFLOW_TRACKING_URI": address,
        "MLFLOW_TRACKING_USERNAME": user,
        "MLFLOW_TRACKING_PASSWORD": password,
    }
    write_private(file, "".join(f"{name}={value}\n" for name, value in lines.items()))
    return file
