"""Packs wherever they lie: a folder is mapped in place, a URI is brought to this node once and then mapped.

open_pack("/shared/packs/mine")      mapped where it is, also on a shared folder
open_pack("s3://bucket/packs/mine")  fetched to the node's cache by the first process that asks, then mapped by all
push_pack(pack, "s3://...")          the same files under the same names, manifest.json last
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ssl_core.data.dataset import Dataset, open_dataset, parse_manifest
from ssl_core.data.manifest import FileFacts
from ssl_core.data.object_pack import GEOMETRY_WIDTH, Pack
from ssl_core.errors import ConfigError, PackError, StorageError
from ssl_core.files.whole import storage_errors
from study.datasets.object_store import Store, is_uri, parse_uri
from study.datasets.pack_cache import MANIFEST_BYTES, OPTIONAL_FILES, cached_pack
from study.datasets.pack_transfer import REMEDY, check_blocks, send_file
from study.datasets.transfer_bar import transfer_bar
from study.reports.console import errors

Say = Callable[[str], None]

_RECORD = ".facts.json"
"""Beside each pushed file lies what was sent, so that a push that died does not send it again."""


def _say(text: str) -> None:
    errors.print(text, soft_wrap=True, markup=False)


def open_data(
    place: str | Path, need: frozenset[str] | None = None, digest: str | None = None, say: Say = _say
) -> Dataset:
    """The pack of any kind at a path or URI, mapped read-only.

    Args:
        place: folder, or URI of one (s3://, gs://, az://, file://).
        need: names of the files needed from a URI: an optional one (sh_rest.npy) that is not named is not fetched,
            and the pack then lacks its feature group. None: everything.
        digest: the pack expected at a URI. If this node's cache has it, the network is not asked.
        say: told what takes time; by default a line on standard error.

    Raises:
        ConfigError: the URI is malformed or holds credentials.
        PackError: there is no pack, it is not the one expected, or its bytes do not match its manifest.
        StorageError: the store refuses or does not answer within seconds, or the disk is full.
        MissingDependencyError: the store's driver is not installed.
    """
    if not is_uri(place):
        return open_dataset(place)
    return cached_pack(parse_uri(str(place)), need, digest, say)


def open_pack(
    place: str | Path, need: frozenset[str] | None = None, digest: str | None = None, say: Say = _say
) -> Pack:
    """`open_data` for a pack of objects. Raises PackError for another kind, too."""
    found = open_data(place, need, digest, say)
    if not isinstance(found, Pack):
        raise PackError(f"{place}: is the pack of a scene; a pack of objects is needed here")
    return found


def needed_files(asked: str) -> frozenset[str]:
    """Optional files that a config or space needs, given as JSON: those whose feature groups it names."""
    from ssl_core.data.point_columns import COLUMNS  # brings torch, which push and fetch can do without

    groups = [name for name, columns in COLUMNS.items() if columns.stop > GEOMETRY_WIDTH]
    return OPTIONAL_FILES if any(f'"{group}"' in asked for group in groups) else frozenset()


def place_name(place: str | Path) -> str:
    """Last part of a path or URI."""
    return parse_uri(str(place)).name if is_uri(place) else Path(place).absolute().name


@dataclass(frozen=True)
class Pushed:
    """What `push_pack` did: names of files, bytes sent, seconds."""

    sent: tuple[str, ...]
    skipped: tuple[str, ...]
    bytes: int
    seconds: float


def push_pack(pack: Dataset, uri: str, *, force: bool = False) -> Pushed:
    """Copy a pack to a URI. Files of an earlier push that are whole are not sent again.

    Args:
        pack: on this machine; every block is checked as it leaves.
        uri: folder to write; the pack's files lie directly in it.
        force: replace another pack that is there, and send files that seem to be there.

    Raises:
        ConfigError: the URI is malformed. PackError: another pack is there, or this one is damaged.
        StorageError: the store refuses or does not answer, or a file is larger than it takes.
    """
    if not is_uri(uri):
        raise ConfigError(f"{uri}: is a path; push takes an address such as s3://bucket/packs/name (or file:///folder)")
    store, manifest = Store(parse_uri(uri)), pack.manifest
    for name, facts in manifest.files.items():
        check_blocks(name, facts, pack.path / "manifest.json")
    _check_target(store, pack.digest, force)
    whole = () if force else sorted(manifest.files.items())
    skipped = tuple(name for name, facts in whole if _is_there(store, name, facts))
    sent = tuple(name for name in sorted(manifest.files) if name not in skipped)
    total = sum(manifest.files[name].bytes for name in sent)
    began = time.perf_counter()
    with transfer_bar(f"pushing to {store.uri.name}", total) as advance:
        for name in sent:
            facts = manifest.files[name]
            store.remove(name + _RECORD)
            send_file(store, name, facts, pack.path / name, advance)
            _write(store, name + _RECORD, facts.to_json().encode())
    with storage_errors(pack.path, REMEDY, "read"):
        content = (pack.path / "manifest.json").read_bytes()
    if store.read("manifest.json", MANIFEST_BYTES) != content:
        _write(store, "manifest.json", content)
    return Pushed(sent, skipped, total, time.perf_counter() - began)


def _check_target(store: Store, digest: str, force: bool) -> None:
    """Another pack is in the way unless `force`; it then stops being one before its files are replaced."""
    content = store.read("manifest.json", MANIFEST_BYTES)
    if content is None:
        store.check_bucket()
        return
    try:
        there = parse_manifest(content, f"{store}/manifest.json").pack_digest
    except PackError:
        there = "a damaged one"
    if there == digest:
        return
    if not force:
        raise PackError(f"{store}: holds another pack ({there}, this one is {digest}); push elsewhere, or use --force")
    store.remove("manifest.json")


def _is_there(store: Store, name: str, facts: FileFacts) -> bool:
    if store.size(name) != facts.bytes:
        return False
    try:
        return store.read(name + _RECORD, MANIFEST_BYTES) == facts.to_json().encode()
    except StorageError:
        return False


def _write(store: Store, name: str, content: bytes) -> None:
    with store.writing(name) as out:
        out.write(content)
