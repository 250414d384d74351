"""The .spz format as one reads it in its description: one Gaussian, one byte at a time; and an encoder for the tests.

`encode_spz` writes the numbers it is given without turning axes; `decode_spz` likewise gives the file's own axes.
"""

import gzip
import math
import struct

import zstandard

SH_COUNT = (0, 3, 8, 15, 24)
ORDER = ("positions", "alphas", "colors", "scales", "rotations", "sh")


def decode_spz(content: bytes) -> list[dict[str, object]]:
    """One dict per Gaussian: xyz, alpha (0 to 1), dc, log_scales, wxyz, sh [K][3], all in the axes of the file."""
    if content[:4] == b"NGSP" and content[4] >= 4:
        version, count, degree, bits = _fields(content)
        streams, offset = {}, struct.unpack_from("<I", content, 16)[0]
        start = offset + 16 * content[15]
        for i in range(content[15]):
            size, unpacked = struct.unpack_from("<QQ", content, offset + 16 * i)
            streams[ORDER[i]] = zstandard.ZstdDecompressor().decompress(content[start : start + size], unpacked)
            start += size
    else:
        raw = content if content[:4] == b"NGSP" else gzip.decompress(content)
        version, count, degree, bits = _fields(raw)
        each = (6 if version == 1 else 9, 1, 3, 3, 4 if version >= 3 else 3, 3 * SH_COUNT[degree])
        streams, start = {}, 16
        for name, size in zip(ORDER, each, strict=True):
            streams[name] = raw[start : start + size * count]
            start += size * count
    return [_gaussian(streams, i, version, degree, bits) for i in range(count)]


def _fields(raw: bytes) -> tuple[int, int, int, int]:
    _, version, count, degree, bits = struct.unpack_from("<4sIIBB", raw)
    return version, count, degree, bits


def _gaussian(streams: dict[str, bytes], i: int, version: int, degree: int, bits: int) -> dict[str, object]:
    k = SH_COUNT[degree]
    rotation = streams["rotations"]
    return {
        "xyz": [_position(streams["positions"], 3 * i + axis, version, bits) for axis in range(3)],
        "alpha": streams["alphas"][i] / 255,
        "dc": [(streams["colors"][3 * i + c] / 255 - 0.5) / 0.15 for c in range(3)],
        "log_scales": [streams["scales"][3 * i + axis] / 16 - 10 for axis in range(3)],
        "wxyz": _first_three(rotation[3 * i : 3 * i + 3])
        if version < 3
        else _smallest_three(struct.unpack_from("<I", rotation, 4 * i)[0]),
        "sh": [[(streams["sh"][(i * k + j) * 3 + c] - 128) / 128 for c in range(3)] for j in range(k)],
    }


def _position(raw: bytes, number: int, version: int, bits: int) -> float:
    if version == 1:
        return struct.unpack_from("<e", raw, 2 * number)[0]
    fixed = raw[3 * number] + (raw[3 * number + 1] << 8) + (raw[3 * number + 2] << 16)
    return (fixed - (1 << 24) if fixed >= 1 << 23 else fixed) / 2**bits


def _first_three(raw: bytes) -> list[float]:
    x, y, z = (byte / 127.5 - 1 for byte in raw)
    return [math.sqrt(max(0.0, 1 - x * x - y * y - z * z)), x, y, z]


def _smallest_three(word: int) -> list[float]:
    largest, xyzw = word >> 30, [0.0] * 4
    for index in (3, 2, 1, 0):
        if index == largest:
            continue
        size = (word & 511) / 511 * math.sqrt(0.5)
        xyzw[index] = -size if word & 512 else size
        word >>= 10
    xyzw[largest] = math.sqrt(max(0.0, 1 - sum(value * value for value in xyzw)))
    return [xyzw[3], *xyzw[:3]]


def encode_spz(
    gaussians: list[dict[str, object]],
    version: int,
    degree: int,
    bits: int = 12,
    flags: int = 0,
    extensions: bytes = b"",
) -> bytes:
    """A file of any version; extensions are given as their bytes."""
    k = SH_COUNT[degree]
    streams = {name: bytearray() for name in ORDER}
    for one in gaussians:
        for value in one["xyz"]:
            if version == 1:
                streams["positions"] += struct.pack("<e", value)
            else:
                streams["positions"] += round(value * 2**bits).to_bytes(4, "little", signed=True)[:3]
        streams["alphas"].append(_byte(one["alpha"] * 255))
        streams["colors"] += bytes(_byte((value * 0.15 + 0.5) * 255) for value in one["dc"])
        streams["scales"] += bytes(_byte((value + 10) * 16) for value in one["log_scales"])
        streams["rotations"] += pack_first(one["wxyz"]) if version < 3 else pack_smallest(one["wxyz"])
        streams["sh"] += bytes(_byte(value * 128 + 128) for coefficient in one["sh"][:k] for value in coefficient)
    head = struct.pack("<4sIIBBB", b"NGSP", version, len(gaussians), degree, bits, flags | (2 if extensions else 0))
    if version < 4:
        return gzip.compress(head + b"\0" + b"".join(streams.values()) + extensions, mtime=0)
    return pack_zstd(head, [bytes(streams[name]) for name in ORDER if streams[name]], extensions)


def pack_zstd(head: bytes, streams: list[bytes], extensions: bytes = b"") -> bytes:
    """The container of version 4."""
    frames = [zstandard.ZstdCompressor(level=3).compress(stream) for stream in streams]
    table = b"".join(struct.pack("<QQ", len(f), len(s)) for f, s in zip(frames, streams, strict=True))
    toc = struct.pack("<I12x", 32 + len(extensions))
    return head + bytes([len(frames)]) + toc + extensions + table + b"".join(frames)


def pack_first(wxyz: list[float]) -> bytes:
    norm = math.copysign(math.sqrt(sum(v * v for v in wxyz)), wxyz[0])
    return bytes(_byte(v / norm * 127.5 + 127.5) for v in wxyz[1:])


def pack_smallest(wxyz: list[float]) -> bytes:
    norm = math.sqrt(sum(v * v for v in wxyz))
    xyzw = [v / norm for v in (*wxyz[1:], wxyz[0])]
    largest = max(range(4), key=lambda i: abs(xyzw[i]))
    word = largest
    for i in range(4):
        if i != largest:
            negative = (xyzw[i] < 0) != (xyzw[largest] < 0)
            word = word << 10 | negative << 9 | min(511, round(abs(xyzw[i]) / math.sqrt(0.5) * 511))
    return struct.pack("<I", word)


def _byte(value: float) -> int:
    return min(255, max(0, round(value)))
