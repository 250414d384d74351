"""What a data set consists of: objects, meshes, and the problems that a listing of it found."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from ssl_core.clouds.point_cloud import CLOUD_SUFFIXES
from ssl_core.files.source import Source
from ssl_core.gaussians.gaussian_cloud import SUFFIXES

SPLITS = ("train", "test")
SAFE_NAME = re.compile(r"\w[\w .,+()@-]{0,127}")
"""Names go into manifests, run tags and reports: no control characters, separators or quotes."""

SHOWN = 5
"""Of many problems of one kind so many are named; the rest are counted."""


@dataclass(frozen=True, slots=True)
class SplatObject:
    """One object: its Gaussians, points or mesh and, where there are any, its views in order, a mask for each or none.

    `cameras` is a cameras.json that may name the views; `part_labels` an .npy with an integer per Gaussian; `beside`
    holds the files that the Gaussians are read with (`gaussian_file.companions`). `view_angles`, a view.txt, makes it a
    model of the renders' layout (`layout_renders`). `validation` is what a list says of a train object; None leaves it
    to the pack.
    """

    class_name: str
    split: str
    name: str
    gaussians: Source
    views: tuple[Source, ...]
    masks: tuple[Source, ...] = ()
    cameras: Source | None = None
    part_labels: Source | None = None
    beside: tuple[Source, ...] = ()
    view_angles: Source | None = None
    validation: bool | None = None

    @property
    def is_drawn(self) -> bool:
        """Whether views are drawn where there are none: not of plain points, as far as the ending tells."""
        ending = PurePosixPath(self.gaussians.name).suffix.lower()
        return not self.views and (ending in SUFFIXES or ending not in CLOUD_SUFFIXES)

    @property
    def sources(self) -> tuple[Source, ...]:
        """All its files, in the order in which they count for its digest."""
        more = (source for source in (self.cameras, self.part_labels, self.view_angles) if source is not None)
        return (self.gaussians, *self.views, *self.masks, *more, *self.beside)

    @property
    def listed(self) -> str:
        """What a list says of it beside its split, for digests; empty for nothing."""
        return "" if self.validation is None else f"validation {self.validation}\n"

    @property
    def key(self) -> str:
        """`class/split/name`, unique in a data set."""
        return f"{self.class_name}/{self.split}/{self.name}"


@dataclass(frozen=True)
class MeshObject:
    """One mesh of a data set."""

    class_name: str
    split: str
    name: str
    source: Source

    @property
    def key(self) -> str:
        """`class/split/name`, unique in a data set."""
        return f"{self.class_name}/{self.split}/{self.name}"


@dataclass(frozen=True)
class Problem:
    """Something in a data set that cannot be used: where, and why."""

    path: str
    reason: str


def stamp_of(item: SplatObject) -> str:
    """Cheap identity of an object, 16 hex digits: its key and the names, sizes and times (checksums) of its sources.

    Equal stamps mean that nothing has to be read again. The folder is no part of it: a data set may be moved.

    Raises:
        DataError: a source is gone.
    """
    digest = hashlib.sha256(f"{item.listed}{item.key}".encode())
    for source in item.sources:
        digest.update(f"\n{source.name}\n{source.stamp}".encode())
    return digest.hexdigest()[:16]


def unsafe_name(folder: str, name: str) -> Problem:
    """The problem of a name that is not SAFE_NAME; printable whatever the name holds."""
    shown = ascii(name)
    return Problem(f"{folder}/{shown}", f"unsafe name {shown}: use letters, digits, space and . , _ + - ( ) @")


def summed(paths: Sequence[str], place: str, reason: str) -> list[Problem]:
    """The same reason for many paths: the first SHOWN of them, and how many more there are in `place`."""
    problems = [Problem(path, reason) for path in paths[:SHOWN]]
    if len(paths) > SHOWN:
        problems.append(Problem(place, f"{len(paths) - SHOWN:,} more of these: {reason}"))
    return problems
