"""Where data sets keep their files, and what is wrong with a folder that claims to be one.

    POINTS/<class>/<split>/<object>/point_cloud/iteration_N/point_cloud.ply   cross-modal reference; highest N
    POINTS/<class>/<split>/<object>/point_cloud.ply                           ModelNet_Splats
    POINTS/<category>-<object>.ply with POINTS/train.txt and test.txt         ShapeSplat
    IMAGES/<class>/<split>/<object>/images/000.png ...                        cross-modal reference
    IMAGES/<class>/<split>/<object>/masks/000.png ... and cameras.json        optional, beside the views
    POINTS/<class>/<split>/<object>.pcd                                       plain points or Gaussians, of any ending
    POINTS/<class>/<object>.txt with modelnet40_train.txt ..., or .h5 files   ModelNet40, ScanObjectNN (layout_modelnet)
    POINTS/<synset>/<model>/pcl_1024_fps_trimesh.npy and
    IMAGES/<synset>/<model>/{render_0.png, mask_0.png, ..., view.txt}         renders of ShapeNet (layout_renders)
    MESHES/<class>/<split>/<name>.off                                         ModelNet; also .obj, .stl, .ply

POINTS, IMAGES and MESHES are folders, .zip archives, or folders of .zip archives, which are read in place (`listing`).
Gaussians and points may have any of the endings `point_cloud.POINT_SUFFIXES`; an object with several counts once, by
the first of them. Folders and files whose names start with a dot are never looked at. Whatever does not fit is a
`Problem`; a person decides whether to go on without it.
"""

from pathlib import Path, PurePosixPath

from ssl_core.errors import LayoutError
from ssl_core.gaussians.formats.not_gaussians import by_endings
from ssl_core.gaussians.gaussian_cloud import SUFFIXES
from ssl_core.meshes.mesh_file import MESH_SUFFIXES
from ssl_core.packing.layout_modelnet import h5_files, h5_objects, has_class_lists, listed_objects
from ssl_core.packing.layout_reference import ViewFiles, has_splits, places, reference_objects
from ssl_core.packing.layout_renders import has_renders, list_lists, rendered_objects
from ssl_core.packing.layout_shapesplat import has_flat_files, shapesplat_objects
from ssl_core.packing.listing import Listing, list_tree
from ssl_core.packing.objects import SAFE_NAME as SAFE_NAME
from ssl_core.packing.objects import SPLITS as SPLITS
from ssl_core.packing.objects import MeshObject as MeshObject
from ssl_core.packing.objects import Problem as Problem
from ssl_core.packing.objects import SplatObject as SplatObject
from ssl_core.packing.objects import stamp_of as stamp_of

POINTS_LAYOUT = (
    "<class>/<train|test>/<object>/point_cloud/iteration_N/point_cloud.ply, "
    "<class>/<train|test>/<object>/point_cloud.ply, <class>/<train|test>/<object>.pcd, "
    "or <category>-<object>.ply with train.txt and test.txt"
)
MESH_LAYOUT = "<class>/<train|test>/<name>.off"


def ply_path(points: Path, class_name: str, split: str, name: str, iteration: int = 30000) -> Path:
    """Where the cross-modal reference keeps an object's Gaussians."""
    return points / class_name / split / name / "point_cloud" / f"iteration_{iteration}" / "point_cloud.ply"


def view_path(images: Path, class_name: str, split: str, name: str, index: int) -> Path:
    """Where the cross-modal reference keeps an object's view number `index`."""
    return images / class_name / split / name / "images" / f"{index:03d}.png"


def mask_path(images: Path, class_name: str, split: str, name: str, index: int) -> Path:
    """Where the mask of an object's view number `index` stands."""
    return images / class_name / split / name / "masks" / f"{index:03d}.png"


def cameras_path(images: Path, class_name: str, split: str, name: str) -> Path:
    """Where the cameras of an object's views stand."""
    return images / class_name / split / name / "cameras.json"


def find_objects(
    points: Path, images: Path | None, splits: Path | None = None
) -> tuple[list[SplatObject], list[Problem]]:
    """All objects under `points` with their views under `images`, sorted by key, and what cannot be used.

    Without `images` every object has no views and that is no problem. No file of Gaussians and no picture is opened.

    Args:
        points: folder or .zip archive; of an archive that holds `points/` beside others, that folder.
        images: the same for views, and `images/`.
        splits: folder, archive or file of split lists, of renders with view.txt alone.

    Raises:
        LayoutError: a folder is missing, an archive is damaged, split lists are missing, or no object is found; lists
            are given for a set that is read without.
    """
    listing = _listed(Path(points), "points")
    views = None if images is None else ViewFiles(_listed(Path(images), "images"))
    renders = views is not None and not has_splits(listing) and has_renders(views.listing)
    if splits is not None and not renders:
        raise LayoutError(f"{splits}: lists are given for renders with view.txt alone (--images); leave --splits out")
    if views is not None and renders:
        objects, problems = rendered_objects(listing, views.listing, None if splits is None else list_lists(splits))
    elif not has_splits(listing) and has_class_lists(listing):
        objects, problems = listed_objects(listing, views)
    elif not has_splits(listing) and h5_files(listing):
        objects, problems = h5_objects(listing, views)
    elif has_splits(listing) or not has_flat_files(listing):
        objects, problems = reference_objects(listing, views)
    else:
        objects, problems = shapesplat_objects(listing, views)
    problems = [*listing.problems, *([] if views is None else views.listing.problems), *problems]
    if not objects:
        raise LayoutError(_nothing_found(listing, POINTS_LAYOUT, problems))
    return sorted(objects, key=lambda found: found.key), problems


def find_meshes(root: Path) -> tuple[list[MeshObject], list[Problem]]:
    """All meshes under `root`, a folder, a .zip or a folder of .zips, sorted by key, and what cannot be used.

    Of several files of one name the first of MESH_SUFFIXES counts.

    Raises:
        LayoutError: the folder is missing, an archive is damaged, or no mesh is found.
    """
    listing = list_tree(Path(root))
    problems = list(listing.problems)
    wanted = [path for path in listing.files if path.count("/") == 2 and path.lower().endswith(MESH_SUFFIXES)]
    best: dict[str, tuple[int, MeshObject]] = {}
    for at in places(listing, wanted, problems):
        path = PurePosixPath(at.name)
        mesh = MeshObject(at.class_name, at.split, path.stem, listing.files["/".join(at)])
        rank = MESH_SUFFIXES.index(path.suffix.lower())
        if mesh.key not in best or rank < best[mesh.key][0]:
            best[mesh.key] = (rank, mesh)
    if not best:
        raise LayoutError(_nothing_found(listing, MESH_LAYOUT, problems))
    return [mesh for _, (_, mesh) in sorted(best.items())], problems


def _listed(root: Path, part: str) -> Listing:
    """The tree; of an archive of a whole data set, its part `points` or `images`."""
    listing = list_tree(root)
    inside = listing.archive and part in listing.folders and not has_splits(listing)
    return listing.inside(part) if inside else listing


def _has_gaussians(listing: Listing) -> bool:
    return any(path.lower().endswith(SUFFIXES) for path in listing.files)


def _nothing_found(listing: Listing, expected: str, problems: list[Problem]) -> str:
    """One line: what was looked for, and the first problem or what lies there instead."""
    root, names = listing.root, sorted({path.partition("/")[0] for path in (*listing.folders, *listing.files)})
    others = by_endings(listing.files) if expected == POINTS_LAYOUT and not _has_gaussians(listing) else ""
    deeper = sorted({path.rpartition("/")[0] for path in listing.files if path.lower().endswith(".h5")})
    if deeper and expected == POINTS_LAYOUT:
        instead = f"it holds .h5 files in {', '.join(deeper[:3])}: give that folder"
    elif others:
        instead = f"it holds a {others}"
    elif "points" in listing.folders:
        instead = f"give {root}/points"
    elif "train" in listing.folders:
        instead = f"it looks like one class: give {Path(root).parent}"
    elif problems:
        instead = f"{len(problems)} problems, first: {problems[0].path}: {problems[0].reason}"
    else:
        instead = f"it holds {', '.join(map(ascii, names[:5]))}" if names else "it is empty"
    return f"{root}: no object found ({instead}); expected {expected}"
