"""Slow, independent readings of what the fast readers accept: they compare, and raise when the answers differ."""

import io
import json
import math
import re
import struct
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


class WrongAnswerError(Exception):
    """The reader gave something else than the file holds."""


class TwinDeclinedError(Exception):
    """The twin cannot read it; nothing is known about the reader's answer."""


FIELDS = ("xyz", "opacity_logits", "log_scales", "quaternions", "sh_dc", "sh_rest")


def check_cloud(found: Any) -> None:
    """What holds for every cloud: finite, rotations that exist, shapes that belong together."""
    cloud = found.cloud
    if len(cloud) == 0:
        raise WrongAnswerError("no Gaussians")
    for field in FIELDS:
        array = getattr(cloud, field)
        if len(array) != len(cloud) or array.dtype != np.float32 or not np.isfinite(array).all():
            raise WrongAnswerError(f"{field} is {array.dtype} {array.shape}, or not finite")
    if not cloud.quaternions.any(axis=1).all():
        raise WrongAnswerError("a zero quaternion")


def same(name: str, ours: Any, theirs: Any, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    ours, theirs = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    if ours.shape != theirs.shape:
        raise WrongAnswerError(f"{name} has shape {ours.shape}, the twin {theirs.shape}")
    if not np.allclose(ours, theirs, rtol=rtol, atol=atol):
        worst = int(np.argmax(np.abs(ours - theirs)))
        raise WrongAnswerError(f"{name} differs, worst at {worst}: {ours.flat[worst]} and {theirs.flat[worst]}")


MOST = 1e9
END = math.log(1 - 1 / 510) - math.log(1 / 510)


def kept_rows(found: Any, **columns: Any) -> dict[str, np.ndarray]:
    """The twin's rows [N, ...] by the names of FIELDS, as float32, without those that no Gaussian may have.

    A row may not have a value that is no number or beyond a billion, a log-scale outside -40 to 20, or a quaternion of
    zeros; opacities of exactly 0 or 1 are read as 1/510 within. The reader must have dropped these very rows.
    """
    with np.errstate(over="ignore"):
        table = {name: np.asarray(values).astype(np.float32) for name, values in columns.items()}
    logits = table["opacity_logits"]
    table["opacity_logits"] = np.where(np.abs(logits) > MOST, np.copysign(np.float32(END), logits), logits)
    good = table["quaternions"].any(axis=1)
    for name, values in table.items():
        low, high = (-40, 20) if name == "log_scales" else (-MOST, MOST)
        good &= ((values >= low) & (values <= high)).reshape(len(good), -1).all(axis=1)
    if found.dropped.tolist() != np.flatnonzero(~good).tolist():
        raise WrongAnswerError(f"dropped rows {found.dropped[:9]}, the twin {np.flatnonzero(~good)[:9]}")
    return {name: values[good] for name, values in table.items()}


def same_rows(found: Any, rows: dict[str, np.ndarray], **tolerance: tuple[float, float]) -> None:
    """The reader's arrays are the twin's; `tolerance` is (relative, absolute) where it is not the usual one."""
    for name, values in rows.items():
        same(name, getattr(found.cloud, name), values, *tolerance.get(name, (1e-5, 1e-6)))


def check_ply(folder: Path, found: Any) -> None:
    """Against plyfile."""
    from plyfile import PlyData

    check_cloud(found)
    if found.format == "compressed_ply":
        return check_compressed_ply(folder, found)
    try:
        rows = PlyData.read(str(folder / "cloud.ply"), mmap=False)["vertex"].data
    except Exception as error:
        raise TwinDeclinedError(f"plyfile: {error}") from None
    stored = sum(re.fullmatch(r"f_rest_\d+", name) is not None for name in rows.dtype.names) // 3

    def column(*names: str) -> np.ndarray:
        return np.stack([rows[name] for name in names], axis=-1).astype(np.float64)

    scales = column("scale_0", "scale_1").astype(np.float32)
    third = scales.min(1, keepdims=True) - math.log(1000)
    if "scale_2" in rows.dtype.names:
        third = column("scale_2")
    rest = np.zeros((len(rows), min(stored, 15), 3))
    for channel in range(3):
        for k in range(min(stored, 15)):
            rest[:, k, channel] = rows[f"f_rest_{channel * stored + k}"]
    expected = kept_rows(
        found,
        xyz=column("x", "y", "z"),
        opacity_logits=rows["opacity"],
        log_scales=np.concatenate([scales, third], axis=1),
        quaternions=column(*(f"rot_{i}" for i in range(4))),
        sh_dc=column(*(f"f_dc_{i}" for i in range(3))),
        sh_rest=rest,
    )
    return same_rows(found, expected)


def check_compressed_ply(folder: Path, found: Any) -> None:
    """One word at a time, by plyfile's elements and SuperSplat's description."""
    from plyfile import PlyData

    try:
        parsed = PlyData.read(str(folder / "cloud.ply"), mmap=False)
    except Exception as error:
        raise TwinDeclinedError(f"plyfile: {error}") from None
    chunks, vertices = parsed["chunk"].data, parsed["vertex"].data
    if len(vertices) > 3000:
        raise TwinDeclinedError("too many rows to look at one by one")
    table: dict[str, list[Any]] = {name: [] for name in FIELDS[:-1]}
    for i, row in enumerate(vertices):
        chunk = chunks[i // 256]
        for what, word, field in (("", "position", "xyz"), ("scale_", "scale", "log_scales")):
            packed = int(row[f"packed_{word}"])
            shares = (packed >> 21) / 2047, (packed >> 11 & 1023) / 1023, (packed & 2047) / 2047
            ends = [(float(chunk[f"min_{what}{axis}"]), float(chunk[f"max_{what}{axis}"])) for axis in "xyz"]
            table[field].append([low * (1 - t) + high * t for (low, high), t in zip(ends, shares, strict=True)])
        packed = int(row["packed_rotation"])
        three = [((packed >> shift & 1023) / 1023 - 0.5) * math.sqrt(2) for shift in (20, 10, 0)]
        three.insert(packed >> 30, math.sqrt(max(0.0, 1 - sum(v * v for v in three))))
        table["quaternions"].append(three)
        packed = int(row["packed_color"])
        rgb = [(packed >> shift & 255) / 255 for shift in (24, 16, 8)]
        if "min_r" in chunks.dtype.names:
            rgb = [
                float(chunk[f"min_{c}"]) * (1 - v) + float(chunk[f"max_{c}"]) * v
                for c, v in zip("rgb", rgb, strict=True)
            ]
        table["sh_dc"].append([(v - 0.5) / 0.28209479177387814 for v in rgb])
        table["opacity_logits"].append(_logit((packed & 255) / 255))
    same_rows(found, kept_rows(found, **table), sh_dc=(1e-4, 1e-6))


def _logit(alpha: float) -> float:
    """Of an 8-bit alpha, whose ends are taken half a step inside."""
    inside = min(max(alpha, 1 / 510), 1 - 1 / 510)
    return math.log(inside / (1 - inside))


def check_splat(folder: Path, found: Any) -> None:
    check_cloud(found)
    records = list(struct.iter_unpack("<6f8B", (folder / "cloud.splat").read_bytes()))
    expected = kept_rows(
        found,
        xyz=[values[:3] for values in records],
        log_scales=[[_log(v) for v in values[3:6]] for values in records],
        sh_dc=[[(v / 255 - 0.5) / 0.28209479177387814 for v in values[6:9]] for values in records],
        opacity_logits=[_logit(values[9] / 255) for values in records],
        quaternions=[[(v - 128) / 128 for v in values[10:]] for values in records],
    )
    same_rows(found, expected, log_scales=(1e-5, 1e-5))


def _log(value: float) -> float:
    """Of a standard deviation, which a damaged file may have as zero, negative or no number."""
    if value > 0:
        return math.log(value) if value < math.inf else math.inf
    return -math.inf if value == 0 else math.nan


def check_ksplat(folder: Path, found: Any) -> None:
    from plain_ksplat import decode_ksplat

    check_cloud(found)
    try:
        twin = decode_ksplat((folder / "cloud.ksplat").read_bytes())
    except Exception as error:
        raise TwinDeclinedError(f"plain_ksplat: {type(error).__name__} {error}") from None
    rest = np.zeros((len(twin), found.cloud.sh_rest.shape[1], 3))
    for i, one in enumerate(twin):  # a section of lower degree than another has zeros above
        rest[i, : len(one["sh"])] = one["sh"] or rest[i, :0]
    expected = kept_rows(
        found,
        xyz=[one["xyz"] for one in twin],
        opacity_logits=[_logit(one["alpha"]) for one in twin],
        log_scales=[one["log_scales"] for one in twin],
        sh_dc=[one["dc"] for one in twin],
        quaternions=[one["wxyz"] for one in twin],
        sh_rest=rest,
    )
    same_rows(found, expected, xyz=(1e-4, 1e-5), log_scales=(1e-5, 1e-5))


# y and z of the file point the other way: the functions of degree 1 to 3 that are odd in y and z together
_TURNED = (-1, -1, 1, -1, 1, 1, -1, 1, -1, 1, -1, -1, 1, -1, 1)


def check_spz(folder: Path, found: Any) -> None:
    from plain_spz import decode_spz

    check_cloud(found)
    content = (folder / "cloud.spz").read_bytes()
    try:
        twin = decode_spz(content)
    except Exception as error:
        raise TwinDeclinedError(f"plain_spz: {type(error).__name__} {error}") from None
    turned = not _has_extensions(content)  # these may name other axes
    kept = "a .ply (RDF)" in found.notes[0] and turned  # which only the .ply beside it can say here
    if kept and not (folder / "cloud.ply").is_file():
        raise WrongAnswerError(f"nobody says so: {found.notes[0]}")
    turn = 1 if kept else -1
    rest = np.array([one["sh"] for one in twin]).reshape(len(twin), -1, 3)[:, :15]
    rows = kept_rows(
        found,
        xyz=np.array([one["xyz"] for one in twin]) * (1, turn, turn),
        opacity_logits=[_logit(one["alpha"]) for one in twin],
        log_scales=[one["log_scales"] for one in twin],
        sh_dc=[one["dc"] for one in twin],
        quaternions=np.array([one["wxyz"] for one in twin]) * (1, 1, turn, turn),
        sh_rest=rest if kept else rest * np.array(_TURNED)[: rest.shape[1], None],
    )
    if turned:
        return same_rows(found, rows, quaternions=(1e-5, 1e-5))
    for name in ("xyz", "sh_rest"):
        same(f"sizes of {name}", np.abs(getattr(found.cloud, name)), np.abs(rows.pop(name)))
    del rows["quaternions"]
    return same_rows(found, rows)


def _has_extensions(content: bytes) -> bool:
    import gzip

    head = content if content[:4] == b"NGSP" else gzip.decompress(content)
    return bool(head[14] & 2)


def check_sog_folder(folder: Path, found: Any) -> None:
    """The files as the members of a bundle."""
    bundle = io.BytesIO()
    with zipfile.ZipFile(bundle, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
    _check_sog(bundle.getvalue(), found)


def check_sog(folder: Path, found: Any) -> None:
    _check_sog((folder / "cloud.sog").read_bytes(), found)


def _check_sog(content: bytes, found: Any) -> None:
    from plain_sog import decode_sog

    check_cloud(found)
    try:
        twin = decode_sog(content)
    except Exception as error:
        raise TwinDeclinedError(f"plain_sog: {type(error).__name__} {error}") from None
    expected = kept_rows(
        found,
        xyz=[one["xyz"] for one in twin],
        opacity_logits=[one["logit"] if "logit" in one else _logit(one["alpha"]) for one in twin],
        log_scales=[one["log_scales"] for one in twin],
        sh_dc=[one["dc"] for one in twin],
        quaternions=[one["wxyz"] for one in twin],
        sh_rest=np.array([one["sh"] for one in twin]).reshape(len(twin), -1, 3),
    )
    same_rows(found, expected, xyz=(1e-4, 1e-5), quaternions=(1e-5, 1e-5))


def check_image(folder: Path, found: Any) -> None:
    """Against the library, by its most plain calls; transparency laid over white in floating point."""
    (file,) = folder.iterdir()
    if found.size > 10**7:
        raise TwinDeclinedError("too large for an array of doubles")
    if found.dtype != np.uint8 or found.ndim != 3 or found.shape[2] != 3 or found.size == 0:
        raise WrongAnswerError(f"{found.dtype} {found.shape}")
    with Image.open(io.BytesIO(file.read_bytes())) as image:
        if (image.height, image.width) != found.shape[:2]:
            raise WrongAnswerError(f"{found.shape} where the header says {image.height} x {image.width}")
        if image.mode.startswith("I"):
            grey = np.clip(np.asarray(image).astype(np.float64), 0, 65535) // 257
            expected = np.repeat(grey[:, :, None], 3, axis=2)
        elif image.has_transparency_data:
            pixels = np.asarray(image.convert("RGBA")).astype(np.float64)
            alpha = pixels[:, :, 3:] / 255
            expected = pixels[:, :, :3] * alpha + 255 * (1 - alpha)
        else:
            expected = np.asarray(image.convert("RGB")).astype(np.float64)
    if np.abs(found - expected).max() > 1:
        raise WrongAnswerError("pixels differ")


def check_mesh(folder: Path, found: Any) -> None:
    """One line at a time; every triangle that is left out has no area."""
    if not len(found.faces) or not np.isfinite(found.vertices).all():
        raise WrongAnswerError("no faces, or vertices that are not finite")
    text = (folder / "mesh.off").read_bytes().decode("ascii", errors="replace")
    lines = [line for line in (raw.split("#")[0].strip() for raw in text.splitlines()) if line]
    words = " ".join(lines)[3:].split()
    vertices, faces = int(words[0]), int(words[1])
    start = len(lines) - len(lines[1 if lines[0] == "OFF" else 0 :]) + 1
    expected = [[float(word) for word in line.split()[:3]] for line in lines[start : start + vertices]]
    same("vertices", found.vertices, expected)
    triangles: list[tuple[int, ...]] = []
    for line in lines[start + vertices : start + vertices + faces]:
        words = line.split()
        if int(words[0]) < 3:
            continue  # a line or a point: nothing of it is kept, nor looked at
        corners = [int(word) for word in words[1 : 1 + int(words[0])]]
        triangles += [(corners[0], corners[i], corners[i + 1]) for i in range(1, len(corners) - 1)]
    kept = sorted(map(tuple, found.faces.tolist()))
    for triangle in kept:
        if triangle not in triangles:
            raise WrongAnswerError(f"triangle {triangle} is not in the file")
    points = np.array(expected)
    extent = np.ptp(points[np.array(triangles)].reshape(-1, 3), axis=0).max()
    for triangle in set(triangles) - set(kept):
        a, b, c = points[list(triangle)]
        if np.linalg.norm(np.cross(b - a, c - a)) > 1e-9 * extent**2:
            raise WrongAnswerError(f"triangle {triangle} is missing")
    if (
        found.face_colours.shape != (len(kept), 3)
        or not (found.face_colours >= 0).all()
        or (found.face_colours > 1).any()
    ):
        raise WrongAnswerError("colours")


def check_scene(folder: Path, found: Any) -> None:
    """Cameras that can be, pictures inside the folder; poses against the file where it is easily read."""
    names = [view.name for view in found.views]
    if not names or len(set(names)) != len(names):
        raise WrongAnswerError("no views, or a name twice")
    for view in found.views:
        camera = view.camera
        if not (np.isfinite(camera.viewmat).all() and np.isfinite(camera.K).all()):
            raise WrongAnswerError(f"camera of {view.name!r} is not finite")
        rotation = camera.viewmat[:3, :3]
        same("rotation", rotation @ rotation.T, np.eye(3), atol=1e-4)
        same("handedness", np.linalg.det(rotation), 1, atol=1e-3)
        same("last row", camera.viewmat[3], [0, 0, 0, 1])
        if camera.K[0, 0] <= 0 or camera.K[1, 1] <= 0 or camera.width < 1 or camera.height < 1:
            raise WrongAnswerError(f"camera of {view.name!r} has no size")
        if view.image is not None and not view.image.resolve().is_relative_to(folder.resolve()):
            raise WrongAnswerError(f"picture {view.image} is outside")
    if found.points is not None and not np.isfinite(found.points.xyz).all():
        raise WrongAnswerError("points are not finite")
    match found.format:
        case "inria":
            _check_inria(folder, found)
        case "colmap binary":
            _check_poses(found, _binary_poses((folder / "sparse/0/images.bin").read_bytes()))
        case "colmap text":
            _check_poses(found, _text_poses((folder / "sparse/0/images.txt").read_text(errors="replace")))


def _check_inria(folder: Path, found: Any) -> None:
    entries = json.loads((folder / "cameras.json").read_text())
    same("views", len(found.views), len(entries))
    for view, entry in zip(found.views, entries, strict=True):
        same("position", view.camera.position, entry["position"], rtol=1e-3, atol=1e-3)
        same("rotation", view.camera.viewmat[:3, :3].T, entry["rotation"], atol=2e-2)
        same("focal", [view.camera.K[0, 0], view.camera.K[1, 1]], [entry["fx"], entry["fy"]])
        same("size", [view.camera.width, view.camera.height], [entry["width"], entry["height"]])


def _binary_poses(content: bytes) -> dict[str, tuple[float, ...]]:
    poses, at = {}, 8
    for _ in range(struct.unpack_from("<Q", content)[0]):
        _, *pose = struct.unpack_from("<I7d", content, at)
        end = content.index(b"\0", at + 64)
        poses[content[at + 64 : end].decode()] = tuple(pose)
        at = end + 9 + 24 * struct.unpack_from("<Q", content, end + 1)[0]
    return poses


def _text_poses(text: str) -> dict[str, tuple[float, ...]]:
    """As COLMAP reads it: comments and empty lines are passed over before a record, not between its two lines."""
    poses, inside = {}, False
    for line in text.replace("\r\n", "\n").split("\n"):
        if inside:
            inside = False
        elif line.strip() and not line.strip().startswith("#"):
            words = line.split(maxsplit=9)
            poses[words[9].strip()] = tuple(map(float, words[1:8]))
            inside = True
    return poses


def _check_poses(found: Any, poses: dict[str, tuple[float, ...]]) -> None:
    poses = {unicodedata.normalize("NFC", name): pose for name, pose in poses.items()}
    if {view.name for view in found.views} != set(poses):
        raise WrongAnswerError(f"views {[view.name for view in found.views]}, the file names {list(poses)}")
    for view in found.views:
        w, x, y, z, *translation = poses[view.name]
        largest = max(map(abs, (w, x, y, z)))  # a square may be too large for a double
        w, x, y, z = w / largest, x / largest, y / largest, z / largest
        norm = math.sqrt(w * w + x * x + y * y + z * z)
        same("translation", view.camera.viewmat[:3, 3], translation)
        w, x, y, z = w / norm, x / norm, y / norm, z / norm
        first = [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)]
        same("rotation", view.camera.viewmat[0, :3], first, atol=1e-5)


def check_data_set(folder: Path, found: Any) -> None:
    """Names are safe and unique; every source gives the bytes of the member it names."""
    objects, _ = found
    keys = [item.key for item in objects]
    if not keys or len(set(keys)) != len(keys):
        raise WrongAnswerError("no objects, or a key twice")
    with zipfile.ZipFile(folder / "set.zip") as archive:
        for item in objects:
            if not re.fullmatch(r"[\w .,+()@-]+/(train|test)/[\w .,+()@-]+", item.key):
                raise WrongAnswerError(f"unsafe key {item.key!r}")
            for source in (item.gaussians, *item.views):
                member = archive.getinfo(source.member)
                if ".." in source.member.split("/") or source.member.startswith("/") or source.size != member.file_size:
                    raise WrongAnswerError(f"member {source.member!r}")
                try:
                    expected = archive.read(member)
                except Exception:
                    continue  # a damaged member: whoever reads it is told
                with source.open() as stream:
                    if stream.read() != expected:
                        raise WrongAnswerError(f"bytes of {source.member!r} differ")


def check_split_lists(folder: Path, found: Any) -> None:
    objects, _ = found
    listed: dict[str, set[str]] = {}
    for name, split in (("train.txt", "train"), ("val.txt", "train"), ("test.txt", "test")):
        for file in folder.rglob(name):
            for line in unicodedata.normalize("NFC", file.read_text(encoding="utf-8-sig")).splitlines():
                name = line.split("#")[0].strip().split("/")[-1]
                stem = name[: name.rindex(".")] if "." in name else name
                listed.setdefault(stem.removesuffix(".compressed"), set()).add(split)
    for item in objects:
        if listed.get(f"{item.class_name}-{item.name}") != {item.split}:
            raise WrongAnswerError(f"{item.key} is not what the lists say")
        if not Path(item.gaussians.path).is_relative_to(folder):
            raise WrongAnswerError(f"{item.gaussians} is outside")


def check_view_maps(folder: Path, found: Any) -> None:
    """Labels say what a plain reading of the file says, pixel by pixel; depth is finite and not negative."""
    labels, depth, classes = found
    entries = json.loads((folder / "classes.json").read_text())
    entries = entries["classes"] if isinstance(entries, dict) else entries
    entries = [{"name": entry} if isinstance(entry, str) else entry for entry in entries]
    kept = [e["name"] for e in entries if e["name"].lower() not in ("void", "unlabelled", "unlabeled", "ignore")]
    if [each.name for each in classes.classes] != kept:
        raise WrongAnswerError(f"classes are {classes.classes}, the file says {kept}")
    (file,) = (each for each in folder.iterdir() if each.stem == "labels")
    stored = np.load(file, allow_pickle=False) if file.suffix == ".npy" else np.asarray(Image.open(file))
    numbers = {255: 255, 65535: 255} if stored.ndim == 2 else {}
    for place, entry in enumerate(entries):
        number = kept.index(entry["name"]) if entry["name"] in kept else 255
        if stored.ndim == 2:
            numbers[place if entry.get("id") is None else int(entry["id"])] = number
        elif entry.get("colour") is not None:
            numbers[tuple(map(int, entry["colour"]))] = number
    for place in np.ndindex(labels.shape):
        value = int(stored[place]) if stored.ndim == 2 else tuple(map(int, stored[place][:3]))
        if int(labels[place]) != numbers[value]:
            raise WrongAnswerError(f"label at {place} is {labels[place]}, the file says {numbers[value]}")
    if not (np.isfinite(depth).all() and (depth >= 0).all()):
        raise WrongAnswerError("depth is not finite")


def check_scene_pack(folder: Path, pack: Any) -> None:
    """Everything that the manifest promises can be read."""
    raw = json.loads((folder / "manifest.json").read_text())
    if len(pack) != len(raw["views"]):
        raise WrongAnswerError(f"{len(pack)} views of {len(raw['views'])}")
    for i, view in enumerate(raw["views"]):
        shape = (int(view["height"]), int(view["width"]))
        if pack.image(i).shape != (*shape, 3):
            raise WrongAnswerError(f"view {i} is {pack.image(i).shape}")
        for values in (pack.mask(i), pack.labels(i), pack.depth(i)):
            if values is not None and values.shape != shape:
                raise WrongAnswerError(f"a map of view {i} is {values.shape}")
    rows = sum(0 if (points := pack.points_of(i)) is None else len(points) for i in range(len(pack.scenes)))
    same("views", sorted(i for n in range(len(pack.scenes)) for i in pack.views(scene=n)), list(range(len(pack))))
    if (folder / "points_xyz.npy").is_file() and "points_xyz.npy" in raw["files"]:
        same("points", rows, len(np.load(folder / "points_xyz.npy", allow_pickle=False)))


def check_pack(folder: Path, pack: Any) -> None:
    """Everything that the manifest promises can be read, and rows are where it says."""
    raw = json.loads((folder / "manifest.json").read_text())
    for item in raw["objects"]:  # "10" and 10.0 are taken for 10
        item.update({key: int(item[key]) for key in ("first_row", "rows", "first_view", "views")})
    gaussians = np.load(folder / "gaussians.npy", allow_pickle=False)
    orders = np.load(folder / "orders.npy", allow_pickle=False)
    same("labels", pack.labels, [raw["class_names"].index(item["class_name"]) for item in raw["objects"]])
    for i, item in enumerate(raw["objects"]):
        rows, views = pack.rows_of(i), pack.views[item["first_view"] : item["first_view"] + item["views"]]
        if rows.shape != (item["rows"], 59) or views.shape != (item["views"], 3, *[int(raw["image_size"])] * 2):
            raise WrongAnswerError(f"object {i} has rows {rows.shape} and views {views.shape}")
        expected = gaussians[item["first_row"] : item["first_row"] + item["rows"]]
        if rows[:, :14].tobytes() != expected.astype(np.float32).tobytes():
            raise WrongAnswerError(f"rows of object {i} differ")
        if len(orders) <= i or not np.array_equal(pack.orders[i], orders[i]):
            raise WrongAnswerError(f"orders of object {i} differ")
