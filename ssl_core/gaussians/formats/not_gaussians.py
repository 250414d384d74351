"""Point clouds and meshes that people take for files of Gaussians: told by ending or header, with what to do."""

from collections.abc import Iterable
from itertools import islice
from pathlib import PurePosixPath

from ssl_core.gaussians.formats.gaussian_properties import NEEDED, XYZ
from ssl_core.gaussians.formats.ply_header import PlyHeader

_POINTS = (".pcd", ".las", ".laz", ".e57", ".xyz", ".pts", ".ptx", ".npy", ".npz", ".h5")
_MESHES = (".off", ".obj", ".stl", ".glb", ".gltf", ".fbx")

_OF_POINTS = (
    "points have no size, rotation or opacity: train Gaussians on pictures of the same object (3DGS trainers start "
    "from such points), or learn from the points themselves, which `splatsweep pack --points` packs (.pcd, .ply, .npy, "
    ".txt, .xyz, .pts, and .h5 of ModelNet40 and ScanObjectNN)"
)
_OF_MESHES = (
    "turn meshes into Gaussians with `splatsweep splat`, or pack points of their surfaces with `splatsweep pack "
    "--meshes` (.off, .obj, .stl, .ply, laid out as ModelNet's)"
)


def by_endings(names: Iterable[str]) -> str:
    """What the first file is that has a known ending, and what to do; empty where none has."""
    for name in names:
        ending = PurePosixPath(name).suffix.lower()
        if ending in _POINTS:
            return f"point cloud ({ending}), not Gaussians; {_OF_POINTS}"
        if ending in _MESHES:
            return f"mesh ({ending}), not Gaussians; {_OF_MESHES}"
    return ""


def is_points(header: PlyHeader) -> bool:
    """Whether a .ply has centres, nothing else of a Gaussian, and no faces."""
    return _has_centres_alone(header) and not _faces(header)


def by_header(header: PlyHeader) -> str:
    """What a .ply is that has centres and nothing else of a Gaussian, and what to do; empty for any other."""
    vertex = header.element("vertex")
    if vertex is None or not _has_centres_alone(header):
        return ""
    if faces := _faces(header):
        return f"mesh of {vertex.count:,} vertices (element '{faces[0]}'), not Gaussians; {_OF_MESHES}"
    names = islice((name for name in vertex.types if len(name) < 40 and name.isprintable()), 9)
    return f"point cloud of {vertex.count:,} points ({', '.join(names)}), not Gaussians; {_OF_POINTS}"


def _has_centres_alone(header: PlyHeader) -> bool:
    vertex = header.element("vertex")
    return vertex is not None and set(XYZ) <= vertex.types.keys() and vertex.types.keys().isdisjoint(NEEDED[len(XYZ) :])


def _faces(header: PlyHeader) -> list[str]:
    return [one.name for one in header.elements if one.name in ("face", "tristrips") and one.count]
