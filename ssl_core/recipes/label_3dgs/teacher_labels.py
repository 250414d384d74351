"""The stage: what the teacher says of every view of the scene, once for all trials.

labels.safetensors   number of a view in the pack -> [H, W] uint8, 255 where it says nothing
classes.json         names and colours, in the order of the ids
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from ssl_core.config import parse_json
from ssl_core.data.scene_pack import VOID, SceneClass, ScenePack, ViewSplit
from ssl_core.errors import InfeasibleError
from ssl_core.packing.label_maps import CLASSES, ENDINGS, LabelClasses, decode_labels, read_classes
from ssl_core.recipes.label_3dgs.config import (
    FolderTeacher,
    Label3dgsConfig,
    OracleTeacher,
    ProbeTeacher,
    SceneTeacherConfig,
)
from ssl_core.recipes.label_3dgs.probe_teacher import check_probe, probe_labels
from ssl_core.training.contract import Stage
from ssl_core.training.stage_progress import tell_stage

LABELS = "labels.safetensors"
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class TeacherLabels:
    """What the stage holds."""

    classes: tuple[SceneClass, ...]
    maps: Mapping[int, Pixels]  # by number of the view in the pack; not of views that the teacher has no map of

    @classmethod
    def read(cls, folder: Path) -> "TeacherLabels":
        """From the stage's folder."""
        values = parse_json((folder / CLASSES).read_bytes())
        tensors = load_file(folder / LABELS)
        return cls(
            tuple(SceneClass.model_validate(each) for each in values),
            {int(name): tensor.numpy() for name, tensor in tensors.items()},
        )


def scene_number(pack: ScenePack, name: str) -> int:
    """Of a scene of the pack; without a name of its first one for training. Raises InfeasibleError."""
    names = [scene.name for scene in pack.scenes]
    if name and name not in names:
        raise InfeasibleError(
            f"teacher.scene '{name}': pack {pack.path} has {', '.join(names)[:200]}; name one of them"
        )
    return names.index(name) if name else (*pack.scenes_of("train"), 0)[0]


def check_teacher(config: SceneTeacherConfig, pack: ScenePack) -> None:
    """Cheap: no label map is decoded. Raises InfeasibleError, PackError."""
    scene = scene_number(pack, config.scene)
    match config.source:
        case OracleTeacher():
            if not pack.classes:
                raise InfeasibleError(
                    f"teacher.source=oracle corrupts true labels and pack {pack.path} has none; pack label maps with "
                    "the scene, or name a folder of your teacher's (teacher.source.kind=folder)"
                )
        case FolderTeacher(folder=folder):
            _classes_of(pack, Path(folder))
            splits: tuple[ViewSplit, ...] = ("train", "val")
            for split in splits:
                views = pack.views(split, scene).tolist()
                if not any(_map_file(Path(folder), pack, view) for view in views):
                    name = pack.manifest.views[views[0]].name if views else "none"
                    raise InfeasibleError(
                        f"{folder}: has no label map of any {split} view of scene '{pack.scenes[scene].name}' (views "
                        f"are called as {name!a}); name maps after their views, with .png or .npy"
                    )
        case ProbeTeacher() as probe:
            check_probe(probe, pack, scene)
        case _:
            assert_never(config.source)


def make_labels(config: Label3dgsConfig, pack: ScenePack, folder: Path, device: torch.device) -> None:
    """Write the stage. Raises InfeasibleError, ImageError, PackError: maps or classes that do not fit the pack."""
    teacher = config.teacher
    views = pack.views(scene=scene_number(pack, teacher.scene)).tolist()
    match teacher.source:
        case OracleTeacher() as oracle:
            classes = pack.manifest.classes
            found = {view: corrupted(labels, oracle, len(classes), view) for view, labels in _true(pack, views)}
        case FolderTeacher(folder=place):
            known = _classes_of(pack, Path(place))
            classes, found = known.classes, {}
            for done, view in enumerate(views):
                if file := _map_file(Path(place), pack, view):
                    found[view] = _read_map(file, known, pack, view)
                tell_stage(done + 1, len(views))
        case ProbeTeacher() as probe:
            classes, found = pack.manifest.classes, probe_labels(probe, pack, np.array(views), device)
        case _:
            assert_never(teacher.source)
    save_file({str(view): torch.from_numpy(labels.copy()) for view, labels in found.items()}, folder / LABELS)
    (folder / CLASSES).write_text(json.dumps([each.model_dump(mode="json") for each in classes], indent=1))


def corrupted(labels: Pixels, oracle: OracleTeacher, classes: int, view: int) -> Pixels:
    """[H, W] as a teacher of the oracle's quality would see it; void stays void.

    First regions grow over each other, in an order of the classes that is drawn for the view; then blocks of a grid get
    a class drawn for each, which may be the true one.
    """
    rng = np.random.default_rng([oracle.seed, view])
    rank = np.array([*(1 + rng.permutation(classes)), 0], np.int64)  # void never grows
    ranks = rank[np.minimum(labels, classes)]
    reach = oracle.dilation
    if reach:
        padded = np.pad(ranks, reach)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * reach + 1, 2 * reach + 1))
        ranks = windows.max(axis=(2, 3))
    of_rank = np.empty(classes + 1, np.uint8)
    of_rank[rank] = np.array([*range(classes), VOID], np.uint8)
    found = of_rank[ranks]
    grid = tuple(-(-side // oracle.block) for side in labels.shape)
    hit = _enlarged(rng.random(grid) < oracle.noise, oracle.block, labels.shape)
    drawn = _enlarged(rng.integers(0, classes, grid), oracle.block, labels.shape)
    answer: Pixels = np.where(labels == VOID, VOID, np.where(hit, drawn, found)).astype(np.uint8)
    return answer


def _enlarged(blocks: NDArray[Any], side: int, shape: tuple[int, ...]) -> NDArray[Any]:
    """Each of [h, w] as a square of `side` pixels, cut to a shape."""
    return blocks.repeat(side, 0).repeat(side, 1)[: shape[0], : shape[1]]


def _true(pack: ScenePack, views: list[int]) -> list[tuple[int, Pixels]]:
    return [(view, labels) for view in views if (labels := pack.labels(view)) is not None]


def _classes_of(pack: ScenePack, folder: Path) -> LabelClasses:
    """Of the teacher's folder; the pack's own, where it has labels, must be the same."""
    file = folder / CLASSES
    if not file.is_file():
        raise InfeasibleError(f'{file}: is not there; it names the classes of the maps: ["wall", "floor"]')
    known = read_classes(file)
    names = tuple(each.name for each in known.classes)
    if pack.classes and names != pack.classes:
        raise InfeasibleError(
            f"{file} and pack {pack.path} disagree on the classes: {', '.join(names)[:100]} there, "
            f"{', '.join(pack.classes)[:100]} here; give both the same ones in the same order"
        )
    return known


def _map_file(folder: Path, pack: ScenePack, view: int) -> Path | None:
    """The teacher's map of a view, by the view's name with or without its folders and ending."""
    facts = pack.manifest.views[view]
    name = PurePosixPath(facts.name)
    scene = folder / pack.scenes[facts.scene].name
    stems = dict.fromkeys((name.name, name.stem, str(name.with_suffix(""))))
    for place in (scene, folder):
        for stem in stems:
            for ending in ENDINGS[1:]:
                if (file := place / f"{stem}{ending}").is_file():
                    return file
    return None


def _read_map(file: Path, classes: LabelClasses, pack: ScenePack, view: int) -> Pixels:
    labels = decode_labels(file.read_bytes(), file, classes)
    facts = pack.manifest.views[view]
    if labels.shape != (facts.height, facts.width):
        raise InfeasibleError(
            f"{file}: is {labels.shape[1]} x {labels.shape[0]}, its picture in the pack {facts.width} x "
            f"{facts.height}; resize the map without interpolation, or pack the scene in its size"
        )
    return labels


def _settings(config: Label3dgsConfig) -> SceneTeacherConfig:
    return config.teacher


TEACHER = Stage("teacher", _settings, make_labels)
