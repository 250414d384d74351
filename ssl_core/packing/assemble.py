"""Parts into a pack: raw arrays joined in order in bounded memory, digests taken on the way, the manifest last."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ssl_core.data.manifest import FileFacts, Refused
from ssl_core.data.object_pack import GEOMETRY_WIDTH, PackManifest, PackObject
from ssl_core.packing.join import Joined, Piece, join, npy_header, write_array
from ssl_core.packing.objects import Problem
from ssl_core.packing.pack_plan import PackPlan, PartPlan
from ssl_core.packing.part import PartObject, PartRecord
from ssl_core.packing.part_files import FileName, extras

Parts = Sequence[tuple[PartPlan, PartRecord]]


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
    objects = _numbered(made, plan.config.val_fraction)
    files = _join_all(plan, parts, folder)
    keep_rest = "sh_rest.npy" in files
    manifest = PackManifest(
        config=plan.config,
        class_names=tuple(sorted({item.class_name for item in objects})),
        groups=("xyz", "opacity", "scale", "rotation", "sh_dc", *(["sh_rest"] if keep_rest else []), "normals"),
        image_size=plan.image_size,
        views_rendered=plan.views_rendered,
        objects=objects,
        refused=tuple(Refused(path=problem.path, reason=problem.reason) for problem in refused),
        notes=_notes(made, plan.image_size),
        files=files,
    ).sealed()
    (folder / "manifest.json").write_text(manifest.model_dump_json(indent=1))
    return manifest


def is_sound(plan: PackPlan, parts: Parts, folder: Path) -> bool:
    """Whether an assembly that was begun in `folder`, or not yet, can go on: nothing is missing."""
    return all(joined.is_sound() for joined in _joined_files(plan, parts, folder))


def _join_all(plan: PackPlan, parts: Parts, folder: Path) -> dict[str, FileFacts]:
    whole = _joined_files(plan, parts, folder)
    with ThreadPoolExecutor(len(whole)) as pool:  # copying and hashing both leave the interpreter free
        facts = list(pool.map(join, whole))
    files = {joined.target.name: each for joined, each in zip(whole, facts, strict=True)}
    if plan.config.codec != "raw":
        files["view_offsets.npy"] = _write_offsets(parts, folder / "view_offsets.npy")
    return dict(sorted(files.items()))


def _joined_files(plan: PackPlan, parts: Parts, folder: Path) -> list[Joined]:
    """All large files of the pack; those of an extra only if every object has it."""
    made = [item for _, record in parts for item in record.objects]
    rows = sum(item.facts.rows for item in made)
    views = sum(item.facts.views for item in made)
    size, raw = plan.image_size, plan.config.codec == "raw"
    found = [
        Joined(folder / "gaussians.npy", npy_header((rows, GEOMETRY_WIDTH), "<f4"), _pieces(parts, "gaussians.f32")),
        _joined_orders(parts, plan.config.starts, folder / "orders.npy"),
        Joined(
            folder / ("views.npy" if raw else "views.bin"),
            npy_header((views, 3, size, size), "|u1") if raw else b"",
            _pieces(parts, "views.u8"),
        ),
    ]
    for name, extra in extras(size).items():
        if all(name in item.carries for item in made):
            for file in extra.files:
                header = npy_header((rows if extra.per == "row" else views, *file.shape), file.kind)
                found.append(Joined(folder / file.pack, header, _pieces(parts, file.part)))
    return found


def _pieces(parts: Parts, name: FileName) -> tuple[Piece, ...]:
    return tuple(Piece(plan.folder / plan.id / name, record.files[name]) for plan, record in parts)


def _joined_orders(parts: Parts, starts: int, target: Path) -> Joined:
    """[objects, starts, longest] int32, -1 after the last of each order."""
    longest = max((item.order_length for _, record in parts for item in record.objects), default=0)
    objects = sum(len(record.objects) for _, record in parts)
    pieces = []
    for plan, record in parts:
        file = plan.folder / plan.id / "orders.i32"
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


def _write_offsets(parts: Parts, target: Path) -> FileFacts:
    """[views + 1] int64: where each encoded view begins, and where the last one ends."""
    sizes = [np.fromfile(plan.folder / plan.id / "view_sizes.i64", dtype="<i8") for plan, _ in parts]
    return write_array(target, np.cumsum(np.concatenate([np.zeros(1, dtype="<i8"), *sizes])).astype("<i8"))


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


def _numbered(made: Sequence[PartObject], val_fraction: float) -> tuple[PackObject, ...]:
    """Facts of all objects with their places in the whole, and who is held out."""
    held = validation_keys([item.facts for item in made], val_fraction)
    objects, row, view = [], 0, 0
    for item in made:
        places = {"first_row": row, "first_view": view, "validation": item.facts.key in held}
        objects.append(item.facts.model_copy(update=places))
        row, view = row + item.facts.rows, view + item.facts.views
    return tuple(objects)


def _notes(made: Sequence[PartObject], image_size: int) -> dict[str, int]:
    notes = Counter(note for item in made for note in set(item.notes))
    for name, extra in extras(image_size).items():
        without = sum(name not in item.carries for item in made)
        if 0 < without < len(made):
            notes[f"{extra.lacking}, so the pack keeps those of no object"] = without
    return dict(sorted(notes.items()))
