"""A folder on an object store or a shared disk, named by a URI: sizes, block reads, streamed writes, plain errors.

`s3://bucket/key` and `file:///folder` go through pyarrow; `gs://` and `az://` through fsspec where its driver is
installed. Endpoint, region and credentials come from the environment (AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL,
AWS_REGION, AWS_ACCESS_KEY_ID, AWS_CA_BUNDLE, ...) and never from the URI, so that a URI may be logged and stored.
pyarrow looks at none of HTTP_PROXY, HTTPS_PROXY, NO_PROXY and AWS_CA_BUNDLE: it is told.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, assert_never
from urllib.parse import unquote, urlsplit

from registry.tracking.network import proxy_of, proxy_remedy, through
from ssl_core.errors import ConfigError, MissingDependencyError, StorageError

Scheme = Literal["s3", "file", "gs", "az"]
SCHEMES: tuple[Scheme, ...] = ("s3", "file", "gs", "az")

CONNECT_SECONDS = 5.0
STALLED_SECONDS = 10.0
"""A transfer that moves less than a byte a second for this long is given up; three attempts in all."""

S3_PART_BYTES = 10 * 2**20
"""What pyarrow sends as one part. S3 takes 10,000 parts, so this also bounds a file (see `largest_file`)."""


@dataclass(frozen=True)
class StoreUri:
    """A checked URI of a folder: `root` is bucket and key, or an absolute path."""

    scheme: Scheme
    root: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.root}"

    @property
    def bucket(self) -> str:
        """The bucket (or container)."""
        return self.root.split("/", 1)[0]

    @property
    def name(self) -> str:
        """Last part, for naming things after it."""
        return self.root.rsplit("/", 1)[-1]


def is_uri(place: object) -> bool:
    """Whether a place is meant as a URI rather than as a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", str(place)) is not None


def parse_uri(text: str) -> StoreUri:
    """Raises ConfigError, saying what is wrong with the URI; credentials in it are not repeated."""
    scheme, host = text.partition("://")[0].lower(), text.partition("://")[2].split("/", 1)[0]
    if "@" in host:
        raise ConfigError(f"a {scheme}:// address holds credentials; take them out and set them in the environment")
    known = next((name for name in SCHEMES if name == scheme), None)
    if known is None:
        raise ConfigError(f"{text}: unknown kind of address '{scheme}'; use {', '.join(f'{s}://' for s in SCHEMES)}")
    if not text.isprintable() or any(sign in text for sign in "\\?#"):
        raise ConfigError(
            f"{text!r}: no '\\', '?', '#' or control characters belong here; settings are environment variables"
        )
    parts = urlsplit(text)
    path = unquote(parts.path) if known == "file" else parts.path
    if known == "file" and parts.netloc not in ("", "localhost"):
        raise ConfigError(f"{text}: names the host '{parts.netloc}'; write file:///folder for a folder of this machine")
    pieces = [piece for piece in path.split("/") if piece]
    if ".." in pieces or "." in pieces or not path.isprintable():
        raise ConfigError(f"{text}: '.' and '..' are not allowed in an address; write it out")
    if not pieces or (known != "file" and not parts.netloc):
        raise ConfigError(f"{text}: names no folder; write {known}://{'' if known == 'file' else 'bucket'}/folder")
    root = "/" + "/".join(pieces) if known == "file" else "/".join([parts.netloc, *pieces])
    return StoreUri(known, root)


class Store:
    """The folder behind a URI. Raises MissingDependencyError when its driver is not installed."""

    def __init__(self, uri: StoreUri) -> None:
        self.uri = uri
        with self._explained("opened"):
            self._files = _filesystem(uri)

    def __str__(self) -> str:
        return str(self.uri)

    @property
    def readers(self) -> int:
        """Blocks worth reading at a time."""
        return 1 if self.uri.scheme == "file" else 4

    @property
    def largest_file(self) -> int | None:
        """Bytes of the largest file that can be written, if there is a limit."""
        return 10_000 * S3_PART_BYTES if self.uri.scheme == "s3" else None

    def size(self, name: str) -> int | None:
        """Bytes of a file, None when there is none. Raises StorageError."""
        with self._explained(f"asked for {name}"):
            found = self._files.get_file_info(self._path(name))
            return int(found.size) if found.is_file else None

    def read(self, name: str, limit: int) -> bytes | None:
        """A small file whole, None when there is none. Raises StorageError, also when it is larger than `limit`."""
        size = self.size(name)
        if size is None:
            return None
        if size > limit:
            raise StorageError(f"{self.uri}/{name}: is {size:,} bytes long, more than the {limit:,} expected at most")
        return self.read_block(name, 0, size)

    def read_block(self, name: str, offset: int, length: int) -> bytes:
        """Bytes from `offset`; fewer where the file ends. Safe in several threads. Raises StorageError."""
        with self._explained(f"read ({name})"), self._files.open_input_file(self._path(name)) as stream:
            content: bytes = stream.read_at(length, offset)
            return content

    @contextmanager
    def writing(self, name: str) -> Iterator[Any]:
        """A stream into a new file, whole only when the block ends well. Raises StorageError."""
        with self._explained(f"written ({name})"):
            if self.uri.scheme != "file":
                with self._files.open_output_stream(self._path(name)) as stream:
                    yield stream
                return
            self._files.create_dir(self.uri.root, recursive=True)
            beside = self._path(f".{name}.partial-{os.getpid()}")
            with self._files.open_output_stream(beside) as stream:
                yield stream
            self._files.move(beside, self._path(name))

    def remove(self, name: str) -> None:
        """Remove a file if it is there. Raises StorageError."""
        if self.size(name) is not None:
            with self._explained(f"written ({name})"):
                self._files.delete_file(self._path(name))

    def check_bucket(self) -> None:
        """Raises StorageError when the bucket does not exist: a missing file alone does not say so."""
        if self.uri.scheme == "s3":
            with self._explained("asked for its bucket"):
                if not self._files.get_file_info(self.uri.bucket).type:
                    raise StorageError(self._no_bucket())

    def _path(self, name: str) -> str:
        return f"{self.uri.root}/{name}"

    def _no_bucket(self) -> str:
        return f"{self.uri}: no bucket '{self.uri.bucket}' at {self._where()}; create it, or check name and endpoint"

    def _where(self) -> str:
        if self.uri.scheme != "s3":
            return f"{self.uri.scheme}://"
        return f"{s3_endpoint() or 'AWS'}{through(_s3_address())}"

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        """What the libraries raise, as one StorageError with the remedy."""
        try:
            yield
        except (OSError, ValueError, NotImplementedError) as error:
            raise StorageError(self._reason(error, doing)) from None

    def _reason(self, error: Exception, doing: str) -> str:
        text = " ".join(str(error).split())
        if "NO_SUCH_BUCKET" in text or "bucket does not exist" in text.lower():
            return self._no_bucket()
        if re.search(r"ACCESS_DENIED|ACCESS_KEY|SIGNATURE|HTTP status 40[13]|TOKEN|CREDENTIAL|Forbidden", text):
            return (
                f"{self.uri}: access denied at {self._where()} ({text[:160]}); "
                "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the rights of that key"
            )
        other = proxy_remedy(_s3_address()) if self.uri.scheme == "s3" else ""
        if re.search(r"curlCode: (60|77)\b", text):
            return (
                f"{self.uri}: no secure connection to {self._where()} ({text[-160:]}); set AWS_CA_BUNDLE to a file "
                "(.pem) with the certificate of the authority that signed the store's"
            )
        if re.search(r"NETWORK_CONNECTION|curlCode|TIMEOUT|SLOW_DOWN|SERVICE_UNAVAILABLE", text) or (
            other and re.search(r"HTTP status (407|50[234])", text)
        ):
            return (
                f"{self.uri}: {self._where()} does not answer ({text[-160:]}); "
                f"{other or 'check AWS_ENDPOINT_URL and the network'}, then run the same command again"
            )
        return f"{self.uri}: cannot be {doing}: {text[:240]}"


def s3_endpoint() -> str | None:
    """The S3 service to talk to, None for AWS: pyarrow itself does not look at these variables."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def _s3_address() -> str:
    return s3_endpoint() or f"https://s3.{_region() or 'us-east-1'}.amazonaws.com"


def _region() -> str | None:
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or None


def _filesystem(uri: StoreUri) -> Any:
    try:
        from pyarrow import fs
    except ModuleNotFoundError:
        raise MissingDependencyError(
            "packs behind a URI need pyarrow, which is not installed; run `make setup`"
        ) from None
    match uri.scheme:
        case "file":
            return fs.LocalFileSystem()
        case "s3":
            return _s3(fs, uri.bucket)
        case "gs" | "az":
            return _through_fsspec(fs, uri.scheme)
        case _:
            assert_never(uri.scheme)


def _s3(fs: Any, bucket: str) -> Any:
    endpoint, region, proxy = s3_endpoint(), _region(), proxy_of(_s3_address())
    if region is None and endpoint is None and proxy:
        raise StorageError(f"a bucket's region cannot be asked through {proxy.setting}; set AWS_REGION")
    if region is None:
        region = "us-east-1" if endpoint else fs.resolve_s3_region(bucket)
    return fs.S3FileSystem(
        proxy_options=proxy.url if proxy else None,
        tls_ca_file_path=os.environ.get("AWS_CA_BUNDLE") or None,
        endpoint_override=endpoint,
        region=region,
        connect_timeout=CONNECT_SECONDS,
        request_timeout=STALLED_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=3),
    )


def _through_fsspec(fs: Any, scheme: str) -> Any:
    driver = {"gs": "gcsfs", "az": "adlfs"}[scheme]
    try:
        import fsspec

        return fs.PyFileSystem(fs.FSSpecHandler(fsspec.filesystem(scheme)))
    except ImportError:
        raise MissingDependencyError(
            f"{scheme}:// needs fsspec and {driver}; install them (pip install {driver}), or copy the pack to s3:// "
            "or a shared folder"
        ) from None
