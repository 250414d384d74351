"""Meshes with part labels as scenes: views from all around, with the part of each pixel.

MESHES/<class>/<name>.off with <name>_labels.txt      Princeton Segmentation Benchmark (Chen et al. 2009), as labelled
                                                      by Kalogerakis et al. 2010: a part's name on a line, then the
                                                      numbers of its faces, from 1
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ssl_core.config import Config
from ssl_core.data.scene_pack import VOID, ScenePackConfig
from ssl_core.errors import LayoutError, MeshError
from ssl_core.files.whole import atomic_write
from ssl_core.meshes.mesh import Mesh, decode_off_faces
from ssl_core.meshes.surface_patterns import PATTERNS, class_material
from ssl_core.packing.scene_plan import SCENES, scene_splits
from ssl_core.render.shaded_views import Light, ShadedMesh
from ssl_core.scenes.cameras import orbit_cameras
from ssl_core.splatting.scene_folder import DrawnScene, is_whole, write_drawn_scene

Progress = Callable[[int, int], None]

SETTINGS = "part_scenes.json"
ALL_AROUND = (-30.0, 70.0)
"""Elevations of the cameras in degrees."""


class PartScenesConfig(Config):
    """How part-labelled meshes become scenes."""

    views: int = Field(default=24, ge=3, le=999)
    image_size: int = Field(default=96, ge=8, le=2048, description="side of the pictures in pixels")
    points: int = Field(default=2000, ge=16, le=1_000_000, description="points of the surface per scene")
    limit: int = Field(default=0, ge=0, description="at most so many meshes per class; 0 is all")
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class LabelledMesh:
    """A mesh's file and that of its parts."""

    class_name: str
    mesh: Path
    labels: Path

    @property
    def name(self) -> str:
        """The scene's folder."""
        return f"{self.class_name}_{self.mesh.stem}"


def make_part_scenes(
    meshes: Path, out: Path, config: PartScenesConfig, progress: Progress | None = None
) -> list[LabelledMesh]:
    """Write a scene per mesh, and scenes.json; scenes that are whole are not made again.

    All scenes share their classes: `<class> <part>` in lower case. An object has one colour and texture, so that parts
    are told by shape alone.

    Raises:
        LayoutError: no labelled mesh is found, or `out` holds scenes of other settings or meshes.
        MeshError: a mesh or its labels cannot be read.
        StorageError: the disk is full or not writable.
    """
    items = find_labelled_meshes(meshes, config.limit)
    record = out / SETTINGS
    text = json.dumps({"config": config.model_dump(), "meshes": [item.name for item in items]}, indent=1)
    if record.exists() and record.read_text() != text:
        raise LayoutError(f"{out}: holds scenes of other settings or meshes; choose another folder, or delete this one")
    with atomic_write(record) as stream:
        stream.write(text.encode())
    parts = {item: read_parts(item.labels) for item in items}
    classes = sorted({class_of(item, part) for item, of_item in parts.items() for part in of_item})
    names = [item.name for item in items]
    splits = scene_splits(names, [None] * len(names), ScenePackConfig())
    with atomic_write(out / SCENES) as stream:
        stream.write(json.dumps(dict(zip(names, splits, strict=True)), indent=1).encode())
    for number, item in enumerate(items):
        if not is_whole(out / item.name):
            _write_scene(out / item.name, item, (parts[item], classes), config, number)
        if progress is not None:
            progress(number + 1, len(items))
    return items


def find_labelled_meshes(root: Path, limit: int = 0) -> list[LabelledMesh]:
    """All under `root`, sorted. Raises LayoutError: there is none."""
    found: list[LabelledMesh] = []
    for folder in sorted(place for place in root.glob("*") if place.is_dir()):
        pairs = ((file, file.with_name(f"{file.stem}_labels.txt")) for file in sorted(folder.glob("*.off")))
        of_class = [LabelledMesh(folder.name, mesh, labels) for mesh, labels in pairs if labels.is_file()]
        found += of_class[: limit or None]
    if len(found) < 2:
        raise LayoutError(
            f"{root}: holds {len(found)} labelled meshes; expected <class>/<name>.off and <name>_labels.txt"
        )
    return found


def read_parts(file: Path) -> dict[str, NDArray[np.int64]]:
    """Name of each part -> numbers of its faces, from 0. Raises MeshError: the file is no such list."""
    found: dict[str, list[int]] = {}
    name = ""
    for number, line in enumerate(file.read_text(errors="replace").splitlines(), start=1):
        words = line.split()
        if words and all(word.isdecimal() and len(word) < 10 for word in words) and name:
            found[name] += [int(word) - 1 for word in words]
        elif len(words) == 1 and words[0].isprintable() and len(words[0]) < 60 and not words[0].isdecimal():
            name = words[0]
            found.setdefault(name, [])
        elif words:
            raise MeshError(f"{file}: line {number} is neither a part's name nor numbers of faces; replace the file")
    if not any(found.values()):
        raise MeshError(f"{file}: labels no face; replace the file")
    return {part: np.array(faces, np.int64) for part, faces in found.items()}


def labelled_mesh(
    item: LabelledMesh, parts: dict[str, NDArray[np.int64]], classes: Sequence[str]
) -> tuple[Mesh, NDArray[np.uint8]]:
    """The mesh in the unit sphere and the class of each face [F], VOID for none.

    Raises MeshError: the mesh cannot be read, or the labels name a face that it does not have, or one face twice.
    """
    try:
        mesh, of, faces_in_file = decode_off_faces(item.mesh.read_bytes())
    except (OSError, MeshError) as error:
        raise MeshError(f"{item.mesh}: {error}") from None
    labels = np.full(faces_in_file, VOID, np.uint8)
    for part, faces in parts.items():
        if faces.min(initial=0) < 0 or faces.max(initial=0) >= len(labels):
            bad = int(faces.max() if faces.min() >= 0 else faces.min()) + 1
            raise MeshError(f"{item.labels}: {part!a} has face {bad} of {len(labels)} in {item.mesh.name}; replace it")
        if len(np.unique(faces)) < len(faces) or (labels[faces] != VOID).any():
            raise MeshError(f"{item.labels}: {part!a} names a face twice, or that of another part; replace the file")
        labels[faces] = classes.index(class_of(item, part))
    return mesh.normalised(), labels[of]


def class_of(item: LabelledMesh, part: str) -> str:
    """The class of a part of an object."""
    return f"{item.class_name} {part}".lower()


def _write_scene(
    folder: Path,
    item: LabelledMesh,
    labels: tuple[dict[str, NDArray[np.int64]], Sequence[str]],
    config: PartScenesConfig,
    number: int,
) -> None:
    mesh, of_face = labelled_mesh(item, *labels)
    rng = np.random.default_rng([config.seed, number])
    material = class_material(int(rng.integers(PATTERNS)), rng, np.zeros(3), 0.0)
    lamps = [Light(place, np.full(3, 1.1), 3.0) for place in np.array([[2.0, 1.5, 2.5], [-2.5, -1.0, 1.0]])]
    shaded = ShadedMesh(mesh, np.zeros(len(mesh.faces), np.int64), [material], lamps, 0.4)
    cameras = orbit_cameras(config.views, config.image_size, seed=config.seed, elevations=ALL_AROUND)
    write_drawn_scene(folder, DrawnScene(shaded, of_face, labels[1], cameras), config.points, rng)
