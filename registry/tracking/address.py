"""Addresses of MLflow as people write them: what cannot be meant is refused in one line that proposes what can.

MLflow takes an address without a scheme for a folder, makes it, and fills it.
"""

import re
from importlib.metadata import entry_points
from urllib.parse import urlsplit

from ssl_core.errors import MissingDependencyError, RegistryError

DATABASES = {"postgresql": "psycopg2", "mysql": "pymysql", "mssql": "pymssql", "sqlite": "pysqlite"}
"""What MLflow stores runs in, and a driver for each, taken where the address names none and SQLAlchemy's is missing."""
ANSWER_SECONDS = 10
_OTHERS = ("databricks", "databricks-uc", "uc")
_HOST = re.compile(r"(?:[^@/]+@)?(?:[\w.-]+|\[[0-9a-fA-F:]+\])(?::\d+)?(?:/.*)?")
_EMBEDDED = "or unset MLFLOW_TRACKING_URI to use the embedded store"


def without_credentials(address: str) -> str:
    """The address without user and password, for files and messages."""
    scheme, separator, rest = address.partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}{separator}{place.rpartition('@')[2]}{slash}{path}"


def checked_address(address: str | None) -> str | None:
    """The address, if MLflow can be there; nothing is asked of it. None and empty: the embedded store.

    A database's address gets the driver that is installed.

    Raises:
        RegistryError: no scheme, a folder, an unknown scheme, or no usable address after it.
        MissingDependencyError: a database whose driver is not installed.
    """
    if not address:
        return None
    scheme, separator, _ = address.partition("://")
    plain = without_credentials(address if separator else f"://{address}").removeprefix("://")
    shown = f"MLFLOW_TRACKING_URI={plain}"
    if address in _OTHERS or (separator and scheme in (*_OTHERS, *_plugins())):
        return address
    if separator and scheme in ("http", "https"):
        _check_site(address, shown)
    elif address.partition(":")[0].partition("+")[0] in DATABASES:
        return _with_driver(address)
    elif not separator and (guess := _site(address)):
        raise RegistryError(
            f"{shown} has no scheme, and MLflow would take it for a folder; write {without_credentials(guess)}"
        )
    elif scheme == "postgres":
        raise RegistryError(f"{shown}: the scheme is called postgresql; write postgresql{separator}…")
    elif not separator or scheme == "file":
        _check_folder(shown)
    else:
        raise RegistryError(
            f"{shown}: MLflow knows no '{scheme[:40]}' addresses; give http://…, https://…, "
            f"{'://…, '.join(DATABASES)}://…, databricks, {_EMBEDDED}"
        )
    return address


def is_database(address: str) -> bool:
    """Whether runs are written into a database from here, without a server."""
    scheme, separator, _ = address.partition("://")
    return bool(separator) and scheme.partition("+")[0] in DATABASES


def check_database(address: str) -> None:
    """Ask a database for a connection: MLflow's own attempts take minutes to say that nobody is there.

    Raises:
        RegistryError: it does not answer or refuses.
    """
    if not is_database(address) or address.startswith("sqlite"):
        return
    from sqlalchemy import create_engine, make_url
    from sqlalchemy.exc import SQLAlchemyError

    url = make_url(address)
    limit = {"mssql": "login_timeout"}.get(url.get_backend_name(), "connect_timeout")
    engine = create_engine(url, connect_args={limit: ANSWER_SECONDS})
    try:
        engine.connect().close()
    except SQLAlchemyError as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())[:300]
        raise RegistryError(
            f"the database at {without_credentials(address)} cannot be opened ({reason}); start it, correct the "
            f"address, {_EMBEDDED}"
        ) from None
    finally:
        engine.dispose()


def _check_site(address: str, shown: str) -> None:
    try:
        parts = urlsplit(address)
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise RegistryError(f"{shown} names no host and port; write http://host:5000")
    if parts.fragment or parts.query:
        plain = without_credentials(address).partition("#")[0].partition("?")[0]
        raise RegistryError(f"{shown} is the address of a page; write {plain.rstrip('/')}")


def _site(address: str) -> str:
    """What is meant by an address without a scheme: an address with http, or nothing."""
    host = re.sub(r"^https?:/*", "", address)
    place = host.partition("/")[0]
    named = ":" in place or "." in place.strip(".") or place == "localhost" or host != address
    path = address.startswith((".", "/", "~")) or (host == address and place.endswith((".db", ".sqlite")))
    return f"http://{host}" if named and not path and _HOST.fullmatch(host) and not host.startswith("file:") else ""


def _check_folder(shown: str) -> None:
    from mlflow.environment_variables import MLFLOW_ALLOW_FILE_STORE

    if not MLFLOW_ALLOW_FILE_STORE.get():
        raise RegistryError(
            f"{shown} is a folder: MLflow's file store, which MLflow does not open any more; give a database "
            f"(sqlite:////a/folder/mlflow.db) or the address of a server (http://…), {_EMBEDDED}"
        )


def _with_driver(address: str) -> str:
    scheme, separator, rest = address.partition("://")
    try:
        _check_driver(address)
        return address
    except MissingDependencyError as missing:
        if "+" in scheme:
            raise
        other = f"{scheme}+{DATABASES[scheme]}{separator}{rest}"
        try:
            _check_driver(other)
            return other
        except MissingDependencyError:
            raise missing from None


def _check_driver(address: str) -> None:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    shown = f"MLFLOW_TRACKING_URI={without_credentials(address)}"
    try:
        url = make_url(address)
        dialect = url.get_dialect()
        dialect.import_dbapi()
        dialect().create_connect_args(url)
    except ImportError as error:
        driver = {"psycopg2": "psycopg2-binary"}.get(found := DATABASES[url.get_backend_name()], found)
        raise MissingDependencyError(
            f"{shown} needs the library '{error.name}', which is not installed; `pip install {driver}`"
        ) from None
    except (SQLAlchemyError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RegistryError(f"{shown} is no address of a database: {reason}") from None


def _plugins() -> set[str]:
    """Schemes that installed libraries add to MLflow."""
    return {found.name for found in entry_points(group="mlflow.tracking_store")}
