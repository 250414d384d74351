"""Label maps of views: `classes.json`, and pictures of class ids, of palette indices or of the classes' colours.

classes.json    ["wall", "floor"], or {"classes": ["wall", {"name": "floor", "id": 7, "colour": [80, 50, 20]}]}

An id that is not given is the entry's place in the list. A class called `void`, `unlabelled`, `unlabeled` or `ignore`
is none: pixels with its id or colour get VOID, as do those with id 255, or 65535 in maps of 16 bits, unless a class has
that id.
"""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from ssl_core.config import Config, parse_json
from ssl_core.data.scene_pack import VOID, SceneClass
from ssl_core.errors import ImageError, PackError
from ssl_core.files.image_files import decode_map
from ssl_core.files.npy_file import decode_npy
from ssl_core.scenes.cameras import GOLDEN_FRACTION

CLASSES = "classes.json"
LABELS = ("labels", "label", "semantics", "semantic")
"""Folders of a scene that may hold its label maps."""
ENDINGS = ("", ".png", ".npy", ".PNG", ".tif", ".tiff")
"""Of label maps; nothing lossy."""

_NO_CLASS = frozenset(("void", "unlabelled", "unlabeled", "ignore"))
_VOID_IDS = (255, 65535)
_MAX_BYTES = 2**20

Pixels = NDArray[np.uint8]
Name = Annotated[str, Field(min_length=1, max_length=100)]
Channel = Annotated[int, Field(ge=0, le=255)]


class ClassEntry(Config):
    """One class of a classes.json."""

    name: Name
    id: Annotated[int, Field(ge=0, le=65535)] | None = None
    colour: tuple[Channel, Channel, Channel] | None = None


class ClassFile(Config):
    """A classes.json."""

    classes: tuple[ClassEntry | Name, ...] = Field(min_length=1, max_length=10_000)


@dataclass(frozen=True, eq=False)
class LabelClasses:
    """The classes of a scene in their order, and how files write them.

    `ids` takes an id or a packed colour (r * 65536 + g * 256 + b) to the number of its class, or to VOID.
    """

    file: Path
    classes: tuple[SceneClass, ...]
    ids: dict[int, int]
    colours: dict[int, int] = field(default_factory=dict)


def read_classes(file: Path) -> LabelClasses:
    """Read a classes.json.

    Raises PackError: it is none, names a class, an id or a colour twice, or has more than 255 classes.
    """
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_BYTES:,} bytes")
        values = parse_json(file.read_bytes())
        kept = ClassFile.model_validate({"classes": values} if isinstance(values, list) else _known(values))
    except (OSError, ValueError, ValidationError) as error:
        reason = ascii(" ".join(str(error).split())[:160])[1:-1]
        raise PackError(f'{file}: is no list of classes ({reason}); write {{"classes": ["wall", "floor"]}}') from None
    entries = [ClassEntry(name=each) if isinstance(each, str) else each for each in kept.classes]
    real = [entry for entry in entries if entry.name.lower() not in _NO_CLASS]
    if len(real) > VOID:
        raise PackError(f"{file}: names {len(real):,} classes; a pack has at most {VOID}, join some of them")
    _check_unique(file, "name", [entry.name for entry in entries])
    numbers = {entry.name: number for number, entry in enumerate(real)}
    ids = [place if entry.id is None else entry.id for place, entry in enumerate(entries)]
    _check_unique(file, "id", ids)
    colours = [_packed(entry.colour) for entry in entries if entry.colour is not None]
    _check_unique(file, "colour", colours)
    of_entry = [numbers.get(entry.name, VOID) for entry in entries]
    return LabelClasses(
        file,
        tuple(
            SceneClass(name=entry.name, colour=entry.colour or distinct_colour(number))
            for number, entry in enumerate(real)
        ),
        dict.fromkeys(_VOID_IDS, VOID) | dict(zip(ids, of_entry, strict=True)),
        {_packed(e.colour): number for e, number in zip(entries, of_entry, strict=True) if e.colour is not None},
    )


def distinct_colour(number: int) -> tuple[int, int, int]:
    """The colour of class `number` where none is given: hues by the golden ratio, brightness in turn."""
    hue, light = (number * GOLDEN_FRACTION) % 1, (0.95, 0.7, 0.85)[number % 3]
    red, green, blue = (round(255 * value) for value in colorsys.hsv_to_rgb(hue, 0.45 + 0.4 * (number % 2), light))
    return red, green, blue


def find_classes(root: Path) -> LabelClasses | None:
    """The classes of the scene in `root`, from its classes.json or one beside its label maps; None without any.

    Raises PackError: as `read_classes`, or several files disagree.
    """
    files = [file for folder in ("", *LABELS) if (file := root / folder / CLASSES).is_file()]
    found = [read_classes(file) for file in files]
    for other in found[1:]:
        check_agreement(found[0], other)
    return found[0] if found else None


def check_agreement(first: LabelClasses, other: LabelClasses) -> None:
    """Raises PackError when two files name other classes, or the same in another order."""
    names, others = ([each.name for each in found.classes] for found in (first, other))
    if names == others:
        return
    number = next(
        (i for i, (a, b) in enumerate(zip(names, others, strict=False)) if a != b), min(len(names), len(others))
    )
    shown = [ascii(found[number]) if number < len(found) else "none" for found in (names, others)]
    raise PackError(
        f"{first.file} and {other.file} disagree: class {number} of {len(names)} is {shown[0]} there and of "
        f"{len(others)} {shown[1]} here; give all scenes of a pack the same classes in the same order"
    )


def decode_labels(content: bytes, file: Path, classes: LabelClasses) -> Pixels:
    """[H, W] uint8 numbers of classes, VOID for none.

    Raises ImageError: no lossless map of numbers or colours, or it holds an id or colour that no class has.
    """
    values = _npy(content, file) if file.suffix.lower() == ".npy" else decode_map(content, str(file))
    if content.startswith(b"\xff\xd8"):
        raise ImageError(f"{file}: is a JPEG, which changes labels; write the label map as PNG")
    known = classes.ids
    if values.ndim == 3:
        if not classes.colours:
            raise ImageError(f"{file}: holds colours, and {classes.file} gives its classes none; add them there")
        values, known = values.astype(np.int64) @ (65536, 256, 1), classes.colours
    found, where = np.unique(values, return_inverse=True)
    strange = [value for value in found.tolist() if value not in known]
    if strange:
        count = int(np.isin(values, strange).sum())
        what = f"id {strange[0]}" if known is classes.ids else f"colour {_unpacked(strange[0])}"
        raise ImageError(
            f"{file}: {count:,} pixels have {what}{' and others' if len(strange) > 1 else ''}, which no class of "
            f"{classes.file} has; add the class there, or mend the map"
        )
    labels: Pixels = np.array([known[value] for value in found.tolist()], np.uint8)[where].reshape(values.shape)
    return labels


def _npy(content: bytes, file: Path) -> NDArray[Any]:
    values = decode_npy(content, str(file))
    if values.ndim != 2 or values.dtype.kind not in "iub" or not values.size:
        raise ImageError(f"{file}: is no label map: expected integers [H, W]; write it again")
    return values.astype(np.int64)


def _known(values: Any) -> dict[str, Any]:
    """Other keys of the file are its writer's own."""
    if not isinstance(values, dict) or "classes" not in values:
        raise ValueError("it has no list `classes`")
    return {"classes": values["classes"]}


def _packed(colour: tuple[int, int, int]) -> int:
    return colour[0] * 65536 + colour[1] * 256 + colour[2]


def _unpacked(colour: int) -> tuple[int, int, int]:
    return colour >> 16, colour >> 8 & 255, colour & 255


def _check_unique(file: Path, what: str, values: Sequence[Any]) -> None:
    seen: set[Any] = set()
    for value in values:
        if value in seen:
            shown = _unpacked(value) if what == "colour" else value
            raise PackError(f"{file}: gives the {what} {shown!a} twice; each class needs its own")
        seen.add(value)
