"""Where data sets keep their files, and what is wrong with a folder that claims to be one.

    POINTS/<class>/<split>/<object>/point_cloud/iteration_N/point_cloud.ply   cross-modal reference; highest N
    POINTS/<class>/<split>/<object>/point_cloud.ply                           ModelNet_Splats
    IMAGES/<class>/<split>/<object>/images/000.png ...                        cross-modal reference
    MESHES/<class>/<split>/<name>.off                                         ModelNet

Folders and files whose names start with a dot are never looked at. Whatever does not fit is a `Problem`; a
person decides whether to go on without it.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ssl_core.data.images import SUFFIXES
from ssl_core.errors import LayoutError

SPLITS = ("train", "test")
SAFE_NAME = re.compile(r"\w[\w .,+()@-]{0,127}")
"""Names go into manifests, run tags and reports: no control characters, separators or quotes."""

POINTS_LAYOUT = "<class>/<train|test>/<object>/point_cloud/iteration_N/point_cloud.ply"
MESH_LAYOUT = "<class>/<train|test>/<name>.off"


@dataclass(frozen=True)
class SplatObject:
    """One object: its Gaussians and, where there are any, its views in order."""

    class_name: str
    split: str
    name: str
    ply: Path
    views: tuple[Path, ...]

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
    path: Path

    @property
    def key(self) -> str:
        """`class/split/name`, unique in a data set."""
        return f"{self.class_name}/{self.split}/{self.name}"


@dataclass(frozen=True)
class Problem:
    """Something in a data set that cannot be used: where, and why."""

    path: str
    reason: str


def ply_path(points: Path, class_name: str, split: str, name: str, iteration: int = 30000) -> Path:
    """Where the cross-modal reference keeps an object's Gaussians."""
    return points / class_name / split / name / "point_cloud" / f"iteration_{iteration}" / "point_cloud.ply"


def view_path(images: Path, class_name: str, split: str, name: str, index: int) -> Path:
    """Where the cross-modal reference keeps an object's view number `index`."""
    return images / class_name / split / name / "images" / f"{index:03d}.png"


def find_objects(points: Path, images: Path | None) -> tuple[list[SplatObject], list[Problem]]:
    """All objects under `points` with their views under `images`, sorted by key, and what cannot be used.

    Without `images` every object has no views and that is no problem.

    Raises:
        LayoutError: a folder is missing, or no object is found.
    """
    points = _folder(Path(points))
    images = None if images is None else _folder(Path(images))
    objects: list[SplatObject] = []
    problems: list[Problem] = []
    seen = set()
    for class_name, split, entry in _entries(points, problems, lambda entry: entry.is_dir()):
        seen.add((class_name, split, entry.name))
        ply = _find_ply(entry)
        views = () if images is None else _find_views(images / class_name / split / entry.name)
        if ply is None:
            problems.append(Problem(str(entry), "object without .ply (point_cloud/iteration_N/point_cloud.ply)"))
        elif images is not None and not views:
            folder = view_path(images, class_name, split, entry.name, 0).parent
            problems.append(Problem(str(entry), f"object without views: expected pictures in {folder}"))
        else:
            objects.append(SplatObject(class_name, split, entry.name, ply, views))
    if images is not None:
        problems += _views_without_object(images, seen)
    if not objects:
        raise LayoutError(_nothing_found(points, POINTS_LAYOUT, problems))
    return sorted(objects, key=lambda found: found.key), problems


def find_meshes(root: Path) -> tuple[list[MeshObject], list[Problem]]:
    """All meshes under `root`, sorted by key, and what cannot be used.

    Raises:
        LayoutError: the folder is missing, or no mesh is found.
    """
    root = _folder(Path(root))
    problems: list[Problem] = []
    meshes = [
        MeshObject(class_name, split, entry.stem, entry)
        for class_name, split, entry in _entries(root, problems, _is_mesh)
    ]
    if not meshes:
        raise LayoutError(_nothing_found(root, MESH_LAYOUT, problems))
    return sorted(meshes, key=lambda found: found.key), problems


def _is_mesh(entry: Path) -> bool:
    return entry.suffix.lower() == ".off" and entry.is_file()


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise LayoutError(f"{path}: is not a folder; check the path")
    return path


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith((".", "__MACOSX")))
    except OSError as error:
        raise LayoutError(f"{folder}: cannot be listed: {error.strerror or error}; check its rights") from None


def _entries(root: Path, problems: list[Problem], wanted: Callable[[Path], bool]) -> Iterator[tuple[str, str, Path]]:
    """(class, split, entry) of every wanted entry; adds unsafe names, empty classes and missing splits."""
    splits = {folder: _splits(folder) for folder in _children(root) if folder.is_dir()}
    everywhere = {split.name for found in splits.values() for split in found}
    for folder, found in splits.items():
        if not _safe(folder, problems):
            continue
        for split in found:
            members = [entry for entry in _children(split) if wanted(entry)]
            if not members:
                problems.append(
                    Problem(str(split), "empty class: no object in this split; add some or leave the class out")
                )
            for entry in members:
                if _safe(entry, problems):
                    yield folder.name, split.name, entry
        problems += _wrong_splits(folder, found, everywhere)


def _wrong_splits(folder: Path, found: list[Path], everywhere: set[str]) -> list[Problem]:
    """Folders that are neither train nor test, and splits that only other classes have."""
    names = {split.name for split in found}
    others = [entry for entry in _children(folder) if entry.is_dir() and entry.name not in SPLITS]
    problems = [
        Problem(str(entry), f"unknown split '{ascii(entry.name)[1:-1]}': use train or test") for entry in others
    ]
    if not found:
        return [
            *problems,
            Problem(str(folder), "empty class: no train or test folder; fill it or leave it out"),
        ]
    missing = sorted(everywhere - names)
    return problems + [Problem(str(folder), f"class without '{name}', which other classes have") for name in missing]


def _splits(folder: Path) -> list[Path]:
    return [folder / split for split in SPLITS if (folder / split).is_dir()]


def _safe(entry: Path, problems: list[Problem]) -> bool:
    if SAFE_NAME.fullmatch(entry.name):
        return True
    shown = ascii(entry.name)
    problems.append(
        Problem(f"{entry.parent}/{shown}", f"unsafe name {shown}: use letters, digits, space and . , _ + - ( ) @")
    )
    return False


def _find_ply(entry: Path) -> Path | None:
    """The Gaussians of the highest iteration that has them, or those of ModelNet_Splats."""
    found = []
    for folder in (entry / "point_cloud").glob("iteration_*"):
        number = folder.name.removeprefix("iteration_")
        ply = folder / "point_cloud.ply"
        if number.isdecimal() and ply.is_file():
            found.append((int(number), ply))
    if found:
        return max(found)[1]
    flat = entry / "point_cloud.ply"
    return flat if flat.is_file() else None


def _find_views(entry: Path) -> tuple[Path, ...]:
    """Pictures in `images/`, else in the folder itself, in the order of their numbers."""
    for folder in (entry / "images", entry):
        if folder.is_dir():
            views = [view for view in _children(folder) if view.suffix.lower() in SUFFIXES and view.is_file()]
            if views:
                return tuple(sorted(views, key=lambda view: (_number(view), view.name)))
    return ()


def _number(view: Path) -> int:
    digits = re.findall(r"[0-9]{1,18}", view.stem)
    return int(digits[-1]) if digits else -1


def _views_without_object(images: Path, seen: set[tuple[str, str, str]]) -> list[Problem]:
    problems = []
    for folder in _children(images):
        for split in _splits(folder) if folder.is_dir() else []:
            for entry in _children(split):
                known = (folder.name, split.name, entry.name) in seen
                if not known and entry.is_dir() and _find_views(entry):
                    problems.append(Problem(str(entry), "views without object: no Gaussians of this name"))
    return problems


def _nothing_found(root: Path, expected: str, problems: list[Problem]) -> str:
    """One line: what was looked for, and the first problem or what lies there instead."""
    inner = next((root / name for name in ("points", "train") if (root / name).is_dir()), None)
    if expected == POINTS_LAYOUT and next(root.glob("*/*/*.off"), None):
        instead = "it holds meshes: turn them into Gaussians with `splatsweep splat` first"
    elif inner is not None and inner.name == "points":
        instead = f"give {inner}"
    elif inner is not None:
        instead = f"it looks like one class: give {root.parent}"
    elif problems:
        instead = f"{len(problems)} problems, first: {problems[0].path}: {problems[0].reason}"
    else:
        names = [entry.name for entry in _children(root)[:5]]
        instead = f"it holds {', '.join(map(ascii, names))}" if names else "it is empty"
    return f"{root}: no object found ({instead}); expected {expected}"
