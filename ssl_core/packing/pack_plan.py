"""What a pack will be made of, decided before anything is read: objects, image size, and *parts*.

A part is a run of neighbouring objects that is made, kept and found again as one. Where parts end depends on the
names of the objects alone, neither on the number of workers nor on what else is in the data set: an object more or
less changes its own part and no other.
"""

import hashlib
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ssl_core.data.object_pack import PackConfig, PackObject
from ssl_core.errors import DataError, PackError
from ssl_core.files.image_files import read_image
from ssl_core.packing.layout import find_meshes, find_objects
from ssl_core.packing.objects import Problem, SplatObject, stamp_of
from ssl_core.packing.part_files import ALL_EXTRAS, ExtraName

PART_OBJECTS = 16
"""Objects per part, on average; at most twice as many. A killed run loses the parts under way."""

_RECIPE = "4"
"""Raised when a part is made differently from equal input, so that no part of an older version is taken over."""


@dataclass(frozen=True)
class KnownObject:
    """The same object in an older pack, from where it can be copied."""

    pack: Path  # folder of the older pack
    index: int  # number of the object there, a row of `orders.npy`
    facts: PackObject  # what its manifest says
    stamp: str  # of the files it was made from
    carries: frozenset[ExtraName]  # the extras that its files had, whether the pack kept them or not
    dropped: int  # rows of its file that could not be used
    notes: tuple[str, ...]  # what its file could not carry
    groups: tuple[str, ...]  # feature groups that are its file's own


@dataclass(frozen=True)
class Entry:
    """One object to be packed, with the stamp of its files when the plan was made."""

    item: SplatObject
    stamp: str
    bytes: int
    known: KnownObject | None = None


@dataclass(frozen=True)
class PartPlan:
    """Everything that `part.build_part` needs, as it travels to a worker."""

    id: str  # digest of config, image size and the stamps of the objects: equal ids mean equal content
    folder: Path  # where finished parts lie
    entries: tuple[Entry, ...]
    config: PackConfig
    image_size: int
    # extras that the pack may store; for the others it is known already that some object lacks them
    keep: frozenset[ExtraName]
    drop_bad_rows: bool = False  # leave single Gaussians out that cannot be used

    @property
    def place(self) -> Path:
        """Where the finished part lies."""
        return self.folder / self.id

    @property
    def bytes(self) -> int:
        """Size of its files."""
        return sum(entry.bytes for entry in self.entries)

    @property
    def name(self) -> str:
        """For people: its first and last object."""
        first, last = self.entries[0].item.key, self.entries[-1].item.key
        return first if first == last else f"{first} to {last}"


@dataclass(frozen=True)
class PackPlan:
    """All objects of a pack in order, and the problems that the layout has."""

    config: PackConfig
    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...]
    image_size: int
    views_rendered: bool
    drop_bad_rows: bool = False

    @property
    def stamps(self) -> dict[str, str]:
        """Key of the object -> stamp of its files."""
        return {entry.item.key: entry.stamp for entry in self.entries}

    def parts(self, folder: Path, keep: frozenset[ExtraName] = ALL_EXTRAS) -> tuple[PartPlan, ...]:
        """The parts, which will lie in `folder`."""
        return tuple(
            PartPlan(_part_id(group, self, keep), folder, group, self.config, self.image_size, keep, self.drop_bad_rows)
            for group in _groups(self.entries)
        )


def plan_pack(
    points: Path, images: Path | None, config: PackConfig, *, drop_bad_rows: bool = False, splits: Path | None = None
) -> PackPlan:
    """Look at names, sizes and times of all files; open only split lists, and images until the image size is known.

    Raises:
        LayoutError: a folder is missing, or no object is found.
        PackError: two objects of one key.
    """
    # absolute: the plan travels to processes elsewhere, and refusals must read the same from every place
    images, splits = (None if place is None else place.absolute() for place in (images, splits))
    objects, problems = _found(points.absolute(), images, splits, config)
    objects = sorted(objects, key=lambda item: item.key)
    entries = []
    for item in objects:
        try:
            entries.append(Entry(item, stamp_of(item), _bytes(item)))
        except DataError as error:
            problems.append(Problem(item.key, str(error)))
    for one, other in itertools.pairwise(entries):
        if one.item.key == other.item.key:
            raise PackError(f"{one.item.gaussians} and {other.item.gaussians} are both {one.item.key}; rename one")
    rendered = bool(objects) and not any(item.views for item in objects)
    return PackPlan(config, tuple(entries), tuple(problems), _image_size(objects, config), rendered, drop_bad_rows)


def _found(
    points: Path, images: Path | None, splits: Path | None, config: PackConfig
) -> tuple[list[SplatObject], list[Problem]]:
    """What `points` holds: files of Gaussians or points, or meshes where their surfaces are asked for."""
    if config.surface_points is None:
        return find_objects(points, images, splits)
    meshes, problems = find_meshes(points)
    return [SplatObject(mesh.class_name, mesh.split, mesh.name, mesh.source, ()) for mesh in meshes], problems


def _bytes(item: SplatObject) -> int:
    return sum(source.size for source in item.sources)


def _image_size(objects: list[SplatObject], config: PackConfig) -> int:
    if config.image_size is not None:
        return config.image_size
    for item in objects:
        for view in item.views[:1]:
            try:
                return int(min(read_image(view).shape[:2]))
            except DataError:
                continue  # reported with its reason when its object is made
    return config.rendered_size


def _groups(entries: Iterable[Entry]) -> list[tuple[Entry, ...]]:
    """Runs that end where the hash of a key says so."""
    groups: list[tuple[Entry, ...]] = []
    group: list[Entry] = []
    for entry in entries:
        group.append(entry)
        last = hashlib.sha256(entry.item.key.encode()).digest()[0] % PART_OBJECTS == 0
        if last or len(group) == 2 * PART_OBJECTS:
            groups.append(tuple(group))
            group = []
    return [*groups, tuple(group)] if group else groups


def _part_id(entries: tuple[Entry, ...], plan: PackPlan, keep: frozenset[ExtraName]) -> str:
    lines = [_RECIPE, plan.config.to_json(), str(plan.image_size), str(sorted(keep)), str(plan.drop_bad_rows)]
    # the place too: archives give files equal times, and equal sizes are common
    lines += [f"{entry.item.key} {entry.stamp} {entry.item.gaussians}" for entry in entries]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:24]
