"""Files of a pack over the wire, block by block: every block is checked against the manifest on its way.

A block that is on disk with the right digest is never fetched again, so a killed transfer goes on where it was.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from ssl_core.data import manifest as manifest_format
from ssl_core.data.manifest import FileFacts
from ssl_core.errors import PackError, StorageError
from ssl_core.files.whole import storage_errors
from study.datasets.object_store import Store
from study.reports.console import errors

Advance = Callable[[int], None]
"""Called with the number of bytes that have just arrived (or were found to be there)."""

REMEDY = "free space, check rights, or set SPLATSWEEP_CACHE"

_SPARE_BYTES = 256 * 2**20
"""A disk is not filled to its last byte."""


def check_blocks(name: str, facts: FileFacts, place: object) -> None:
    """Raises PackError when a manifest does not give one digest per block of a file."""
    blocks = -(-facts.bytes // manifest_format.BLOCK_BYTES)
    if facts.bytes < 0 or len(facts.blocks) != blocks:
        raise PackError(
            f"{place}: the manifest has {len(facts.blocks)} block digests for {name} ({facts.bytes:,} bytes need "
            f"{blocks}); make the pack again"
        )


def check_space(folder: Path, needed: int, what: object) -> None:
    """Raises StorageError when the disk of `folder` cannot take `needed` bytes."""
    free = shutil.disk_usage(folder).free
    if needed + _SPARE_BYTES > free:
        raise StorageError(
            f"{what} needs {needed / 1e9:.2f} GB in {folder}, which has {free / 1e9:.2f} GB free; "
            "free space, or set SPLATSWEEP_CACHE to a larger disk"
        )


def fetch_file(store: Store, name: str, facts: FileFacts, folder: Path, advance: Advance) -> None:
    """Bring one file into `folder`: `<name>.partial` first, moved to its name when every block is right.

    Raises:
        PackError: the file in the store is of another size, or a block is wrong twice; names file and block.
        StorageError: the store does not answer, or the disk is full.
    """
    found = store.size(name)
    if found != facts.bytes:
        there = "is not there" if found is None else f"has {found:,} bytes"
        raise PackError(f"{store}/{name}: {there}, {facts.bytes:,} bytes expected; push the pack again")
    partial = folder / f"{name}.partial"
    with storage_errors(partial, REMEDY):
        handle = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            missing = _missing_blocks(handle, facts, advance)
            check_space(folder, sum(_span(facts, block)[1] for block in missing), f"{store}/{name}")
            os.ftruncate(handle, facts.bytes)
            _fetch_blocks(store, name, facts, handle, missing, advance)
            os.fsync(handle)
        finally:
            os.close(handle)
        partial.rename(folder / name)


def send_file(store: Store, name: str, facts: FileFacts, file: Path, advance: Advance) -> None:
    """Write one file of a pack into the store. Raises PackError when it is not what its manifest says; StorageError."""
    if store.largest_file is not None and facts.bytes > store.largest_file:
        raise StorageError(
            f"{file}: {facts.bytes / 1e9:.0f} GB are more than one upload of {store.largest_file / 1e9:.0f} GB holds; "
            f"send the pack with another tool (`aws s3 cp --recursive`), manifest.json last"
        )
    with store.writing(name) as out, storage_errors(file, REMEDY, "read"), file.open("rb") as source:
        for block, digest in enumerate(facts.blocks):
            content = source.read(_span(facts, block)[1])
            if hashlib.sha256(content).hexdigest() != digest:
                raise PackError(
                    f"{file}: block {block} is damaged (its sha256 is not the manifest's); make the pack again"
                )
            out.write(content)
            out.flush()  # parts are sent in the background; without this a slow store would pile them up in memory
            advance(len(content))


def _span(facts: FileFacts, block: int) -> tuple[int, int]:
    """Offset and length of a block."""
    offset = block * manifest_format.BLOCK_BYTES
    return offset, min(manifest_format.BLOCK_BYTES, facts.bytes - offset)


def _missing_blocks(handle: int, facts: FileFacts, advance: Advance) -> list[int]:
    """Blocks that an earlier transfer has not left whole. Reads what is there, once."""
    held = os.fstat(handle).st_size
    missing = []
    for block, digest in enumerate(facts.blocks):
        offset, length = _span(facts, block)
        if offset < held and hashlib.sha256(os.pread(handle, length, offset)).hexdigest() == digest:
            advance(length)
        else:
            missing.append(block)
    return missing


def _fetch_blocks(store: Store, name: str, facts: FileFacts, handle: int, missing: list[int], advance: Advance) -> None:
    def fetch(block: int) -> None:
        offset, length = _span(facts, block)
        content = _right_block(store, name, block, offset, length, facts.blocks[block])
        written = 0
        while written < length:
            written += os.pwrite(handle, content[written:], offset + written)
        advance(length)

    with ThreadPoolExecutor(store.readers) as pool:
        waiting = [pool.submit(fetch, block) for block in missing]
        try:
            for each in waiting:
                each.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _right_block(store: Store, name: str, block: int, offset: int, length: int, digest: str) -> bytes:
    """A block with the right digest, asked for twice at most."""
    for last in (False, True):
        try:
            content = store.read_block(name, offset, length)
        except StorageError:
            if last:
                raise
            continue
        if hashlib.sha256(content).hexdigest() == digest:
            return content
    raise PackError(
        f"{store}/{name}: block {block} (from byte {offset:,}) has a wrong digest, twice; "
        "push the pack again with --force"
    )


@contextmanager
def transfer_bar(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yields a function to be called with each number of bytes that arrived, from any thread. Silent off a terminal."""
    columns = (TextColumn(label), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    lock = Lock()
    with Progress(*columns, console=errors, disable=not errors.is_terminal, transient=True) as bar:
        task = bar.add_task(label, total=total)

        def advance(count: int) -> None:
            with lock:
                bar.advance(task, count)

        yield advance
