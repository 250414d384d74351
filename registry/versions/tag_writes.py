"""Tags and aliases of the registry, set by several programs at once.

MLflow looks whether a tag or alias is there and then inserts or updates its row, so of two programs that set it
for the first time one is refused by the database's unique constraint. Such a write names the whole value: made
again, it finds the other's row and replaces it, as it would have done had it come a moment later.
"""

from collections.abc import Callable

from registry.tracking.connection import Client, import_mlflow

ATTEMPTS = 5
"""A second refusal takes somebody who removes the row in between; five take a broken database."""


def set_version_tag(client: Client, name: str, version: int | str, key: str, value: str) -> None:
    """A tag of a model version; MlflowException as the client raises it, but for races."""
    _write(lambda: client.set_model_version_tag(name, str(version), key, value))


def set_model_tag(client: Client, name: str, key: str, value: str) -> None:
    """A tag of a registered model; MlflowException as the client raises it, but for races."""
    _write(lambda: client.set_registered_model_tag(name, key, value))


def set_alias(client: Client, name: str, alias: str, version: int | str) -> None:
    """Point an alias at a version; MlflowException as the client raises it, but for races."""
    _write(lambda: client.set_registered_model_alias(name, alias, str(version)))


def _write(write: Callable[[], None]) -> None:
    exception = import_mlflow().MlflowException
    for attempt in range(1, ATTEMPTS + 1):
        try:
            write()
            return
        except exception as error:
            if attempt == ATTEMPTS or not _lost_a_race(error):
                raise


def _lost_a_race(error: BaseException) -> bool:
    """Databases say it in their own words: SQLite and PostgreSQL "unique constraint", MySQL "duplicate entry"."""
    text = str(error).lower()
    return "unique constraint" in text or "duplicate entry" in text
