"""The readers under test: what each reads, what it may raise, and how its answer is checked."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fuzz_seeds as seeds
import fuzz_twins as twins
from fuzz_mutations import Case

from ssl_core.errors import (
    CameraError,
    DataError,
    GaussianFileError,
    ImageError,
    LayoutError,
    MeshError,
    PackError,
    PlyError,
)


@dataclass(frozen=True)
class Target:
    """One reader.

    Args:
        cases: whole inputs to mutate, as folders.
        read: the call under test, given the folder.
        check: raises `WrongAnswerError` when the answer is not what the files hold.
        refusals: errors it may raise.
        weight: share of the inputs.
    """

    cases: Callable[[], list[Case]]
    read: Callable[[Path], Any]
    check: Callable[[Path, Any], None]
    refusals: tuple[type[Exception], ...]
    weight: int = 2


def _gaussians(name: str) -> Callable[[Path], Any]:
    """As a person does: where it is bad rows that are refused, once more without them."""

    def read(folder: Path) -> Any:
        from ssl_core.gaussians.gaussian_file import read_gaussians

        try:
            return read_gaussians(folder / name)
        except GaussianFileError as error:
            refusal = str(error)
            if "--drop-bad-rows" not in refusal:
                raise
        assert str(folder / name) in refusal
        assert refusal.isprintable()
        found = read_gaussians(folder / name, drop_bad_rows=True)
        assert len(found.dropped)
        return found

    return read


def _image(folder: Path) -> Any:
    from ssl_core.files.image_files import read_image

    (file,) = folder.iterdir()
    return read_image(file)


def _mesh(folder: Path) -> Any:
    from ssl_core.meshes.mesh_file import read_mesh

    return read_mesh(folder / "mesh.off")


def _scene(folder: Path) -> Any:
    from ssl_core.scenes.camera_files import read_scene

    return read_scene(folder)


def _data_set(folder: Path) -> Any:
    from ssl_core.files.source import read_bytes
    from ssl_core.packing.layout import find_objects

    found = find_objects(folder / "set.zip", None)
    for item in found[0]:
        for source in (item.gaussians, *item.views):
            with suppress(DataError):  # a damaged member is refused when it is read
                read_bytes(source, 2**20)
    return found


def _split_lists(folder: Path) -> Any:
    from ssl_core.packing.layout import find_objects

    return find_objects(folder, None)


def _pack(folder: Path) -> Any:
    from ssl_core.data.object_pack import Pack

    pack = Pack.open(folder)
    pack.objects("fit")
    for item in pack.manifest.objects:
        pack.views[item.first_view : item.first_view + item.views]  # encoded ones are decoded now
    return pack


def _view_maps(folder: Path) -> Any:
    from ssl_core.files.source import FileSource, read_bytes
    from ssl_core.packing.depth_maps import decode_depth
    from ssl_core.packing.label_maps import decode_labels, read_classes

    classes = read_classes(folder / "classes.json")
    files = {file.stem: file for file in folder.iterdir()}
    labels, depth = (files.get(stem, folder / stem) for stem in ("labels", "depth"))
    found = decode_labels(read_bytes(FileSource(labels), 2**20), labels, classes)
    return found, decode_depth(read_bytes(FileSource(depth), 2**20), depth, 0.25), classes


def _scene_pack(folder: Path) -> Any:
    from ssl_core.data.scene_pack import ScenePack

    return ScenePack.open(folder)


_PLY = (PlyError, GaussianFileError, DataError)
_FILE = (GaussianFileError, DataError)

TARGETS: dict[str, Target] = {
    "ply": Target(seeds.ply_cases, _gaussians("cloud.ply"), twins.check_ply, _PLY, 6),
    "compressed ply": Target(seeds.compressed_ply_cases, _gaussians("cloud.ply"), twins.check_ply, _PLY, 3),
    "splat": Target(seeds.splat_cases, _gaussians("cloud.splat"), twins.check_splat, _FILE, 2),
    "ksplat": Target(seeds.ksplat_cases, _gaussians("cloud.ksplat"), twins.check_ksplat, _FILE, 3),
    "spz": Target(seeds.spz_cases, _gaussians("cloud.spz"), twins.check_spz, _FILE, 4),
    "spz and ply": Target(seeds.spz_and_ply_cases, _gaussians("cloud.spz"), twins.check_spz, _FILE, 2),
    "sog folder": Target(seeds.sog_folder_cases, _gaussians("meta.json"), twins.check_sog_folder, _FILE, 2),
    "sog": Target(seeds.sog_cases, _gaussians("cloud.sog"), twins.check_sog, _FILE, 4),
    "images": Target(seeds.image_cases, _image, twins.check_image, (ImageError,), 4),
    "meshes": Target(seeds.mesh_cases, _mesh, twins.check_mesh, (MeshError,), 3),
    "camera json": Target(seeds.json_camera_cases, _scene, twins.check_scene, (CameraError,), 3),
    "colmap": Target(seeds.colmap_cases, _scene, twins.check_scene, (CameraError,), 4),
    "zip data sets": Target(seeds.data_set_cases, _data_set, twins.check_data_set, (LayoutError,), 3),
    "split lists": Target(seeds.split_list_cases, _split_lists, twins.check_split_lists, (LayoutError,), 2),
    "view maps": Target(seeds.view_map_cases, _view_maps, twins.check_view_maps, (DataError, ImageError, PackError), 2),
    "scene packs": Target(seeds.scene_pack_cases, _scene_pack, twins.check_scene_pack, (PackError,), 2),
    "packs": Target(seeds.pack_cases, _pack, twins.check_pack, (PackError, ImageError), 3),
}
