"""What a scene's cameras say, as facts for scripts and as text for people."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_core.data.scene_pack import VOID, ScenePack
from ssl_core.inspect.gaussian_facts import aligned, bounds_of, quantiles, vector_text
from ssl_core.scenes.cameras import CameraScene

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
SHOWN = 12
"""Different sizes and notes that the text lists."""


def describe_scene(scene: CameraScene) -> dict[str, Any]:
    """JSON-ready facts.

    Keys: `path`, `format`, `views`, `splits` (name -> count), `images_found`, `image_sizes` ("WxH" -> count), `focal`
    (pixels, across: quantile -> value), `field_of_view` (degrees, across), `lenses` (kind -> count), `positions` (low,
    high and extent of the camera centres), `looked_at` (the point nearest to all optical axes, None where they
    do not meet), `distance` (from the cameras to it), `points` (count, low, high, or None) and `notes`.
    """
    cameras = [view.camera for view in scene.views]
    positions = np.array([camera.position for camera in cameras])
    axes = np.array([camera.viewmat[2, :3] for camera in cameras])
    focal = np.array([camera.K[0, 0] for camera in cameras])
    widths = np.array([camera.width for camera in cameras])
    target = nearest_point(positions, axes)
    return {
        "path": str(scene.path),
        "format": scene.format,
        "views": len(cameras),
        "splits": dict(Counter(view.split for view in scene.views if view.split is not None)),
        "images_found": sum(view.image is not None for view in scene.views),
        "image_sizes": dict(Counter(f"{camera.width}x{camera.height}" for camera in cameras).most_common()),
        "focal": quantiles(focal, QUANTILES),
        "field_of_view": quantiles(np.degrees(2 * np.arctan(widths / (2 * focal))), QUANTILES),
        "lenses": dict(Counter("pinhole" if v.distortion is None else v.distortion.kind for v in scene.views)),
        "positions": _bounds(positions),
        "looked_at": None if target is None else target.tolist(),
        "distance": None if target is None else quantiles(np.linalg.norm(positions - target, axis=1), QUANTILES),
        "points": None if scene.points is None else {"count": len(scene.points), **_bounds(scene.points.xyz)},
        "notes": list(scene.notes),
    }


def describe_scene_pack(pack: ScenePack) -> dict[str, Any]:
    """`describe_scene` of the first scene, with views, splits and sizes of all; and `scenes` (name, split, views and
    points of each), `classes` (name -> share of the labelled pixels), `unlabelled` and `without_depth` (shares of the
    pixels, None without labels or depth), `digest`, `codec`, `masks`, `files` (name -> bytes), `bytes` and `refused`.
    """
    files = {name: facts.bytes for name, facts in pack.files.items()}
    views = pack.manifest.views
    sizes = Counter(f"{view.width}x{view.height}" for view in views)
    return {
        **describe_scene(pack.cameras_of()),
        "views": len(pack),
        "splits": dict(Counter(view.split for view in views)),
        "image_sizes": dict(sizes.most_common()),
        "images_found": len(pack),
        "scenes": [
            {"name": scene.name, "split": scene.split, "views": len(pack.views(scene=i)), "points": scene.points}
            for i, scene in enumerate(pack.scenes)
        ],
        **_label_facts(pack),
        "without_depth": _share_without_depth(pack),
        "digest": pack.digest,
        "codec": pack.manifest.config.codec,
        "masks": pack.mask(0) is not None,
        "files": files,
        "bytes": sum(files.values()),
        "refused": [item.model_dump() for item in pack.manifest.refused],
    }


def format_scene_pack(facts: dict[str, Any]) -> str:
    """The same for people."""
    masks = "with masks" if facts["masks"] else "no masks"
    head = f"pack {facts['path']} (digest {facts['digest']}, {facts['bytes'] / 2**20:.1f} MiB)"
    lines = [head, f"stored {facts['codec']}, {masks}", *content_lines(facts), format_scene(facts)]
    return "\n".join([*lines, *(f"refused {item['path']}: {item['reason']}" for item in facts["refused"][:SHOWN])])


def _label_facts(pack: ScenePack) -> dict[str, Any]:
    if not pack.classes:
        return {"classes": {}, "unlabelled": None}
    counts = np.zeros(VOID + 1, dtype=np.int64)
    for index in range(len(pack)):
        labels = pack.labels(index)
        assert labels is not None
        counts += np.bincount(labels.ravel(), minlength=VOID + 1)
    shares = counts / max(1, counts[:VOID].sum())
    classes = {name: round(float(share), 5) for name, share in zip(pack.classes, shares, strict=False)}
    return {"classes": classes, "unlabelled": round(float(counts[VOID] / counts.sum()), 5)}


def _share_without_depth(pack: ScenePack) -> float | None:
    depths = [pack.depth(index) for index in range(len(pack))]
    unknown = [float((depth == 0).mean()) for depth in depths if depth is not None]
    return round(float(np.mean(unknown)), 5) if unknown else None


def content_lines(facts: Mapping[str, Any]) -> list[str]:
    """Scenes, classes and depth, as far as there are any."""
    lines = []
    scenes = facts["scenes"]
    if len(scenes) > 1:
        splits = _counts(Counter(scene["split"] for scene in scenes))
        lines.append(f"{len(scenes)} scenes ({splits}); places and points below are those of {scenes[0]['name']!a}")
    if facts["classes"]:
        shares = sorted(facts["classes"].items(), key=lambda item: -item[1])
        shown = ", ".join(f"{name} {share:.1%}" for name, share in shares[:SHOWN])
        more = f" and {len(shares) - SHOWN} more" if len(shares) > SHOWN else ""
        lines.append(f"{len(shares)} classes: {shown}{more}; {facts['unlabelled']:.1%} of the pixels have none")
    if facts["without_depth"] is not None:
        lines.append(f"with depth; of {facts['without_depth']:.1%} of the pixels it is not known")
    return lines


def nearest_point(positions: NDArray[np.float64], axes: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """[3] point with the least squared distance to the lines positions [V, 3] + t axes [V, 3]; None when they are
    (nearly) parallel or there is one."""
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    total = across.sum(axis=0)
    if len(axes) < 2 or np.linalg.cond(total) > 1e6:
        return None
    found: NDArray[np.float64] = np.linalg.solve(total, np.einsum("vij,vj->i", across, positions))
    return found


def format_scene(facts: Mapping[str, Any]) -> str:
    """The same for people."""
    sizes = [f"{size.replace('x', ' x ')} ({count})" for size, count in facts["image_sizes"].items()]
    more = f" and {len(sizes) - SHOWN} more" if len(sizes) > SHOWN else ""
    splits = _counts(facts["splits"])
    views = f"{facts['views']:,}" + (f" ({splits})" if splits else "")
    rows = [
        ("cameras", f"{facts['path']} ({facts['format']})"),
        ("views", f"{views}, {facts['images_found']:,} with their image"),
        ("image sizes", ", ".join(sizes[:SHOWN]) + more),
        ("focal length", f"{_range(facts['focal'])} px, field of view {_range(facts['field_of_view'])}° across"),
    ]
    return aligned([*rows, *place_rows(facts), *(("note", note) for note in facts["notes"][:SHOWN])])


def place_rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values of the facts about lenses, places and points."""
    positions, points, target = facts["positions"], facts["points"], facts["looked_at"]
    rows = [
        ("lenses", _counts(facts["lenses"])),
        ("camera centres", f"{vector_text(positions['low'])} to {vector_text(positions['high'])}"),
    ]
    if target is not None:
        rows.append(("looking at", f"{vector_text(target)} from a distance of {_range(facts['distance'])}"))
    if points is not None:
        where = f", {vector_text(points['low'])} to {vector_text(points['high'])}" if points["count"] else ""
        rows.append(("sparse points", f"{points['count']:,}{where}"))
    return rows


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _bounds(xyz: NDArray[np.float64]) -> dict[str, Any]:
    return {name: vector for name, vector in bounds_of(xyz).items() if name != "centre"}


def _range(found: Mapping[str, float]) -> str:
    low, middle, high = found["0"], found["0.5"], found["1"]
    if math.isclose(low, high, rel_tol=1e-4):
        return f"{middle:.4g}"
    return f"{low:.4g} to {high:.4g} (median {middle:.4g})"
