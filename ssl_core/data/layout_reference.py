"""Classes with splits: the cross-modal reference's layout, ModelNet_Splats, and ModelNet meshes.

    <class>/<split>/<object>/point_cloud/iteration_N/point_cloud.ply     highest N
    <class>/<split>/<object>/point_cloud.ply
    <class>/<split>/<object>/images/000.png ...                          views; also without `images/`
    <class>/<split>/<name>.off

Everything here is matching on relative paths.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ssl_core.data.formats.decoded_file import SUFFIXES
from ssl_core.data.images import SUFFIXES as IMAGE_SUFFIXES
from ssl_core.data.listing import Listing
from ssl_core.data.objects import SAFE_NAME, SPLITS, Problem, SplatObject, unsafe_name
from ssl_core.data.source import FileSource, Source

_GAUSSIANS = re.compile(
    r"([^/]+/[^/]+/[^/]+)/(?:point_cloud/iteration_([0-9]{1,18})/)?point_cloud(\.compressed)?(\.[a-z]+)",
    re.IGNORECASE,
)


class Place(NamedTuple):
    """Where an object stands: `class/split/name`."""

    class_name: str
    split: str
    name: str


def has_splits(listing: Listing) -> bool:
    """Whether the tree has `<class>/<split>` folders."""
    return any(path.count("/") == 1 and path.endswith(("/train", "/test")) for path in listing.folders)


def reference_objects(points: Listing, views: "Views | None") -> tuple[list[SplatObject], list[Problem]]:
    """Objects with their views, and what cannot be used."""
    objects: list[SplatObject] = []
    problems: list[Problem] = []
    gaussians = _gaussians(points)
    seen = set()
    for place in places(points, [path for path in points.folders if path.count("/") == 2], problems):
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
            objects.append(SplatObject(*place, found, pictures))
    if views is not None:
        without = [path for path in views.objects() if path not in seen]
        reason = "views without object: no Gaussians of this name"
        problems += [Problem(views.listing.place(path), reason) for path in without]
    return objects, problems


def _gaussians(points: Listing) -> dict[str, Source]:
    """`class/split/name` -> the Gaussians of the highest iteration; of one iteration, the first of SUFFIXES."""
    best: dict[str, tuple[tuple[int, bool, int], Source]] = {}
    for path, source in points.files.items():
        match = _GAUSSIANS.fullmatch(path)
        if match is None or (ending := match[4].lower()) not in SUFFIXES:
            continue
        rank = (-1 if match[2] is None else int(match[2]), match[3] is None, -SUFFIXES.index(ending))
        if match[1] not in best or rank > best[match[1]][0]:
            best[match[1]] = (rank, source)
    return {path: source for path, (_, source) in best.items()}


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


class Views:
    """The pictures of a listing by object: those in `images/`, else those in the object's folder itself."""

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self._by_folder: dict[str, list[tuple[int, str, Source]]] = {}
        for path, source in listing.files.items():
            folder, _, name = path.rpartition("/")
            if name.lower().endswith(IMAGE_SUFFIXES):
                self._by_folder.setdefault(folder, []).append((_number(name), name, source))

    def of(self, path: str) -> tuple[Source, ...]:
        """In the order of their numbers; none when the object has no pictures."""
        found = self._by_folder.get(f"{path}/images") or self._by_folder.get(path, [])
        return tuple(source for _, _, source in sorted(found, key=lambda view: view[:2]))

    def objects(self) -> list[str]:
        """`class/split/name` of every folder of pictures at that place, in order."""
        paths = {folder.removesuffix("/images") for folder in self._by_folder}
        return sorted(path for path in paths if path.count("/") == 2 and path.split("/")[1] in SPLITS)

    def folders(self) -> list[str]:
        """Every folder of pictures, `images/` left out, in order."""
        return sorted({folder.removesuffix("/images") for folder in self._by_folder})


def _number(name: str) -> int:
    digits = re.findall(r"[0-9]{1,18}", name.rpartition(".")[0])
    return int(digits[-1]) if digits else -1


def mesh_files(listing: Listing) -> dict[str, FileSource]:
    """Every `class/split/name.off`; meshes are read from disk only."""
    return {
        path: source
        for path, source in listing.files.items()
        if path.count("/") == 2 and path.lower().endswith(".off") and isinstance(source, FileSource)
    }
