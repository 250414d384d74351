"""Packs wherever they lie: a folder is mapped in place, a URI is brought to this node once and then mapped.

open_data("/shared/packs/mine")      mapped where it is, also on a shared folder
open_data("s3://bucket/packs/mine")  fetched to the node's cache by the first process that asks, then mapped by all
push_pack(pack, "s3://...")          the same files under the same names, manifest.json last

The cache is `<cache>/packs/<pack digest>/`. Whole files only carry their final names, manifest.json comes last, one
process at a time brings them (a file lock, which the system releases when its holder dies). Remove a pack's folder to
have its space back.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ssl_core.data.dataset import Dataset, DatasetManifest, open_dataset, parse_manifest
from ssl_core.data.manifest import FileFacts
from ssl_core.data.pack_arrays import COLUMNS, GEOMETRY_WIDTH
from ssl_core.errors import ConfigError, PackError, StorageError
from ssl_core.files.user_folders import cache_folder
from ssl_core.files.whole import atomic_write, locked, storage_errors
from study.datasets.object_store import Store, StoreUri, is_uri, parse_uri
from study.datasets.pack_transfer import REMEDY, check_blocks, check_space, fetch_file, send_file, transfer_bar
from study.reports.console import errors

Say = Callable[[str], None]

OPTIONAL_FILES = frozenset({"sh_rest.npy"})
"""Files that are left behind until somebody needs them."""

MANIFEST_BYTES = 512 * 2**20
"""A longer manifest is refused; 206,000 objects take about 70 MB."""

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
    return _cached(parse_uri(str(place)), need, digest, say)


def needed_files(asked: str) -> frozenset[str]:
    """Optional files that a config or space needs, given as JSON: those whose feature groups it names."""
    groups = [name for name, columns in COLUMNS.items() if columns.stop > GEOMETRY_WIDTH]
    return OPTIONAL_FILES if any(f'"{group}"' in asked for group in groups) else frozenset()


def place_name(place: str | Path) -> str:
    """Last part of a path or URI."""
    return parse_uri(str(place)).name if is_uri(place) else Path(place).absolute().name


def _cached(uri: StoreUri, need: frozenset[str] | None, digest: str | None, say: Say) -> Dataset:
    """The pack behind a URI, mapped from the cache; what is not there is fetched first. As `open_data`."""
    if digest is not None and (known := _held(_folder(digest), need)) is not None:
        return known
    store = Store(uri)
    content, manifest = _fetch_manifest(store)
    if digest is not None and manifest.pack_digest != digest:
        raise PackError(
            f"{uri} holds pack {manifest.pack_digest}, {digest} was expected: it changed; restore it, or start anew"
        )
    folder = _folder(manifest.pack_digest)
    with locked(folder, say, REMEDY):
        if (known := _held(folder, need)) is not None:
            return known
        _fetch(store, manifest, content, folder, need, say)
    return _open(folder)


def _folder(digest: str) -> Path:
    return cache_folder() / "packs" / digest


def _needed(manifest: DatasetManifest, need: frozenset[str] | None) -> list[str]:
    return [name for name in sorted(manifest.files) if need is None or name in need or name not in OPTIONAL_FILES]


def _held(folder: Path, need: frozenset[str] | None) -> Dataset | None:
    """The pack in the cache, if all needed files are there."""
    if not (folder / "manifest.json").is_file():
        return None
    try:
        manifest = parse_manifest((folder / "manifest.json").read_bytes(), folder / "manifest.json")
        whole = all(_bytes(folder / name) == manifest.files[name].bytes for name in _needed(manifest, need))
        return _open(folder) if whole else None
    except PackError:
        return None  # damaged: fetched again


def _open(folder: Path) -> Dataset:
    return open_dataset(folder, without=frozenset(name for name in OPTIONAL_FILES if not (folder / name).is_file()))


def _bytes(file: Path) -> int | None:
    return file.stat().st_size if file.is_file() else None


def _fetch_manifest(store: Store) -> tuple[bytes, DatasetManifest]:
    """The manifest as it lies there, and parsed and checked: names, block digests, its own digest."""
    content = store.read("manifest.json", MANIFEST_BYTES)
    if content is None:
        store.check_bucket()
        raise PackError(f"{store}: is not a pack (no manifest.json), or its push did not end; push it again")
    manifest = parse_manifest(content, f"{store}/manifest.json")
    for name, facts in manifest.files.items():
        check_blocks(name, facts, f"{store}/manifest.json")
    if manifest.content_digest() != manifest.pack_digest:
        raise PackError(f"{store}/manifest.json: its digest is not that of its content; push the pack again")
    return content, manifest


def _fetch(
    store: Store, manifest: DatasetManifest, content: bytes, folder: Path, need: frozenset[str] | None, say: Say
) -> None:
    with storage_errors(folder, REMEDY):
        folder.mkdir(exist_ok=True)
    wanted = [name for name in _needed(manifest, need) if _bytes(folder / name) != manifest.files[name].bytes]
    total = sum(manifest.files[name].bytes for name in wanted)
    partial = sum(_blocks_on_disk(folder / f"{name}.partial") for name in wanted)
    check_space(folder, max(0, total - partial), store)
    say(f"fetching {store} ({total / 1e6:,.1f} MB) to {folder}")
    began = time.perf_counter()
    with transfer_bar(f"fetching {store.uri.name}", total) as advance:
        for name in wanted:
            fetch_file(store, name, manifest.files[name], folder, advance)
    with atomic_write(folder / "manifest.json") as stream:
        stream.write(content)
    seconds = max(time.perf_counter() - began, 1e-6)
    say(f"fetched {total / 1e6:,.1f} MB in {seconds:.1f} s ({total / 1e6 / seconds:,.0f} MB/s)")


def _blocks_on_disk(file: Path) -> int:
    return file.stat().st_blocks * 512 if file.is_file() else 0


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
