"""What is mutated: small whole files of every format, made here, and real ones where they are at hand."""

import gzip
import io
import json
import struct
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
from fuzz_mutations import Case
from PIL import Image

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
NEEDED = [
    *"xyz",
    "f_dc_0",
    "f_dc_1",
    "f_dc_2",
    "opacity",
    *(f"scale_{i}" for i in range(3)),
    *(f"rot_{i}" for i in range(4)),
]
_REAL_LIMIT = 30_000


def real(pattern: str, name: str) -> list[Case]:
    """Small real files, renamed to `name`."""
    found = sorted(SHARED.glob(pattern)) if SHARED.is_dir() else []
    return [{name: file.read_bytes()} for file in found if file.stat().st_size < _REAL_LIMIT][:4]


def ply(kind: str, names: list[str], rows: int = 5, extra: str = "", dtype: str = "float") -> bytes:
    """A Gaussian .ply; `extra` is put into the header behind the vertex element's properties."""
    rng = np.random.default_rng(len(names))
    table = rng.normal(size=(rows, len(names)))
    head = ["ply", f"format {kind} 1.0", "comment made for tests", f"element vertex {rows}"]
    head += [f"property {dtype} {name}" for name in names]
    text = "\n".join([*head, *([extra] if extra else []), "end_header"]) + "\n"
    if kind == "ascii":
        return (text + "".join(" ".join(f"{v:.6g}" for v in row) + "\n" for row in table)).encode()
    code = (">" if "big" in kind else "<") + ("f4" if dtype == "float" else "f8")
    return text.encode() + table.astype(code).tobytes()


def ply_cases() -> list[Case]:
    rest = [f"f_rest_{i}" for i in range(45)]
    little, big = "binary_little_endian", "binary_big_endian"
    made = [
        ply(little, ["x", "y", "z", "nx", "ny", "nz", *NEEDED[3:6], *rest, *NEEDED[6:]]),
        ply(big, NEEDED[::-1]),
        ply("ascii", NEEDED),
        ply("ascii", [*NEEDED, *rest[:9]]),
        ply(little, [*NEEDED, *(f"f_rest_{i}" for i in range(72))], rows=3),
        ply(big, NEEDED, dtype="double"),
        ply(little, NEEDED, extra="element face 0\nproperty list uchar int vertex_indices"),
        _ply_with_list(),
        _ply_with_bad_rows(),
        ply(little, [name for name in NEEDED if name != "scale_2"] + ["filter_3D", "motion_0"]),
    ]
    return [{"cloud.ply": content} for content in made] + real("gaussians/tiny/*.ply", "cloud.ply")


def _ply_with_list() -> bytes:
    """Faces before the vertices, so that their lists have to be stepped over."""
    head = "ply\nformat binary_little_endian 1.0\nelement face 2\nproperty list uchar int vertex_indices\n"
    head += "element vertex 3\n" + "".join(f"property float {name}\n" for name in NEEDED) + "end_header\n"
    faces = struct.pack("<B3iB2i", 3, 0, 1, 2, 2, 1, 0)
    return head.encode() + faces + np.random.default_rng(1).normal(size=(3, 14)).astype("<f4").tobytes()


def _ply_with_bad_rows() -> bytes:
    """Opacities of 0 and 1, and rows of which one value is too large or none."""
    table = np.random.default_rng(2).normal(size=(6, 14)).astype("<f4")
    table[0, 6], table[1, 6] = np.inf, -np.inf
    table[2, 0], table[3, 7], table[4, 10] = 1e20, 100, np.nan
    head = "ply\nformat binary_little_endian 1.0\nelement vertex 6\n"
    return (head + "".join(f"property float {name}\n" for name in NEEDED) + "end_header\n").encode() + table.tobytes()


def compressed_ply_cases() -> list[Case]:
    return [
        {"cloud.ply": compressed_ply(count, colours, rest)} for count, colours, rest in ((3, False, 0), (260, True, 9))
    ]


def compressed_ply(count: int, colours: bool, rest: int) -> bytes:
    """SuperSplat's kind: random words are all valid."""
    rng = np.random.default_rng(count)
    bounds = [f"{end}_{what}{axis}" for what in ("", "scale_") for axis in "xyz" for end in ("min", "max")]
    bounds += [f"{end}_{channel}" for channel in "rgb" for end in ("min", "max")] if colours else []
    chunks = -(-count // 256)
    table = np.sort(rng.normal(size=(chunks, len(bounds) // 2, 2)), axis=2).astype("<f4")
    words = rng.integers(0, 2**32, (count, 4), dtype=np.uint32).astype("<u4")
    head = ["ply", "format binary_little_endian 1.0", f"element chunk {chunks}"]
    head += [f"property float {name}" for name in bounds] + [f"element vertex {count}"]
    head += [f"property uint packed_{name}" for name in ("position", "rotation", "scale", "color")]
    tail = b""
    if rest:
        head += [f"element sh {count}"] + [f"property uchar f_rest_{i}" for i in range(rest)]
        tail = rng.integers(0, 256, (count, rest), dtype=np.uint8).tobytes()
    return ("\n".join([*head, "end_header"]) + "\n").encode() + table.tobytes() + words.tobytes() + tail


def splat_cases() -> list[Case]:
    rng = np.random.default_rng(3)
    rows = [
        rng.normal(size=3).astype("<f4").tobytes() + rng.uniform(0.01, 1, 3).astype("<f4").tobytes() + rng.bytes(8)
        for _ in range(6)
    ]
    return [{"cloud.splat": b"".join(rows)}, *real("gaussians/tiny/*.splat", "cloud.splat")]


@cache
def _gaussians(count: int) -> list[dict[str, object]]:
    rng = np.random.default_rng(count)
    return [
        {
            "xyz": rng.normal(size=3).tolist(),
            "alpha": float(rng.uniform(0.02, 0.98)),
            "dc": rng.normal(size=3).tolist(),
            "log_scales": rng.normal(-4, 1, 3).tolist(),
            "wxyz": rng.normal(size=4).tolist(),
            "sh": rng.uniform(-0.9, 0.9, (24, 3)).tolist(),
        }
        for _ in range(count)
    ]


def spz_cases() -> list[Case]:
    from plain_spz import encode_spz

    kinds = ((1, 0), (2, 0), (2, 3), (3, 1), (3, 4), (4, 0), (4, 3), (4, 4))
    made = [{"cloud.spz": encode_spz(_gaussians(7), version, degree)} for version, degree in kinds]
    axes = struct.pack("<III", 0xADBE0003, 4, 6)
    made += [{"cloud.spz": encode_spz(_gaussians(4), version, 2, extensions=axes)} for version in (3, 4)]
    made += [{"cloud.spz": gzip.decompress(encode_spz(_gaussians(5), version, 1))} for version in (2, 3)]
    return made + real("gaussians/tiny/*.spz", "cloud.spz")


def spz_and_ply_cases() -> list[Case]:
    """A .ply beside the .spz says which way its axes point: in either file, or in none of the two."""
    from plain_spz import encode_spz

    made = []
    for turn, version in ((1, 2), (-1, 3), (1, 4)):
        rows = _gaussians(6)
        xyz = np.array([one["xyz"] for one in rows], "<f4") * (1, turn, turn)
        table = np.concatenate([xyz, np.ones((6, len(NEEDED) - 3))], axis=1).astype("<f4")
        head = ply("binary_little_endian", NEEDED, rows=6).partition(b"end_header\n")[0] + b"end_header\n"
        made.append({"cloud.spz": encode_spz(rows, version, 1), "cloud.ply": head + table.tobytes()})
    return made


def ksplat_cases() -> list[Case]:
    from plain_ksplat import encode_ksplat

    kinds = ((0, 0, 1), (0, 2, 2), (1, 0, 1), (1, 1, 2), (2, 2, 1))
    return [{"cloud.ksplat": encode_ksplat(_gaussians(9), level, degree, parts=n)} for level, degree, n in kinds]


def sog_folder_cases() -> list[Case]:
    """The members of bundles as files."""
    made = []
    for case in sog_cases():
        with zipfile.ZipFile(io.BytesIO(case["cloud.sog"])) as bundle:
            made.append({name.rpartition("/")[2]: bundle.read(name) for name in bundle.namelist()})
    return made


def sog_cases() -> list[Case]:
    from plain_sog import sog_parts, write_sog

    made = []
    for degree, version, folder in ((0, 2, ""), (3, 2, "scene/"), (1, 1, ""), (0, 1, "")):
        meta, images = sog_parts(_gaussians(9), degree, version, width=4)
        made.append({"cloud.sog": write_sog(meta, images, folder)})
    meta, images = sog_parts(_gaussians(5), 0, 2, width=5)
    text = json.dumps(meta).replace(".webp", ".png")
    images = {name.replace(".webp", ".png"): pixels for name, pixels in images.items()}
    made.append({"cloud.sog": write_sog(json.loads(text), images, "", zipfile.ZIP_DEFLATED)})
    return made


def image_cases() -> list[Case]:
    rng = np.random.default_rng(5)
    made: list[Case] = []
    for mode in ("RGB", "RGBA", "L", "P", "LA", "1", "I;16", "CMYK"):
        for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF"):
            image = Image.fromarray(rng.integers(0, 256, (9, 13, 4), dtype=np.uint8))
            image = image.convert("L").convert("I").convert("I;16") if mode == "I;16" else image.convert(mode)
            out = io.BytesIO()
            try:
                image.save(out, kind)
            except (OSError, ValueError, KeyError):
                continue  # this kind has no such mode
            made.append({f"view.{kind.lower()}": out.getvalue()})
    return made


def mesh_cases() -> list[Case]:
    corners = "0 0 0\n1 0 0\n1 1 0\n0 1 0\n0 0 1\n"
    made = [
        f"OFF\n5 4 0\n{corners}3 0 1 2\n3 0 2 3\n3 0 1 4\n3 1 2 4\n",
        f"OFF5 3 0\n# a comment\n{corners}4 0 1 2 3\n3 0 1 4 255 0 0\n3 1 2 4 0.5 0.5 0.5\n",
        f"OFF\n5 2 0\n{corners}3 0 1 2\n2 0 1\n",
    ]
    return [{"mesh.off": text.encode()} for text in made] + real("modelnet10_off/*/test/*.off", "mesh.off")


def _cameras(count: int = 3):
    from ssl_core.scenes.cameras import orbit_cameras

    return orbit_cameras(count, 8)


def json_camera_cases() -> list[Case]:
    from camera_writers import blender, inria, nerfstudio

    cameras, names = _cameras(), ["a.png", "b.png", "c.png"]
    first = {"cameras.json": json.dumps(inria(cameras, names)).encode()}
    splits = enumerate(("train", "test"))
    second = {f"transforms_{name}.json": json.dumps(blender([cameras[i]], [names[i]])).encode() for i, name in splits}
    third = {"transforms.json": json.dumps(nerfstudio(cameras, names, k1=0.1, camera_model="OPENCV")).encode()}
    picture = image_cases()[0]["view.png"]
    return [first, {**second, "a.png": picture, "b.png": picture}, third]


def colmap_cases() -> list[Case]:
    from camera_writers import Model

    points = np.random.default_rng(2).normal(size=(5, 3)).tolist()
    model = Model.of(_cameras(), ["a.png", "b c.png", "c.png"], points)
    lens = Model.of(_cameras(), ["a.png", "b.png", "c.png"], points, "OPENCV", (0.1, 0.01, 0.0, 0.0))
    cases = []
    for one in (model, lens):
        for write in (one.write_binary, one.write_text):
            with tempfile.TemporaryDirectory() as folder:
                write(Path(folder))
                cases.append({f"sparse/0/{file.name}": file.read_bytes() for file in Path(folder).iterdir()})
    return cases


def zipped(members: Case, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def data_set_cases() -> list[Case]:
    cloud, picture = ply("binary_little_endian", NEEDED, rows=2), image_cases()[0]["view.png"]
    points = {f"chair/{split}/o{i}/point_cloud.ply": cloud for i, split in enumerate(("train", "train", "test"))}
    views = {
        f"chair/{split}/o{i}/images/00{v}.png": picture
        for i, split in enumerate(("train", "train", "test"))
        for v in (0, 1)
    }
    both = {f"points/{name}": content for name, content in points.items()}
    both |= {f"images/{name}": content for name, content in views.items()}
    accented = {f"cafe\u0301/{name.partition('/')[2]}": content for name, content in points.items()}
    return [
        {"set.zip": zipped(points)},
        {"set.zip": zipped(both)},
        {"set.zip": zipped(points, zipfile.ZIP_STORED)},
        {"set.zip": zipped(accented)},
    ]


def split_list_cases() -> list[Case]:
    cloud = ply("binary_little_endian", NEEDED, rows=1)
    files = {f"0269-{name}.ply": cloud for name in ("aa", "bb", "cc", "dd")}
    lists = {"train.txt": b"0269-aa.npy\n0269-bb.npy\n# a comment\n", "test.txt": b"0269-cc.npy\r\n0269-dd.npy\n"}
    return [{**files, **lists}, {**files, **{f"ShapeNet-55/{name}": content for name, content in lists.items()}}]


def pack_cases() -> list[Case]:
    from fake_store import make_pack

    with tempfile.TemporaryDirectory() as folder:
        made = make_pack(Path(folder) / "pack", rows=20)
        case = {file.name: file.read_bytes() for file in made.iterdir()}
    return [case, _encoded(case)]


def view_map_cases() -> list[Case]:
    """Label maps of ids, of a palette and of colours, depth of 16 bits and of floats, and the classes."""
    rng = np.random.default_rng(7)
    places, units = rng.integers(0, 3, (5, 6)), rng.integers(0, 65536, (5, 6), dtype=np.uint16)
    colours = np.array([[10, 20, 30], [200, 0, 5], [0, 0, 0]], np.uint8)
    entries = [{"name": name, "id": 7 * i, "colour": colours[i].tolist()} for i, name in enumerate(("a", "b", "void"))]
    palette = Image.fromarray((7 * places).astype(np.uint8))
    palette.putpalette(rng.integers(0, 256, 768, dtype=np.uint8).tolist())
    pictures = (Image.fromarray((7 * places).astype(np.uint16)), palette, Image.fromarray(colours[places]))
    labels = [{"labels.png": _png(picture)} for picture in pictures] + [{"labels.npy": _npy(7 * places)}]
    depth = [{"depth.png": _png(Image.fromarray(units))}, {"depth.npy": _npy(units / 7)}]
    classes = json.dumps({"classes": entries}).encode()
    return [{**maps, **depth[i % 2], "classes.json": classes} for i, maps in enumerate(labels)]


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _npy(values: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, values)
    return out.getvalue()


@cache
def scene_pack_cases() -> list[Case]:
    """Two scenes with labels, depth and masks."""
    from ssl_core.data.scene_pack import ScenePackConfig
    from ssl_core.packing.scene_writer import write_scene_pack

    with tempfile.TemporaryDirectory() as folder:
        scenes = [Path(folder) / name for name in ("a", "b")]
        for scene in scenes:
            files = {**json_camera_cases()[0], "classes.json": b'["wall", "chair"]'}
            for i, name in enumerate(("a", "b", "c")):
                maps = np.full((8, 8), i % 2, np.uint8)
                files |= {
                    f"images/{name}.png": _png(Image.fromarray(np.dstack([maps] * 3))),
                    **{f"{kind}/{name}.png": _png(Image.fromarray(maps)) for kind in ("labels", "masks")},
                    f"depth/{name}.png": _png(Image.fromarray(maps.astype(np.uint16))),
                }
            for name, content in files.items():
                (scene / name).parent.mkdir(parents=True, exist_ok=True)
                (scene / name).write_bytes(content)
        made = write_scene_pack(scenes, Path(folder) / "pack", ScenePackConfig(), workers=1).path
        return [{file.name: file.read_bytes() for file in made.iterdir() if file.name != "sources.json"}]


def _encoded(case: Case) -> Case:
    """The same pack with its views as pictures."""
    pictures = []
    for view in np.load(io.BytesIO(case["views.npy"])).transpose(0, 2, 3, 1):
        out = io.BytesIO()
        Image.fromarray(view).save(out, "WEBP")
        pictures.append(out.getvalue())
    out = io.BytesIO()
    np.save(out, np.cumsum([0, *map(len, pictures)]).astype(np.int64))
    changed = {name: content for name, content in case.items() if name != "views.npy"}
    changed |= {"views.bin": b"".join(pictures), "view_offsets.npy": out.getvalue()}
    manifest = json.loads(case["manifest.json"])
    manifest["config"]["codec"] = "webp"
    blocks = manifest["files"].pop("views.npy")["blocks"]
    for name in ("views.bin", "view_offsets.npy"):
        manifest["files"][name] = {"bytes": len(changed[name]), "blocks": blocks[:1]}
    return {**changed, "manifest.json": json.dumps(manifest).encode()}
