"""Parts into a pack: raw arrays joined in order in bounded memory, digests taken on the way, the manifest last.

Each file of a part is removed as soon as its bytes have arrived: a pack being put together is not on disk twice. The
pieces that are gone tell how far a joined file has come, so a killed assembly goes on where it was.
"""

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import write_array_header_1_0
from numpy.typing import NDArray

from ssl_core.data.manifest import BLOCK_BYTES, FileFacts, Refused
from ssl_core.data.object_pack import PackManifest, PackObject
from ssl_core.data.pack_arrays import GEOMETRY_WIDTH
from ssl_core.gaussians.gaussian_cloud import GAUSSIAN_GROUPS
from ssl_core.packing.objects import Problem
from ssl_core.packing.pack_plan import PackPlan, PartPlan
from ssl_core.packing.part import PartObject, PartRecord
from ssl_core.packing.part_files import EXTRAS, FileName

Parts = Sequence[tuple[PartPlan, PartRecord]]

_COPY_BYTES = 2**20


def assemble(plan: PackPlan, parts: Parts, refused: Sequence[Problem], folder: Path) -> PackManifest:
    """Write the files of the pack into `folder`, the manifest last. The arrays of the parts are used up.

    Killed, the same call again goes on, as long as `is_sound`.

    Args:
        plan: what was to be packed.
        parts: all its parts in order, with at least one object.
        refused: every input that is left out.
        folder: empty, or left by an earlier call with the same parts.

    Raises:
        OSError: the disk is full.
    """
    made = [item for _, record in parts for item in record.objects]
    objects = _numbered(made, plan)
    whole = _joined_files(plan, parts, folder)
    with ThreadPoolExecutor(len(whole)) as pool:  # copying and hashing both leave the interpreter free
        facts = list(pool.map(Joined.write, whole))
    files = {joined.target.name: each for joined, each in zip(whole, facts, strict=True)}
    if plan.config.codec != "raw":
        sizes = [np.fromfile(part.place / "view_sizes.i64", dtype="<i8") for part, _ in parts]
        offsets = np.cumsum(np.concatenate([np.zeros(1, dtype="<i8"), *sizes])).astype("<i8")
        files["view_offsets.npy"] = write_array(folder / "view_offsets.npy", offsets)
    manifest = PackManifest(
        config=plan.config,
        class_names=tuple(sorted({item.class_name for item in objects})),
        groups=_groups(made, files),
        image_size=plan.image_size,
        views_rendered=plan.views_rendered and any(item.facts.views for item in made),
        objects=objects,
        dropped_rows={item.facts.key: item.dropped for item in made if item.dropped},
        refused=tuple(Refused(path=problem.path, reason=problem.reason) for problem in refused),
        notes=_notes(made),
        files=dict(sorted(files.items())),
    ).sealed()
    (folder / "manifest.json").write_text(manifest.model_dump_json(indent=1))
    return manifest


def _groups(made: Sequence[PartObject], files: Mapping[str, FileFacts]) -> tuple[str, ...]:
    """Feature groups that every object has, in the order of their columns; normals, which are made of them, last."""
    found = [group for group in GAUSSIAN_GROUPS if all(group in item.groups for item in made)]
    at = found.index("normals") if "normals" in found else len(found)
    return (*found[:at], *(["sh_rest"] if "sh_rest.npy" in files else []), *found[at:])


def mixed_columns(made: Sequence[PartObject]) -> str:
    """Which columns some objects have and others lack, with one of each; empty where all are alike."""
    for group in GAUSSIAN_GROUPS:
        lacking = [item.facts.key for item in made if group not in item.groups]
        if 0 < len(lacking) < len(made):
            having = next(item.facts.key for item in made if group in item.groups)
            return f"{len(lacking)} of {len(made)} objects have no '{group}' ({lacking[0]}), others have ({having})"
    return ""


def is_sound(plan: PackPlan, parts: Parts, folder: Path) -> bool:
    """Whether an assembly that was begun in `folder`, or not yet, can go on: nothing is missing."""
    return all(joined.is_sound() for joined in _joined_files(plan, parts, folder))


def _joined_files(plan: PackPlan, parts: Parts, folder: Path) -> "list[Joined]":
    """All large files of the pack; those of an extra only if every object has it."""
    made = [item for _, record in parts for item in record.objects]
    rows = sum(item.facts.rows for item in made)
    views = sum(item.facts.views for item in made)
    size, raw = plan.image_size, plan.config.codec == "raw"

    def joined(name: str, header: bytes, part_file: FileName) -> Joined:
        pieces = (Piece(part.place / part_file, record.files[part_file]) for part, record in parts)
        return Joined(folder / name, header, tuple(pieces))

    found = [
        joined("gaussians.npy", npy_header((rows, GEOMETRY_WIDTH), "<f4"), "gaussians.f32"),
        _joined_orders(parts, plan.config.starts, folder / "orders.npy"),
        joined("views.npy", npy_header((views, 3, size, size), "|u1"), "views.u8")
        if raw
        else joined("views.bin", b"", "views.u8"),
    ]
    for name, extra in EXTRAS.items():
        if all(name in item.carries for item in made):
            for file in extra.files:
                shape = (size if side is None else side for side in file.shape)
                header = npy_header((rows if extra.per == "row" else views, *shape), file.kind)
                found.append(joined(file.pack, header, file.part))
    return found


def _joined_orders(parts: Parts, starts: int, target: Path) -> "Joined":
    """[objects, starts, longest] int32, -1 after the last of each order."""
    longest = max((item.order_length for _, record in parts for item in record.objects), default=0)
    objects = sum(len(record.objects) for _, record in parts)
    pieces = []
    for plan, record in parts:
        file = plan.place / "orders.i32"
        lengths = tuple(item.order_length for item in record.objects)

        def read(file: Path = file, lengths: tuple[int, ...] = lengths) -> Iterator[memoryview]:
            with file.open("rb") as stream:
                for length in lengths:
                    padded = np.full((starts, longest), -1, dtype="<i4")
                    own = np.frombuffer(stream.read(4 * starts * length), dtype="<i4")
                    padded[:, :length] = own.reshape(starts, length)
                    yield padded.data.cast("B")

        pieces.append(Piece(file, 4 * starts * longest * len(lengths), read))
    return Joined(target, npy_header((objects, starts, longest), "<i4"), tuple(pieces))


def validation_keys(objects: Sequence[PackObject], fraction: float) -> set[str]:
    """Keys of the train objects held out: per class the first by hash of the key, so adding objects moves few."""
    held: set[str] = set()
    by_class: dict[str, list[str]] = {}
    for item in objects:
        if item.split == "train":
            by_class.setdefault(item.class_name, []).append(item.key)
    for keys in by_class.values():
        ranked = sorted(keys, key=lambda key: hashlib.sha256(key.encode()).hexdigest())
        held.update(ranked[: max(1, round(fraction * len(keys)))] if len(keys) > 1 else [])
    return held


def _numbered(made: Sequence[PartObject], plan: PackPlan) -> tuple[PackObject, ...]:
    """Facts of all objects with their places in the whole, and who is held out: whom lists name, else a share."""
    listed = {entry.item.key: entry.item.validation for entry in plan.entries}
    open_ones = [item.facts for item in made if listed[item.facts.key] is None]
    held = validation_keys(open_ones, plan.config.val_fraction) | {key for key, each in listed.items() if each}
    objects, row, view = [], 0, 0
    for item in made:
        places = {"first_row": row, "first_view": view, "validation": item.facts.key in held}
        objects.append(item.facts.model_copy(update=places))
        row, view = row + item.facts.rows, view + item.facts.views
    return tuple(objects)


def _notes(made: Sequence[PartObject]) -> dict[str, int]:
    notes = Counter(note for item in made for note in set(item.notes))
    if mixed := mixed_columns(made):
        notes[f"{mixed}, so the pack has it of no object"] = len(made)
    for name, extra in EXTRAS.items():
        without = sum(name not in item.carries for item in made)
        if 0 < without < len(made):
            notes[f"{extra.lacking}, so the pack keeps those of no object"] = without
    return dict(sorted(notes.items()))


@dataclass(frozen=True)
class Piece:
    """A file, and the bytes that it becomes."""

    file: Path  # removed when its bytes have arrived
    bytes: int  # how many
    # the bytes, in pieces that are good until the next one; None takes the file as it is
    read: Callable[[], Iterator[memoryview]] | None = None

    def content(self) -> Iterator[memoryview]:
        """The bytes."""
        if self.read is not None:
            yield from self.read()
            return
        buffer = memoryview(bytearray(_COPY_BYTES))  # one for all: new memory costs more than the copy
        with self.file.open("rb", buffering=0) as stream:
            while count := stream.readinto(buffer):
                yield buffer[:count]


@dataclass(frozen=True)
class Joined:
    """A file that is to become a header and the bytes of its pieces."""

    target: Path
    header: bytes
    pieces: tuple[Piece, ...]

    def progress(self) -> tuple[int, int]:
        """How many pieces have arrived, and how long the file is then."""
        count = next((i for i, piece in enumerate(self.pieces) if piece.file.exists()), len(self.pieces))
        return count, (len(self.header) + sum(piece.bytes for piece in self.pieces[:count])) if count else 0

    def is_sound(self) -> bool:
        """Whether what has arrived is there, and what has not is too."""
        count, length = self.progress()
        there = self.target.stat().st_size if self.target.is_file() else 0
        return there >= length and all(piece.file.is_file() for piece in self.pieces[count:])

    def write(self) -> FileFacts:
        """Write the file, or the rest of it; digests are taken on the way. Raises OSError."""
        count, length = self.progress()
        with BlockWriter(self.target, length) as file:
            if count == 0:
                file.write(self.header)
            for piece in self.pieces[count:]:
                for content in piece.content():
                    file.write(content)
                piece.file.unlink()
        return file.facts


class BlockWriter(ExitStack):
    """A file being written whose blocks of BLOCK_BYTES are digested on the way.

    Args:
        path: the file.
        start: its first bytes, so many, are there already; the rest is cut off.
    """

    def __init__(self, path: Path, start: int = 0) -> None:
        super().__init__()
        self._stream = self.enter_context(path.open("r+b" if start else "wb", buffering=0))
        self._digest = hashlib.sha256()
        self._blocks: list[str] = []
        self._bytes = 0
        buffer = memoryview(bytearray(min(start, _COPY_BYTES)))
        while self._bytes < start:
            count = self._stream.readinto(buffer[: start - self._bytes])
            if not count:
                raise OSError(f"only {self._bytes} of {start} bytes are there")
            self._count(buffer[:count])
        self._stream.truncate(start)

    def write(self, content: bytes | memoryview) -> None:
        """Append. Raises OSError."""
        rest = memoryview(content)
        self._count(rest)
        while len(rest):  # an unbuffered write may take less than it was given
            rest = rest[self._stream.write(rest) :]

    def _count(self, content: memoryview) -> None:
        while len(content):
            head = content[: BLOCK_BYTES - self._bytes % BLOCK_BYTES]
            self._digest.update(head)
            self._bytes += len(head)
            content = content[len(head) :]
            if self._bytes % BLOCK_BYTES == 0:
                self._blocks.append(self._digest.hexdigest())
                self._digest = hashlib.sha256()

    @property
    def facts(self) -> FileFacts:
        """Length and digests of what was written."""
        open_block = [self._digest.hexdigest()] if self._bytes % BLOCK_BYTES else []
        return FileFacts(bytes=self._bytes, blocks=(*self._blocks, *open_block))


def npy_header(shape: tuple[int, ...], kind: str) -> bytes:
    """How an .npy file begins whose values are of `kind`, as "<f4"."""
    stream = io.BytesIO()
    write_array_header_1_0(stream, {"descr": kind, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def write_array(path: Path, values: NDArray[Any]) -> FileFacts:
    """Write an .npy file, little-endian. Raises OSError."""
    values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    with BlockWriter(path) as file:
        file.write(npy_header(values.shape, values.dtype.str) + values.tobytes())
    return file.facts
