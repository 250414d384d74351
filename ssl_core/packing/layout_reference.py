"""Classes with splits: the cross-modal reference's layout, ModelNet_Splats, and ModelNet meshes.

    <class>/<split>/<object>/point_cloud/iteration_N/point_cloud.ply     highest N
    <class>/<split>/<object>/point_cloud.ply
    <class>/<split>/<object>/meta.json                                   with its images: an unbundled .sog
    <class>/<split>/<object>/point_cloud.parts.npy                       beside the Gaussians: a part label of each
    <class>/<split>/<object>/images/000.png ...                          views; also without `images/`
    <class>/<split>/<object>/masks/000.png ...                           a mask of each view
    <class>/<split>/<object>/cameras.json                                the cameras of the views, as INRIA writes them
    <class>/<split>/<name>.off                                           a mesh
    <class>/<split>/<name>.pcd                                           points or Gaussians, of any ending

Everything here is matching on relative paths.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from ssl_core.clouds.point_cloud import POINT_SUFFIXES
from ssl_core.files.image_files import SUFFIXES as IMAGE_SUFFIXES
from ssl_core.files.source import Source
from ssl_core.files.unicode_names import nfc
from ssl_core.gaussians.formats.sog_bundle import META
from ssl_core.gaussians.gaussian_file import companions
from ssl_core.meshes.mesh_file import MESH_SUFFIXES
from ssl_core.packing.listing import Listing
from ssl_core.packing.objects import SAFE_NAME, SPLITS, Problem, SplatObject, unsafe_name

_GAUSSIANS = re.compile(
    r"([^/]+/[^/]+/[^/]+)/(?:point_cloud/iteration_([0-9]{1,18})/)?(?:point_cloud(\.compressed)?(\.[a-z]+)|meta\.json)",
    re.IGNORECASE,
)

PART_LABELS = ".parts.npy"
"""Ending of a file of part labels, after the name of the file of Gaussians without its own."""


class Place(NamedTuple):
    """Where an object stands: `class/split/name`."""

    class_name: str
    split: str
    name: str


def has_splits(listing: Listing) -> bool:
    """Whether the tree has `<class>/<split>` folders."""
    return any(path.count("/") == 1 and path.endswith(("/train", "/test")) for path in listing.folders)


def reference_objects(points: Listing, views: "ViewFiles | None") -> tuple[list[SplatObject], list[Problem]]:
    """Objects with their views, and what cannot be used."""
    objects: list[SplatObject] = []
    problems: list[Problem] = []
    gaussians = _gaussians(points)
    seen = set()
    folders = {path for path in points.folders if path.count("/") == 2}
    for place in places(points, sorted(folders | gaussians.keys()), problems):
        path = "/".join(place)
        seen.add(path)
        found = gaussians.get(path)
        pictures = () if views is None else views.of(path)
        if found is None:
            reason = "object without .ply (point_cloud/iteration_N/point_cloud.ply or point_cloud.ply)"
            problems.append(Problem(points.place(path), reason))
        elif views is not None and not pictures:
            folder = f"{views.listing.place(path)}/images"
            problems.append(Problem(points.place(path), f"object without views: expected pictures in {folder}"))
        else:
            objects.append(with_extras(SplatObject(*place, views=pictures, **found._asdict()), path, views))
    if views is not None:
        without = [path for path in views.objects() if path not in seen]
        reason = "views without object: no Gaussians of this name"
        problems += [Problem(views.listing.place(path), reason) for path in without]
    return objects, problems


class ObjectFiles(NamedTuple):
    """The Gaussians of an object and what belongs to their file."""

    gaussians: Source
    part_labels: Source | None
    beside: tuple[Source, ...]


def _gaussians(points: Listing) -> dict[str, ObjectFiles]:
    """`class/split/name` -> the Gaussians of the highest iteration (of one, the first of SUFFIXES)."""
    best: dict[str, tuple[tuple[int, bool, int], str]] = {}
    for path in points.files:
        match = _GAUSSIANS.fullmatch(path)
        if match is None:
            continue
        ending = (match[4] or META).lower()
        if ending not in (*POINT_SUFFIXES, META) or (ending == META and not is_sog_folder(points, path)):
            continue
        order = _order(ending)
        is_plain = match[3] is None and ending != META
        rank = (-1 if match[2] is None else int(match[2]), is_plain, -order)
        if match[1] not in best or rank > best[match[1]][0]:
            best[match[1]] = (rank, path)
    for key, rank, path in _split_files(points):
        if key not in best or rank > best[key][0]:
            best[key] = (rank, path)
    folders = _by_folder(points)
    return {
        key: ObjectFiles(
            points.files[path],
            part_labels_of(points, path),
            companions(points.files[path].name, folders[path.rpartition("/")[0]]),
        )
        for key, (_, path) in best.items()
    }


def _order(ending: str) -> int:
    """Of several files of an object the one with the lowest counts."""
    return POINT_SUFFIXES.index(ending) if ending in POINT_SUFFIXES else len(POINT_SUFFIXES)


def _split_files(points: Listing) -> Iterator[tuple[str, tuple[int, bool, int], str]]:
    """(`class/split/name`, rank, path) of every file of points or Gaussians in the folder of a split itself.

    A .txt is one only where nothing else is: people write notes.
    """
    found = []
    for path in points.files:
        if path.count("/") != 2 or path.split("/")[1] not in SPLITS or path.endswith(PART_LABELS):
            continue
        stem, _, ending = path.rpartition(".")
        ending = f".{ending.lower()}"
        if ending in (*POINT_SUFFIXES, *MESH_SUFFIXES):
            found.append((stem.removesuffix(".compressed"), ending, stem.endswith(".compressed"), path))
    others = any(ending != ".txt" for _, ending, _, _ in found)
    for stem, ending, compressed, path in found:
        if ending in POINT_SUFFIXES and not (others and ending == ".txt"):
            yield stem, (-2, not compressed, -_order(ending)), path


def is_sog_folder(listing: Listing, meta: str) -> bool:
    """Whether a meta.json has the images of an unbundled .sog beside it; other tools have files of this name, too."""
    folder = meta.rpartition("/")[0]
    return any(f"{folder}/means_l{ending}" in listing.files for ending in (".webp", ".png"))


def _by_folder(listing: Listing) -> dict[str, list[Source]]:
    found: dict[str, list[Source]] = {}
    for path, source in listing.files.items():
        found.setdefault(path.rpartition("/")[0], []).append(source)
    return found


def part_labels_of(points: Listing, path: str) -> Source | None:
    """The part labels beside a file of Gaussians."""
    return points.files.get(path.rpartition(".")[0].removesuffix(".compressed") + PART_LABELS)


def with_extras(item: SplatObject, path: str, views: "ViewFiles | None") -> SplatObject:
    """The object with the masks and cameras that stand beside its views."""
    if views is None or not item.views:
        return item
    return replace(item, masks=views.masks(path, item.views), cameras=views.listing.files.get(f"{path}/cameras.json"))


def places(listing: Listing, wanted: Iterable[str], problems: list[Problem]) -> Iterator[Place]:
    """Every wanted `class/split/name`, in order; adds unsafe names, empty classes and missing splits."""
    splits: dict[str, set[str]] = {path: set() for path in sorted(listing.folders) if "/" not in path}
    for path in listing.folders:
        if path.count("/") == 1:
            class_name, _, split = path.partition("/")
            splits[class_name].add(split)
    members: dict[str, list[str]] = {}
    for path in wanted:
        folder, _, name = path.rpartition("/")
        members.setdefault(folder, []).append(name)
    everywhere = {split for found in splits.values() for split in found.intersection(SPLITS)}
    for class_name, found in splits.items():
        if not _safe(listing.root, class_name, problems):
            continue
        for split in (split for split in SPLITS if split in found):
            folder = f"{class_name}/{split}"
            if folder not in members:
                reason = "empty class: no object in this split; add some or leave the class out"
                problems.append(Problem(listing.place(folder), reason))
            for name in sorted(members.get(folder, [])):
                if _safe(listing.place(folder), name, problems):
                    yield Place(class_name, split, name)
        problems += _wrong_splits(listing.place(class_name), found, everywhere)


def _wrong_splits(place: str, found: set[str], everywhere: set[str]) -> list[Problem]:
    """Folders that are neither train nor test, and splits that only other classes have."""
    problems = [
        Problem(f"{place}/{split}", f"unknown split '{split}': use train or test")
        for split in sorted(found.difference(SPLITS))
    ]
    if not found.intersection(SPLITS):
        return [*problems, Problem(place, "empty class: no train or test folder; fill it or leave it out")]
    missing = sorted(everywhere - found)
    return problems + [Problem(place, f"class without '{split}', which other classes have") for split in missing]


def _safe(folder: str, name: str, problems: list[Problem]) -> bool:
    if SAFE_NAME.fullmatch(name):
        return True
    problems.append(unsafe_name(folder, name))
    return False


class ViewFiles:
    """The pictures of a listing by object: those in `images/`, else those in the object's folder itself."""

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self._by_folder: dict[str, list[tuple[int, str, Source]]] = {}
        for path, source in listing.files.items():
            folder, _, name = path.rpartition("/")
            is_data = f"{folder}/{META}" in listing.files and is_sog_folder(listing, path)
            if name.lower().endswith(IMAGE_SUFFIXES) and not is_data:
                self._by_folder.setdefault(folder, []).append((_number(name), name, source))

    def of(self, path: str) -> tuple[Source, ...]:
        """In the order of their numbers; none when the object has no pictures."""
        found = self._by_folder.get(f"{path}/images") or self._by_folder.get(path, [])
        return tuple(source for _, _, source in sorted(found, key=lambda view: view[:2]))

    def masks(self, path: str, pictures: Sequence[Source]) -> tuple[Source, ...]:
        """Those in `masks/` that have the pictures' names, but for the ending; none unless each picture has one."""
        by_name = {_stem(name): source for _, name, source in self._by_folder.get(f"{path}/masks", [])}
        found = [by_name.get(_stem(nfc(picture.name))) for picture in pictures]
        return tuple(source for source in found if source is not None) if None not in found else ()

    def objects(self) -> list[str]:
        """`class/split/name` of every folder of pictures at that place, in order."""
        paths = self.folders()
        return sorted(path for path in paths if path.count("/") == 2 and path.split("/")[1] in SPLITS)

    def folders(self) -> list[str]:
        """Every folder of pictures, `images/` left out, in order."""
        return sorted({folder.removesuffix("/images") for folder in self._by_folder if not self._of_masks(folder)})

    def _of_masks(self, folder: str) -> bool:
        above, _, name = folder.rpartition("/")
        return name == "masks" and not self._by_folder.keys().isdisjoint((above, f"{above}/images"))


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _number(name: str) -> int:
    digits = re.findall(r"[0-9]{1,18}", _stem(name))
    return int(digits[-1]) if digits else -1
