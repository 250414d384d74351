"""Artifacts of a registry, in a folder or in a bucket: read for a backup, put back by a restore."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from registry.tracking.connection import import_mlflow
from ssl_core.errors import MissingDependencyError, StorageError


def artifact_files(place: str, scratch: Path) -> Iterator[tuple[str, Path]]:
    """(path with /, local file) of every artifact, links left out. Raises StorageError.

    Args:
        place: a folder, or an address such as s3://bucket/prefix.
        scratch: where a bucket's files lie, each until the next is asked for.
    """
    if "://" not in place:
        for folder, folders, names in os.walk(place):
            folders.sort()
            for file in (Path(folder) / name for name in sorted(names)):
                if file.is_file() and not file.is_symlink():
                    yield file.relative_to(place).as_posix(), file
        return
    with _told(place):
        store, folders = _store(place), [""]
        while folders:
            for item in store.list_artifacts(folders.pop() or None):
                if item.is_dir:
                    folders.append(item.path)
                    continue
                file = Path(store.download_artifacts(item.path, str(scratch)))
                yield item.path, file
                file.unlink()


@contextmanager
def artifacts_replaced(staged: Path, place: str) -> Iterator[None]:
    """Put the staged folder's files where artifacts lie; if the block fails, a folder gets its old ones back.

    In a bucket they replace those of the same name and leave the others: nothing asks for files that no run names.
    """
    if "://" in place:
        with _told(place):
            _store(place).log_artifacts(str(staged))
        yield
        return
    here = Path(place)
    old = here.with_name(f".{here.name}.replaced")
    if old.exists() and not here.exists():  # a restore was killed here
        old.rename(here)
    shutil.rmtree(old, ignore_errors=True)
    if here.exists():
        here.rename(old)
    try:
        shutil.move(staged, here)
        yield
    except BaseException:
        shutil.rmtree(here, ignore_errors=True)
        if old.exists():
            old.rename(here)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _store(place: str) -> Any:
    """MLflow's own access to a bucket, as its server uses it."""
    import_mlflow()
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(place.rstrip("/"))


@contextmanager
def _told(place: str) -> Iterator[None]:
    try:
        from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise MissingDependencyError("artifacts at s3:// need the library boto3; install splatsweep[server]") from None
    from boto3.exceptions import Boto3Error  # type: ignore[import-untyped]
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (BotoCoreError, ClientError, Boto3Error, MlflowException) as error:
        reason = str(error).splitlines()[0][:300]
        raise StorageError(f"{place}: {reason}; check AWS_ENDPOINT_URL and the keys") from None
