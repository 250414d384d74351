"""Artifacts of a registry, in a folder or a bucket: listed and read for a backup, put back by a restore."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ssl_core.errors import MissingDependencyError, StorageError


def list_files(place: str) -> Iterator[tuple[str, int]]:
    """Paths (with /) and sizes in bytes of all artifacts, links left out. Raises StorageError."""
    if place.startswith("s3://"):
        client, bucket, prefix = _bucket(place)
        with _told(place):
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                for item in page.get("Contents", []):
                    yield str(item["Key"])[len(prefix) :], int(item["Size"])
        return
    root = Path(place)
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            file = Path(folder) / name
            if file.is_file() and not file.is_symlink():
                yield file.relative_to(root).as_posix(), file.stat().st_size


@contextmanager
def read_file(place: str, path: str) -> Iterator[IO[bytes]]:
    """One artifact, to be read from its beginning."""
    if place.startswith("s3://"):
        client, bucket, prefix = _bucket(place)
        with _told(place):
            yield client.get_object(Bucket=bucket, Key=prefix + path)["Body"]
        return
    with (Path(place) / path).open("rb") as stream:
        yield stream


@contextmanager
def in_place(staged: Path, place: str) -> Iterator[None]:
    """Put the staged folder's files where artifacts lie; if the block fails, a folder gets its old ones back.

    In a bucket they replace those of the same name and leave the others: nothing asks for files that no run names.
    """
    if place.startswith("s3://"):
        client, bucket, prefix = _bucket(place)
        with _told(place):
            for path, _ in list_files(str(staged)):
                client.upload_file(str(staged / path), bucket, prefix + path)
        yield
        return
    here = Path(place)
    old = here.with_name(f".{here.name}.replaced")
    shutil.rmtree(old, ignore_errors=True)
    if here.exists():
        here.rename(old)
    staged.rename(here)
    try:
        yield
    except BaseException:
        shutil.rmtree(here)
        if old.exists():
            old.rename(here)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _bucket(place: str) -> tuple[Any, str, str]:
    try:
        import boto3  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise MissingDependencyError("artifacts at s3:// need the library boto3; install splatsweep[server]") from None
    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    endpoint = os.environ.get("MLFLOW_S3_ENDPOINT_URL") or endpoint
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    client = boto3.client("s3", endpoint_url=endpoint, region_name=region)
    return client, bucket, f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""


@contextmanager
def _told(place: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise StorageError(f"{place}: {error}; check AWS_ENDPOINT_URL and the keys") from None
