"""What a pack of scenes is made of: the files of each view, the splits of views and of scenes, the classes.

A scene's folder may hold, beside cameras and pictures, `masks/`, `labels/` with a `classes.json`, and `depth/`, each
with files of the pictures' names; and lists of views, train.txt, val.txt and test.txt, one name a line.
A folder with a `scenes.json`, {"room_000": "train", ...}, stands for the scenes in it and says their splits.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from ssl_core.config import parse_json
from ssl_core.data.manifest import Refused
from ssl_core.data.scene_pack import ScenePackConfig, ViewSplit
from ssl_core.errors import CameraError, ConfigError, PackError
from ssl_core.files.unicode_names import nfc
from ssl_core.packing import depth_maps, label_maps
from ssl_core.packing.label_maps import LabelClasses
from ssl_core.packing.scene_views import ViewEntry
from ssl_core.scenes.camera_files import read_scene
from ssl_core.scenes.cameras import CameraScene, CameraView
from ssl_core.scenes.scene_images import SceneImages

MASKS = "masks"
"""Folder of a scene with a mask per picture, of the picture's name, or that and an image's ending (COLMAP's habit)."""
SCENES = "scenes.json"
SPLITS: tuple[ViewSplit, ...] = get_args(ViewSplit)
_HELD_OUT: tuple[ViewSplit, ...] = ("test", "val")

_MAX_LIST_BYTES = 2**24


@dataclass(frozen=True)
class ScenePlan:
    """The views of a scene in order, and those that cannot be used."""

    name: str
    split: ViewSplit
    scene: CameraScene
    entries: tuple[ViewEntry, ...]
    refused: tuple[Refused, ...]
    classes: LabelClasses | None
    notes: Mapping[str, int]

    def digest(self, of_file: Callable[[Path], str]) -> str:
        """16 hex digits over all cameras, points and files, each of these by `of_file`."""
        digest = hashlib.sha256()
        for entry in self.entries:
            view = entry.view
            files = [of_file(file) for file in entry.files]
            digest.update(f"{view.name}\n{entry.split}\n{view.distortion}\n{files}\n".encode())
            digest.update(np.array([view.camera.width, view.camera.height, *view.camera.K.flat]).tobytes())
            digest.update(view.camera.viewmat.tobytes())
        if self.scene.points is not None:
            digest.update(self.scene.points.xyz.tobytes() + self.scene.points.colours.tobytes())
        digest.update(repr(self.refused).encode())
        if self.classes is not None:
            digest.update(f"{self.classes.classes}{self.classes.ids}{self.classes.colours}".encode())
        return digest.hexdigest()[:16]


def plan_scenes(scenes: Sequence[Path], config: ScenePackConfig) -> tuple[ScenePlan, ...]:
    """Read the cameras of all scenes, find their files, settle all splits.

    Raises:
        CameraError: cameras cannot be read, or a scene has one view.
        PackError: lists name what is not there, scenes have the same name, classes disagree, or a split of scenes
            names none.
    """
    places = [place for scene in scenes for place in _expanded(Path(scene))]
    names = [place.path.resolve().name for place in places]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise PackError(f"several scenes are called {twice[0]!a}; rename all folders but one")
    splits = scene_splits(names, [place.split for place in places], config)
    plans = tuple(
        _plan_scene(place.path, name, split, config) for place, name, split in zip(places, names, splits, strict=True)
    )
    labelled = [plan.classes for plan in plans if plan.classes is not None]
    for other in labelled[1:]:
        label_maps.check_agreement(labelled[0], other)
    return plans


@dataclass(frozen=True)
class _Place:
    path: Path
    split: ViewSplit | None = None


def _expanded(scene: Path) -> list[_Place]:
    """The scene, or those that the folder's scenes.json lists."""
    file = scene / SCENES
    if not file.is_file():
        return [_Place(scene)]
    try:
        values = parse_json(file.read_bytes()[:_MAX_LIST_BYTES])
        if not isinstance(values, dict) or not values:
            raise ValueError("it is no object")
        for name, split in values.items():
            if split not in SPLITS or "/" in name or "\\" in name or name.startswith(".") or not name:
                raise ValueError(f"{name}: {split}")
    except (OSError, ValueError) as error:
        reason = ascii(" ".join(str(error).split())[:120])[1:-1]
        raise PackError(f'{file}: lists no scenes ({reason}); write {{"room_000": "train"}}') from None
    return [_Place(scene / name, split) for name, split in values.items()]


def scene_splits(
    names: Sequence[str], given: Sequence[ViewSplit | None], config: ScenePackConfig
) -> tuple[ViewSplit, ...]:
    """The split of each scene: by the config's lists of names, else what files say, else by the config's shares.

    Shares are of the scenes that nothing says a split of, evenly spread over their order, at least one each, test
    before val; the last scene left is for training.

    Raises PackError: a list names a scene that is not there, or one scene twice.
    """
    found: list[ViewSplit | None] = list(given)
    asked = {"val": config.val_scenes, "test": config.test_scenes}
    lists = {split: names for split, names in asked.items() if not isinstance(names, float)}
    listed = [(split, name) for split in _HELD_OUT for name in lists.get(split, ())]
    for split, name in listed:
        if name not in names:
            raise PackError(f"--{split}-scenes names {name!a}, which is none of {', '.join(map(ascii, names))[:200]}")
        if [other for _, other in listed].count(name) > 1:
            raise PackError(f"scene {name!a} is listed twice among --val-scenes and --test-scenes; list it once")
        found[names.index(name)] = split
    for split in _HELD_OUT:
        share = asked[split]
        if not isinstance(share, float) or split in found or not share:
            continue
        free = [i for i, each in enumerate(found) if each is None]
        count = min(max(1, round(share * len(names))), len(free) - 1)
        for place in range(count):
            found[free[int((place + 0.5) * len(free) / count)]] = split
    return tuple(split or "train" for split in found)


def _plan_scene(scene: Path, name: str, split: ViewSplit, config: ScenePackConfig) -> ScenePlan:
    found = read_scene(scene)
    if len(found.views) < 2:
        raise CameraError(f"{found.path}: has one view; a scene needs several, of which some are held out")
    root = scene if scene.is_dir() else scene.parent
    beside = _Beside(root)
    classes = label_maps.find_classes(root) if beside.has_labels else None
    listed = _listed_splits(root, found.views)
    views = [
        view if split is None else replace(view, split=split) for view, split in zip(found.views, listed, strict=True)
    ]
    kept = [view for view, split in zip(views, listed, strict=True) if split is not None or not any(listed)]
    entries, refused, notes = [], [], Counter[str]()
    for view, of_view in zip(kept, assign_splits(kept, config.holdout), strict=True):
        if view.image is None:
            refused.append(Refused(path=view.name, reason=f"its picture is not under {scene}; add it"))
        else:
            entries.append(beside.entry(view, view.image, of_view, classes))
    if beside.drawn_depth:
        notes[f"{beside.drawn_depth} have 8 bits a channel, which say no distances, and were not read"] += len(entries)
    if beside.has_labels and classes is None:
        raise PackError(f"{root}: has label maps and no {label_maps.CLASSES}; list the names of the classes there")
    if len(kept) < len(views):
        notes["the view is in none of the lists train.txt, val.txt and test.txt and was left out"] = len(views) - len(
            kept
        )
    return ScenePlan(name, split, found, tuple(entries), tuple(refused), classes, notes)


class _Beside:
    """Finds masks, label maps and depth beside pictures."""

    def __init__(self, root: Path) -> None:
        self.masks = SceneImages(root, (MASKS,))
        self.labels = SceneImages(root, label_maps.LABELS, label_maps.ENDINGS)
        self.depth = SceneImages(root, depth_maps.DEPTHS, depth_maps.ENDINGS)
        self.has_labels = any((root / folder).is_dir() for folder in label_maps.LABELS)
        self.drawn_depth: str | None = None
        self._looked = False

    def entry(self, view: CameraView, image: Path, split: ViewSplit, classes: LabelClasses | None) -> ViewEntry:
        """The view with what lies beside its picture; what the file of cameras names counts first."""
        mask = view.mask or self.masks.find_beside(view.name)
        depth = view.depth or self.depth.find_beside(view.name)
        if depth is not None and not self._looked:
            self._looked = True
            self.drawn_depth = depth.parent.name + "/" if depth_maps.is_eight_bit(depth) else None
        labels = None if classes is None else self.labels.find_beside(view.name)
        return ViewEntry(view, image, mask, split, labels, None if self.drawn_depth else depth, classes)


def _listed_splits(root: Path, views: Sequence[CameraView]) -> list[ViewSplit | None]:
    """The split that a list of the folder gives each view; None for those in no list.

    Raises PackError: a list cannot be read, names no view, or a view is in two lists.
    """
    found: list[ViewSplit | None] = [None] * len(views)
    numbers: dict[str, int] = {}
    for i, view in enumerate(views):
        path = Path(view.name)
        for name in (view.name, path.name, path.stem, str(path.with_suffix(""))):
            numbers.setdefault(name, i)
    for split in SPLITS:
        file = next(
            (place for place in (root / f"{split}.txt", root / f"sparse/0/{split}.txt") if place.is_file()), None
        )
        for name in [] if file is None else _lines(file):
            number = numbers.get(name, numbers.get(Path(name).name, numbers.get(Path(name).stem)))
            if number is None:
                raise PackError(f"{file}: names {ascii(name)[:80]}, which is no view of the scene; mend the list")
            if found[number] not in (None, split):
                raise PackError(
                    f"{file}: names {ascii(name)[:80]}, which {found[number]}.txt has, too; take it out of one"
                )
            found[number] = split
    if any(split == "train" for split in found) or not any(found):
        return found
    return [split or "train" for split in found]  # lists of what is held out alone: the rest is for training


def _lines(file: Path) -> list[str]:
    try:
        if file.stat().st_size > _MAX_LIST_BYTES:
            raise ValueError("too long")
        lines = [nfc(line.strip().replace("\\", "/")) for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise PackError(f"{file}: is no list of views ({ascii(str(error))[1:80]}); write one name a line") from None
    return [line for line in lines if line and not line.startswith("#")]


def assign_splits(views: Sequence[CameraView], holdout: int) -> list[ViewSplit]:
    """The split of each view: what files say; where they name no test or no val, every `holdout`-th of the rest.

    In the order of names, the first included, test before val: the convention of LLFF's scenes (Mildenhall et al.
    2019), which Gaussian splatting's trainer follows.
    """
    found: list[ViewSplit] = [view.split or "train" for view in views]
    order = sorted(range(len(views)), key=lambda i: views[i].name)
    for split in _HELD_OUT:
        if split not in found:
            for i in [i for i in order if found[i] == "train"][::holdout]:
                found[i] = split
    return found


def checked_scene_lists(val: Sequence[str], test: Sequence[str]) -> dict[str, Any]:
    """The command line's --val-scenes and --test-scenes as values of a config: one number is a share.

    Raises ConfigError: a share outside 0 to 1.
    """
    found: dict[str, Any] = {}
    for key, words in (("val_scenes", val), ("test_scenes", test)):
        if not words:
            continue
        try:
            share = float(words[0]) if len(words) == 1 else None
        except ValueError:
            share = None
        if share is not None and not 0 <= share < 1:
            raise ConfigError(f"--{key.replace('_', '-')} {words[0]}: a share is at least 0 and below 1")
        found[key] = tuple(words) if share is None else share
    return found
