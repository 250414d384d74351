"""Renders of ShapeNet as Tulsiani et al. (DRC, CVPR 2017) write them, with the point clouds that come with

"From Image Collections to Point Clouds with Self-supervised Shape and Pose Networks" (CVPR 2020).

    IMAGES/<synset>/<model>/render_0.png ... render_9.png, mask_0.png ..., view.txt
    POINTS/<synset>/<model>/pcl_1024_fps_trimesh.npy    [N, 3], y up; or `..._colors.npy` [N, 6] where all have one
    POINTS/<synset>/<model>/<any>.ply, POINTS/<synset>/<model>.ply         instead, of any ending of points
    split lists (`split_lists`) in the folder given for them, else in IMAGES or POINTS, or in `splits/` there

The class name is the synset. Where there is no mask_N.png, the alpha of render_N.png is its mask.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from ssl_core.clouds.cloud_file import COLOURED
from ssl_core.clouds.point_cloud import CLOUD_SUFFIXES
from ssl_core.errors import LayoutError
from ssl_core.files.source import FileSource, Source
from ssl_core.packing.layout_reference import PART_LABELS
from ssl_core.packing.listing import Listing, list_tree
from ssl_core.packing.objects import SAFE_NAME, Problem, SplatObject, unsafe_name
from ssl_core.packing.split_lists import LIST_SUFFIXES, Key, Listed, is_list, read_lists

CLOUD = "pcl_1024_fps_trimesh.npy"
ANGLES = "view.txt"

_PICTURE = re.compile(r"(render|mask)_([0-9]{1,4})\.(?:png|jpg|jpeg)", re.IGNORECASE)
_ENDINGS = tuple(ending for ending in CLOUD_SUFFIXES if ending != ".txt")


@dataclass
class ModelFiles:
    """The files of one model's folder of renders."""

    renders: dict[int, Source] = field(default_factory=dict)
    masks: dict[int, Source] = field(default_factory=dict)
    angles: Source | None = None


def has_renders(images: Listing) -> bool:
    """Whether the tree has `<synset>/<model>/view.txt`, or `render_<number>.png` there."""
    names = (path.rpartition("/")[2] for path in images.files if path.count("/") == 2)
    return any(name == ANGLES or _PICTURE.fullmatch(name) for name in names)


def rendered_objects(
    points: Listing, images: Listing, lists: Listing | None
) -> tuple[list[SplatObject], list[Problem]]:
    """Listed models with their renders and clouds, and what cannot be used.

    Raises LayoutError: there are no lists, or one cannot be read.
    """
    models, clouds = _models(images), _Clouds(points)
    by_class: dict[str, set[str]] = {}
    for class_name, model in models:
        by_class.setdefault(class_name, set()).add(model)
    names = {class_name: frozenset(found) for class_name, found in by_class.items()}
    place, files = _lists(lists, images, points)
    listed, problems = read_lists(files, names, place)
    validated = {class_name for (class_name, _), each in listed.items() if each.split == "val"}
    objects = []
    for key, each in sorted(listed.items()):
        found = _object(key, each, models[key], clouds, images.place("/".join(key)))
        if isinstance(found, Problem):
            problems.append(found)
        else:
            held = each.split == "val" if key[0] in validated and each.split != "test" else None
            objects.append(replace(found, validation=held))
    return clouds.coloured(objects), problems


def list_lists(place: Path) -> Listing:
    """What holds split lists: a folder, an archive, or one list. Raises LayoutError: there is nothing."""
    if place.is_file() and place.suffix.lower() in LIST_SUFFIXES:
        return Listing(str(place.parent), False, {place.name: FileSource(place)}, set(), [])
    return list_tree(place)


def _models(images: Listing) -> dict[Key, ModelFiles]:
    found: dict[Key, ModelFiles] = {}
    for path, source in images.files.items():
        class_name, _, rest = path.partition("/")
        model, _, name = rest.partition("/")
        match = _PICTURE.fullmatch(name)
        if match is None and name != ANGLES:
            continue
        files = found.setdefault((class_name, model), ModelFiles())
        if match is None:
            files.angles = source
        else:
            (files.renders if match[1].lower() == "render" else files.masks)[int(match[2])] = source
    return found


def _lists(given: Listing | None, *others: Listing) -> tuple[str, dict[str, Source]]:
    """Where the lists are, and the lists by relative path. Raises LayoutError: there are none."""
    for listing in (given,) if given is not None else others:
        near = {path for path in listing.files if path.rpartition("/")[0] in ("", "splits")}
        shallow = near if given is None else {path for path in listing.files if path.count("/") <= 1}
        files = {path: source for path, source in listing.files.items() if path in shallow and is_list(path)}
        if files:
            return listing.root, files
    raise LayoutError(
        f"{(given or others[0]).root}: has no lists of a split; give --splits with images_list_<synset>_train.npy, "
        "_val.npy and _test.npy, or train.txt, val.txt and test.txt of <synset>/<model> a line"
    )


def _object(key: Key, listed: Listed, files: ModelFiles, clouds: "_Clouds", place: str) -> SplatObject | Problem:
    """The object of a listed model, or why there is none."""
    class_name, model = key
    if not (SAFE_NAME.fullmatch(class_name) and SAFE_NAME.fullmatch(model)):
        return unsafe_name(place, model)
    numbers = sorted(listed.views or files.renders)
    if lacking := [number for number in numbers if number not in files.renders]:
        return Problem(place, f"has no render_{lacking[0]}.png, which a list names; render it or take it off the list")
    if not numbers:
        return Problem(place, "has no render_<number>.png; render it or take it off the list")
    if files.angles is None:
        return Problem(place, "has no view.txt; write a line 'azimuth elevation' (degrees) for each render")
    masks = tuple(files.masks[number] for number in numbers if number in files.masks)
    if masks and len(masks) < len(numbers):
        lacking = [number for number in numbers if number not in files.masks]
        return Problem(place, f"has no mask_{lacking[0]}.png, and masks of other views; write it, or remove all masks")
    cloud = clouds.of(key)
    if isinstance(cloud, Problem):
        return cloud
    split = "test" if listed.split == "test" else "train"
    views = tuple(files.renders[number] for number in numbers)
    return SplatObject(class_name, split, model, cloud, views, masks, view_angles=files.angles)


class _Clouds:
    """Point clouds by class and model."""

    def __init__(self, points: Listing) -> None:
        self.listing = points
        self._found: dict[Key, dict[str, Source]] = {}
        for path, source in points.files.items():
            parts = path.split("/")
            if path.lower().endswith(_ENDINGS) and not path.endswith(PART_LABELS) and len(parts) in (2, 3):
                key = (parts[0], parts[1] if len(parts) == 3 else parts[1].rpartition(".")[0])
                self._found.setdefault(key, {})[parts[-1]] = source

    def of(self, key: Key) -> Source | Problem:
        """The cloud of a model, or that there is none, or which."""
        found, place = self._found.get(key, {}), self.listing.place("/".join(key))
        plain = {name: source for name, source in found.items() if not name.endswith(COLOURED)} or found
        if CLOUD in plain:
            return plain[CLOUD]
        if len(plain) == 1:
            return next(iter(plain.values()))
        if plain:
            shown = ", ".join(sorted(plain)[:3])
            return Problem(place, f"has several clouds ({shown}); leave all but one out, or name one {CLOUD}")
        reason = f"model without a cloud: expected {CLOUD} or a .ply there; fetch it, or leave the model out"
        return Problem(place, reason)

    def coloured(self, objects: Iterable[SplatObject]) -> list[SplatObject]:
        """The objects with the coloured file beside their cloud, if every object has one."""
        objects = list(objects)
        names = [f"{PurePosixPath(item.gaussians.name).stem}{COLOURED}" for item in objects]
        beside: list[Mapping[str, Source]] = [self._found.get((item.class_name, item.name), {}) for item in objects]
        if not all(name in files for name, files in zip(names, beside, strict=True)):
            return objects
        return [replace(item, gaussians=files[name]) for item, name, files in zip(objects, names, beside, strict=True)]
