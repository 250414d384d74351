"""The .sog format as one reads it in its description: one pixel at a time; and an encoder for the tests."""

import io
import json
import math
import zipfile

import numpy as np
from PIL import Image

SH_COUNT = (0, 3, 8, 15)


def decode_sog(content: bytes) -> list[dict[str, object]]:
    """One dict per Gaussian: xyz, alpha (version 2) or logit (version 1), dc, log_scales, wxyz, sh [K][3]."""
    archive = zipfile.ZipFile(io.BytesIO(content))
    folder = next(name for name in archive.namelist() if name.endswith("meta.json"))[: -len("meta.json")]
    meta = json.loads(archive.read(folder + "meta.json"))
    images = {}
    for section in ("means", "scales", "quats", "sh0", "shN"):
        for name in meta.get(section, {}).get("files", []):
            images[name] = Image.open(io.BytesIO(archive.read(folder + name))).convert("RGBA")
    count = meta["count"] if "version" in meta else meta["means"]["shape"][0]
    return [_gaussian(meta, images, i) for i in range(count)]


def _gaussian(meta: dict, images: dict[str, Image.Image], i: int) -> dict[str, object]:
    def pixel(section: str, number: int = 0) -> tuple[int, int, int, int]:
        image = images[meta[section]["files"][number]]
        return image.getpixel((i % image.width, i // image.width))

    low, high, scale, colour = pixel("means"), pixel("means", 1), pixel("scales"), pixel("sh0")
    xyz = []
    for axis in range(3):
        step = (low[axis] + 256 * high[axis]) / 65535
        value = meta["means"]["mins"][axis] * (1 - step) + meta["means"]["maxs"][axis] * step
        xyz.append(math.copysign(math.exp(abs(value)) - 1 if abs(value) < 700 else math.inf, value))
    found = {"xyz": xyz, "wxyz": _quaternion(pixel("quats"))}
    found["log_scales"] = [_value(meta["scales"], scale[axis], axis) for axis in range(3)]
    found["dc"] = [_value(meta["sh0"], colour[channel], channel) for channel in range(3)]
    if "version" in meta:
        found["alpha"] = colour[3] / 255
    else:
        found["logit"] = _value(meta["sh0"], colour[3], 3)
    if "shN" in meta:
        label = pixel("shN", 1)
        found["sh"] = _palette_entry(meta["shN"], images[meta["shN"]["files"][0]], label[0] + 256 * label[1])
    else:
        found["sh"] = []
    return found


def _value(section: dict, byte: int, channel: int) -> float:
    if "codebook" in section:
        return section["codebook"][byte]
    mins, maxs = (section[key][channel] if isinstance(section[key], list) else section[key] for key in ("mins", "maxs"))
    return mins * (1 - byte / 255) + maxs * (byte / 255)


def _quaternion(pixel: tuple[int, int, int, int]) -> list[float]:
    largest = pixel[3] - 252
    wxyz, stored = [0.0] * 4, iter(pixel[:3])
    for index in range(4):
        if index != largest:
            wxyz[index] = (next(stored) / 255 * 2 - 1) / math.sqrt(2)
    wxyz[largest] = math.sqrt(max(0.0, 1 - sum(value * value for value in wxyz)))
    return wxyz


def _palette_entry(section: dict, image: Image.Image, label: int) -> list[list[float]]:
    width = image.width // 64
    rows = []
    for k in range(width):
        pixel = image.getpixel((label % 64 * width + k, label // 64))
        rows.append([_value(section, byte, 0) for byte in pixel[:3]])
    return rows


def sog_parts(
    gaussians: list[dict[str, object]], degree: int = 0, version: int = 2, width: int = 8
) -> tuple[dict, dict[str, np.ndarray]]:
    """meta.json as a dict and the images as arrays; every Gaussian has its own palette entry."""
    count = len(gaussians)
    height = -(-count // width)
    images = {name: np.zeros((height, width, 4), np.uint8) for name in ("means_l", "means_u", "scales", "quats", "sh0")}
    logs = np.array([[math.copysign(math.log1p(abs(v)), v) for v in one["xyz"]] for one in gaussians])
    mins, maxs = logs.min(0), logs.max(0)
    steps = np.round((logs - mins) / np.where(maxs > mins, maxs - mins, 1) * 65535).astype(int)
    scales = np.array([one["log_scales"] for one in gaussians])
    logits = np.log(np.array([[one["alpha"]] for one in gaussians])) - np.log1p([[-one["alpha"]] for one in gaussians])
    colours = np.array([one["dc"] for one in gaussians])
    if version == 2:
        scale, colour = (_shared(values) for values in (scales, colours))
        alphas = np.round([one["alpha"] * 255 for one in gaussians])
    else:
        scale, colour = _ranges(scales), _ranges(np.concatenate([colours, logits], axis=1))
        alphas = colour[1][:, 3]
    for i, one in enumerate(gaussians):
        at = divmod(i, width)
        images["means_l"][at] = (*(steps[i] & 255), 255)
        images["means_u"][at] = (*(steps[i] >> 8), 255)
        images["scales"][at] = (*scale[1][i], 255)
        images["sh0"][at] = (*colour[1][i][:3], alphas[i])
        images["quats"][at] = pack_quaternion(one["wxyz"])
    meta = {
        "means": {"mins": mins.tolist(), "maxs": maxs.tolist(), "files": ["means_l.webp", "means_u.webp"]},
        "scales": {**scale[0], "files": ["scales.webp"]},
        "quats": {"files": ["quats.webp"]},
        "sh0": {**colour[0], "files": ["sh0.webp"]},
    }
    meta |= {"version": 2, "count": count} if version == 2 else {}
    if version == 1:
        meta["means"]["shape"] = [count, 3]
        meta["quats"]["encoding"] = "quaternion_packed"
    if degree:
        _add_harmonics(meta, images, gaussians, degree)
    return meta, {f"{name}.webp": image for name, image in images.items()}


def _add_harmonics(meta: dict, images: dict[str, np.ndarray], gaussians: list[dict[str, object]], degree: int) -> None:
    k, count = SH_COUNT[degree], len(gaussians)
    values = np.array([one["sh"][:k] for one in gaussians])
    flat = values.reshape(-1, 1)
    description, codes = _shared(flat) if "version" in meta else _ranges(flat)
    rows = -(-count // 64)
    images["shN_centroids"] = np.full((rows, 64 * k, 4), 255, np.uint8)
    images["shN_centroids"].reshape(-1, k, 4)[:count, :, :3] = codes.reshape(count, k, 3)
    height, width = images["sh0"].shape[:2]
    images["shN_labels"] = np.zeros((height, width, 4), np.uint8)
    images["shN_labels"].reshape(-1, 4)[:count, 0] = np.arange(count) % 256
    images["shN_labels"].reshape(-1, 4)[:count, 1] = np.arange(count) // 256
    images["shN_labels"][:, :, 3] = 255
    files = {"files": ["shN_centroids.webp", "shN_labels.webp"]}
    if "version" in meta:
        meta["shN"] = {"count": count, "bands": degree, **description, **files}
    else:
        meta["shN"] = {key: value[0] for key, value in description.items()} | files


def _shared(values: np.ndarray) -> tuple[dict, np.ndarray]:
    """A codebook for all channels and the nearest entry of each value."""
    book = np.linspace(values.min(), values.max(), 256)
    return {"codebook": book.tolist()}, np.abs(values[..., None] - book).argmin(-1)


def _ranges(values: np.ndarray) -> tuple[dict, np.ndarray]:
    mins, maxs = values.min(0), values.max(0)
    codes = np.round((values - mins) / np.where(maxs > mins, maxs - mins, 1) * 255).astype(int)
    return {"mins": mins.tolist(), "maxs": maxs.tolist()}, codes


def pack_quaternion(wxyz: list[float]) -> tuple[int, int, int, int]:
    norm = math.sqrt(sum(v * v for v in wxyz))
    largest = max(range(4), key=lambda i: abs(wxyz[i]))
    norm = math.copysign(norm, wxyz[largest])
    three = [round((wxyz[i] / norm * math.sqrt(2) + 1) * 127.5) for i in range(4) if i != largest]
    return (*three, 252 + largest)


def write_sog(meta: dict, images: dict[str, np.ndarray], folder: str = "", method: int = zipfile.ZIP_STORED) -> bytes:
    """The archive; PNG or WebP by the names of the images."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, image in images.items():
            archive.writestr(folder + name, image_bytes(image, name))
        archive.writestr(folder + "meta.json", json.dumps(meta))
    return stream.getvalue()


def image_bytes(image: np.ndarray, name: str) -> bytes:
    stream = io.BytesIO()
    if name.endswith(".png"):
        Image.fromarray(image).save(stream, "PNG")
    else:
        Image.fromarray(image).save(stream, "WEBP", lossless=True, exact=True)
    return stream.getvalue()
