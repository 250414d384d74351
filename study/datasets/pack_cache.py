"""Packs from elsewhere, kept on this node's disk once: `<cache>/packs/<pack digest>/`.

Whole files only carry their final names, manifest.json comes last, one process at a time brings them (a file lock,
which the system releases when its holder dies). Remove a pack's folder to have its space back.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

from ssl_core.data.dataset import Dataset, DatasetManifest, open_dataset, parse_manifest
from ssl_core.errors import PackError
from ssl_core.files.whole import atomic_write, locked, storage_errors
from study.datasets.object_store import Store, StoreUri
from study.datasets.pack_transfer import REMEDY, check_blocks, check_space, fetch_file
from study.datasets.transfer_bar import transfer_bar

OPTIONAL_FILES = frozenset({"sh_rest.npy"})
"""Files that are left behind until somebody needs them."""

MANIFEST_BYTES = 512 * 2**20
"""A longer manifest is refused; 206,000 objects take about 70 MB."""


def cache_folder() -> Path:
    """Where this node keeps packs from elsewhere: SPLATSWEEP_CACHE, or ~/.cache/splatsweep."""
    return Path(os.environ.get("SPLATSWEEP_CACHE") or Path.home() / ".cache" / "splatsweep").absolute()


def cached_pack(uri: StoreUri, need: frozenset[str] | None, digest: str | None, say: Callable[[str], None]) -> Dataset:
    """The pack behind a URI, mapped from the cache; what is not there is fetched first.

    Args:
        uri: where the pack lies.
        need: names of files needed; optional ones not among them stay behind. None: all files.
        digest: what the pack must be, when that is known; a pack in the cache then needs no network at all.
        say: told what takes time.

    Raises:
        PackError: there is no pack, it is another one, or its bytes are not what its manifest says.
        StorageError: the store does not answer or refuses, or the disk is full.
    """
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
    store: Store,
    manifest: DatasetManifest,
    content: bytes,
    folder: Path,
    need: frozenset[str] | None,
    say: Callable[[str], None],
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
