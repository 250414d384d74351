"""A folder that takes what the tracking server shall know and keeps it until it knows.

    <study>/outbox/entries-000001.jsonl   appended to by the study; a first line that says whose it is, then entries
    <study>/outbox/sent.json              how far the sender has come; replaced as a whole
    <study>/outbox/runs.jsonl             the server's run ids (`registry.tracking.run_ids`)
    <study>/outbox/files/                 files that the study may remove before they are sent

An entry is in the file when `put` returns, so the death of the process loses nothing. A machine that loses its power
may lose the end of the file; the study's ledger is authoritative, and what the ledger has and the outbox has not is
told again (`Points.again`).
"""

import json
import os
import re
import shutil
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from registry.tracking.entries import Entry, File, Finish, Points, Start, decode, encode, now
from ssl_core.errors import StorageError

VERSION = 1
SEGMENT_BYTES = 8 << 20
_SEGMENT = re.compile(r"entries-(\d{6,})\.jsonl")


@dataclass
class Known:
    """What an outbox was told of a run: the last step, and its status (empty while it runs)."""

    step: int = 0
    status: str = ""


@dataclass(frozen=True)
class Sent:
    """How far the sender has come: all before this place has arrived. `trouble`: why it does not get on."""

    segment: int = 1
    offset: int = 0
    refused: int = 0
    trouble: str = ""


class Outbox:
    """The study's side: takes entries. One process at a time; thread-safe.

    Args:
        folder: made if missing.
        key: the study's own name in the tags of its runs, never that of another study.
        name: the study's name.
        segment_bytes: a new file is begun beyond this; the sender removes those that are sent.

    Raises:
        StorageError: the folder cannot be written, or was written by a newer version.
    """

    def __init__(self, folder: Path, key: str, name: str, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder, self.key, self.name = folder, key, name
        self._segment_bytes = segment_bytes
        self._lock = threading.Lock()
        self.known: dict[str, Known] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._open()
        except OSError as error:
            raise _full(folder, error) from error

    def put(self, *entries: Entry) -> None:
        """Keep the entries, all or none: when this returns they survive the process.

        Raises:
            StorageError: the disk does not take them.
        """
        data = "".join(f"{encode(entry)}\n" for entry in entries).encode()
        with self._lock:
            self._write(data)
            for entry in entries:
                self._note(entry)
            if self._size >= self._segment_bytes:
                self._begin(self._number + 1)

    def put_file(self, run: str, path: Path, name: str, *, keep: bool) -> None:
        """A file for the run's artifacts under `name`. `keep`: it may change or vanish, so keep one of our own.

        Raises:
            StorageError: it cannot be kept.
        """
        source = path.resolve()
        if keep:
            kept = self.folder / "files" / f"{uuid.uuid4().hex}-{path.name}"
            try:
                kept.parent.mkdir(exist_ok=True)
                _link(source, kept)
            except OSError as error:
                raise _full(kept, error) from error
            source = kept
        self.put(File(run, now(), name, str(source), ours=keep))

    def close(self) -> None:
        """Nothing more is put."""
        os.close(self._file)

    def _open(self) -> None:
        numbers = segments(self.folder)
        for number in numbers:
            for line in _lines(_path(self.folder, number), 0):
                self._recall(line)
        last = numbers[-1] if numbers else 0
        sent = read_sent(self.folder)
        if last and _path(self.folder, last).stat().st_size > 0:
            self._continue(last)
            if sent.segment > last or (sent.segment == last and sent.offset > self._size):
                # a power cut took entries that had been sent: their places must not be given to others
                self._begin(max(last, sent.segment) + 1)
        else:
            self._begin(max(last, sent.segment) + 1 if last or sent.offset else 1)

    def _continue(self, number: int) -> None:
        """Append to a file that is there, without the line that a dying process left half-written."""
        path = _path(self.folder, number)
        content = path.read_bytes()
        self._number, self._size = number, content.rfind(b"\n") + 1
        os.truncate(path, self._size)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND)

    def _begin(self, number: int) -> None:
        """A new file; its first line has what the files before it said, since they will be removed."""
        known = {run: [state.step, state.status] for run, state in self.known.items()}
        head = {"head": VERSION, "key": self.key, "name": self.name, "known": known}
        file = os.open(_path(self.folder, number), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        if hasattr(self, "_file"):
            os.close(self._file)
        self._file, self._number, self._size = file, number, 0
        self._write(f"{json.dumps(head)}\n".encode())

    def _write(self, data: bytes) -> None:
        done = 0
        try:
            while done < len(data):
                done += os.write(self._file, data[done:])
        except OSError as error:
            os.ftruncate(self._file, self._size)
            raise _full(self.folder, error) from error
        self._size += len(data)

    def _recall(self, line: bytes) -> None:
        head = read_head(line)
        if head is None:
            try:
                self._note(decode(line))
            except ValueError:
                return
        elif head["head"] > VERSION:
            raise StorageError(f"{self.folder} was written by a newer version of splatsweep; use that version")
        else:
            self.known = {run: Known(int(step), str(status)) for run, (step, status) in head["known"].items()}

    def _note(self, entry: Entry) -> None:
        state = self.known.setdefault(entry.run, Known())
        match entry:
            case Start():
                state.status = ""
            case Points(step=step):
                state.step = max(state.step, step)
            case Finish(status=status):
                state.status = status
            case _:
                pass


# ---- for readers


def segments(folder: Path) -> list[int]:
    """Numbers of the files with entries, in order."""
    found = (_SEGMENT.fullmatch(path.name) for path in folder.glob("entries-*.jsonl"))
    return sorted(int(match[1]) for match in found if match)


def read_entries(folder: Path, sent: Sent, limit: int) -> tuple[list[Entry], Sent]:
    """Entries after a place, about `limit` bytes of them, and the place after them; removes files that are done with.

    A line that is not an entry (a damaged disk) is passed over.
    """
    there = segments(folder)
    while later := [number for number in there if number > sent.segment]:
        if sent.offset < _size(folder, sent.segment):
            break
        _path(folder, sent.segment).unlink(missing_ok=True)
        sent = Sent(later[0], 0, sent.refused)
    entries: list[Entry] = []
    offset = sent.offset
    for line in _lines(_path(folder, sent.segment), sent.offset):
        offset += len(line)
        if read_head(line) is None:
            try:
                entries.append(decode(line))
            except ValueError:
                continue
        if offset - sent.offset >= limit:
            break
    return entries, Sent(sent.segment, offset, sent.refused)


def waiting(folder: Path) -> int:
    """How many entries of an outbox have not arrived yet; 0 where there is no outbox."""
    sent = read_sent(folder)
    count = 0
    for number in segments(folder):
        if number >= sent.segment:
            count += _count(_path(folder, number), sent.offset if number == sent.segment else 0)
    return count


def read_sent(folder: Path) -> Sent:
    """The sender's place; the beginning where there is none or it cannot be read: sending again does no harm."""
    try:
        return Sent(**json.loads((folder / "sent.json").read_text()))
    except (OSError, ValueError, TypeError):
        return Sent(segment=min(segments(folder), default=1))


def write_sent(folder: Path, sent: Sent) -> None:
    """Replace the sender's place."""
    partial = folder / ".sent.json.new"
    partial.write_text(json.dumps(asdict(sent)))
    partial.replace(folder / "sent.json")


def read_head(line: bytes) -> Mapping[str, Any] | None:
    """What a first line says; None for other lines."""
    if not line.startswith(b'{"head"'):
        return None
    try:
        head: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return head


def head_of(folder: Path) -> Mapping[str, Any] | None:
    """The first line of the newest file: whose outbox this is. None when there is none."""
    for number in reversed(segments(folder)):
        for line in _lines(_path(folder, number), 0):
            return read_head(line)
    return None


def _path(folder: Path, number: int) -> Path:
    return folder / f"entries-{number:06d}.jsonl"


def _size(folder: Path, number: int) -> int:
    """Bytes in complete lines."""
    return sum(len(line) for line in _lines(_path(folder, number), 0))


def _lines(path: Path, offset: int) -> Iterator[bytes]:
    """Complete lines from a place on."""
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            yield from (line for line in stream if line.endswith(b"\n"))
    except FileNotFoundError:
        return


def _count(path: Path, offset: int) -> int:
    """Complete lines from a place on, without the head, which is the first. Asked often, so not one by one."""
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            content = stream.read()
    except FileNotFoundError:
        return 0
    heads = offset == 0 and content.startswith(b'{"head"') and b"\n" in content
    return content.count(b"\n") - heads


def _link(source: Path, kept: Path) -> None:
    try:
        os.link(source, kept)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, kept)


def _full(path: Path, error: OSError) -> StorageError:
    return StorageError(f"{error.filename or path}: {error.strerror}; free space or allow writing")
