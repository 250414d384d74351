"""`manifest.json`: what every kind of pack says about itself. It is written last, so a folder that has one is whole.

Schema 3 has object packs with cameras, masks and part labels, and scene packs. Schema 2 knew objects without these;
it is read.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from pydantic import Field

from ssl_core.config import Config, parse_json, validated
from ssl_core.errors import ConfigError, PackError

SCHEMA_VERSION = 3
READ_VERSIONS = (2, 3)

BLOCK_BYTES = 64 * 2**20
"""Files of a pack are checked, sent and fetched in blocks of this size."""

M = TypeVar("M", bound="Manifest")


class FileFacts(Config):
    """Length of one file of a pack and the sha256 of each of its blocks of BLOCK_BYTES."""

    bytes: int
    blocks: tuple[str, ...]


class Refused(Config):
    """An input that was left out, and why."""

    path: str
    reason: str


class Manifest(Config):
    """What manifests of all kinds hold. A kind adds `kind`, its own facts, and what of them decides the digest."""

    FILES: ClassVar[frozenset[str]]
    """All that a pack of this kind may consist of besides its manifest: other names are not followed."""

    schema_version: int = SCHEMA_VERSION
    pack_digest: str = ""
    files: dict[str, FileFacts]
    refused: tuple[Refused, ...] = ()
    notes: dict[str, int] = Field(
        default={}, description="what the input could not carry -> number of objects or views"
    )

    def identity(self) -> Iterable[Config]:
        """What the digest depends on besides the files."""
        raise NotImplementedError

    def content_digest(self) -> str:
        """sha256 (16 hex digits) over `identity` and the digests of all files: same input and config, same digest."""
        parts = [part.to_json() for part in self.identity()]
        parts += [f"{name} {facts.to_json()}" for name, facts in sorted(self.files.items())]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def sealed(self) -> Self:
        """The manifest with its digest."""
        return self.model_copy(update={"pack_digest": self.content_digest()})


def read_values(path: Path) -> tuple[dict[str, Any], Path]:
    """The manifest of a pack folder as plain values, and its file. Raises PackError naming the remedy."""
    file = path / "manifest.json"
    if not file.is_file():
        hint = "it is half-written; make it again" if path.is_dir() else "make it with `splatsweep pack`"
        raise PackError(f"{path} is not a pack (no manifest.json): {hint}")
    return parse_values(file.read_bytes(), file), file


def parse_values(content: bytes, file: Path | str) -> dict[str, Any]:
    """A manifest of a schema that is read, as plain values; `file` names it. Raises PackError."""
    try:
        values = parse_json(content)
        version = values.get("schema_version")
    except (ValueError, AttributeError) as error:
        raise _damaged(file, error) from None
    if version not in READ_VERSIONS:
        known = " and ".join(map(str, READ_VERSIONS))
        raise PackError(f"{file} has pack schema {ascii(version)[:20]}, this version reads {known}; make it again")
    return dict(values)


def kind_of_values(values: dict[str, Any]) -> str:
    """`object`, `scene`, or whatever else a file says; schema 2 knew objects only."""
    return str(values.get("kind", "object"))


def as_manifest(kind: type[M], values: dict[str, Any], file: Path | str) -> M:
    """Values as a manifest of one kind. Raises PackError when they are damaged, or those of another kind."""
    expected, found = kind.model_fields["kind"].default, kind_of_values(values)
    if found != expected:
        raise PackError(f"{file}: is the pack of {ascii(found)[1:-1][:20]}s; a pack of {expected}s is needed here")
    try:
        manifest = validated(kind, values)
    except (ValueError, ConfigError) as error:
        raise _damaged(file, error) from None
    if strange := sorted(set(manifest.files) - kind.FILES):
        raise PackError(f"{file}: names a file {strange[0][:80]!a} that no pack has; make the pack again")
    return manifest


def check_sizes(path: Path, manifest: Manifest) -> None:
    """Raises PackError when a file is missing or has changed in size."""
    for name, facts in manifest.files.items():
        found = (path / name).stat().st_size if (path / name).is_file() else None
        if found != facts.bytes:
            raise PackError(f"{path / name}: {facts.bytes} bytes expected, {found} found; make the pack again")


def _damaged(file: Path | str, error: Exception) -> PackError:
    reason = " ".join(str(error).split())
    shown = reason if len(reason) < 300 and reason.isprintable() else ascii(reason[:300])
    return PackError(f"{file} is damaged ({shown}); make the pack again")
