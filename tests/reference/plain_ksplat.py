"""The .ksplat of GaussianSplats3D as one reads it in its source, one Gaussian at a time; an encoder for the tests."""

import math
import struct
from itertools import pairwise

SH_C0 = 0.28209479177387814
SH_COUNT = (0, 3, 8)
RANGE = 32767
LEAST_HALF = 2.0**-25
_REAL = {0: ("<f", 4), 1: ("<e", 2), 2: ("<e", 2)}
_SH = {0: ("<f", 4), 1: ("<e", 2), 2: ("B", 1)}


def decode_ksplat(content: bytes) -> list[dict[str, object]]:
    """One dict per Gaussian: xyz, alpha (0 to 1), dc, log_scales, wxyz, sh [K][3]."""
    sections, level = struct.unpack_from("<I", content, 4)[0], struct.unpack_from("<H", content, 20)[0]
    low, high = struct.unpack_from("<2f", content, 36)
    bounds = (low or -1.5, high or 1.5)
    found = []
    at = 4096 + 1024 * sections
    for number in range(sections):
        head = 4096 + 1024 * number
        count, _, size, buckets = struct.unpack_from("<4I", content, head)
        block = struct.unpack_from("<f", content, head + 16)[0]
        steps = struct.unpack_from("<I", content, head + 24)[0] or RANGE
        full, partial = struct.unpack_from("<2I", content, head + 32)
        degree = struct.unpack_from("<H", content, head + 40)[0]
        lengths = [size] * full + list(struct.unpack_from(f"<{partial}I", content, at))
        at += 4 * partial
        middles = [struct.unpack_from("<3f", content, at + 12 * i) for i in range(buckets)]
        at += 12 * buckets
        owner = [bucket for bucket, length in enumerate(lengths) for _ in range(length)]
        for i in range(count):
            middle = middles[owner[i]] if level else None
            one, at = _gaussian(content, at, level, degree, (middle, steps, block), bounds)
            found.append(one)
    return found


def _gaussian(content, at, level, degree, bucket, bounds) -> tuple[dict[str, object], int]:
    def take(code: str, size: int, count: int) -> list[float]:
        nonlocal at
        values = [struct.unpack_from(code, content, at + size * i)[0] for i in range(count)]
        at += size * count
        return values

    middle, steps, block = bucket
    if level:
        stored = take("<H", 2, 3)
        xyz = [(stored[i] - steps) * (block / 2 / steps) + middle[i] for i in range(3)]
    else:
        xyz = take("<f", 4, 3)
    scales, wxyz, rgba = take(*_REAL[level], 3), take(*_REAL[level], 4), take("B", 1, 4)
    harmonics = take(*_SH[level], 3 * SH_COUNT[degree])
    if level == 2:
        harmonics = [bounds[0] + value / 255 * (bounds[1] - bounds[0]) for value in harmonics]
    sh = []
    for first, last in pairwise(SH_COUNT[: degree + 1]):
        part, each = harmonics[3 * first : 3 * last], last - first
        sh += [[part[channel * each + k] for channel in range(3)] for k in range(each)]
    return {
        "xyz": xyz,
        "alpha": rgba[3] / 255,
        "dc": [(value / 255 - 0.5) / SH_C0 for value in rgba[:3]],
        "log_scales": [_log(LEAST_HALF if level and scale == 0 else scale) for scale in scales],
        "wxyz": wxyz,
        "sh": sh,
    }, at


def encode_ksplat(
    gaussians: list[dict[str, object]],
    level: int,
    degree: int,
    *,
    bucket_size: int = 4,
    block: float = 5.0,
    parts: int = 1,
) -> bytes:
    """A file of `parts` sections; its buckets hold neighbours in the list, so only near ones come back exactly."""
    bounds = (-1.0, 1.25)
    heads, bodies = [], []
    for part in range(parts):
        own = gaussians[part * len(gaussians) // parts : (part + 1) * len(gaussians) // parts]
        buckets = [own[i : i + bucket_size] for i in range(0, len(own), bucket_size)] if level else []
        full = sum(len(bucket) == bucket_size for bucket in buckets)
        lengths = [len(bucket) for bucket in buckets[full:]]
        middles = [[_middle([one["xyz"][axis] for one in bucket]) for axis in range(3)] for bucket in buckets]
        body = struct.pack(f"<{len(lengths)}I", *lengths) + b"".join(struct.pack("<3f", *m) for m in middles)
        for i, one in enumerate(own):
            body += _record(one, level, degree, middles[i // bucket_size] if level else None, block, bounds)
        head = struct.pack("<4I", len(own), len(own), bucket_size if level else 0, len(buckets))
        head += struct.pack("<fH2xII", block if level else 0, 12 if level else 0, RANGE if level else 0, len(body))
        heads.append((head + struct.pack("<2IH", full, len(lengths), degree)).ljust(1024, b"\0"))
        bodies.append(body)
    top = struct.pack("<BB2x4IH2x3f2f", 0, 1, parts, parts, len(gaussians), len(gaussians), level, 0, 0, 0, *bounds)
    return top.ljust(4096, b"\0") + b"".join(heads) + b"".join(bodies)


def _middle(values: list[float]) -> float:
    return struct.unpack("<f", struct.pack("<f", (min(values) + max(values)) / 2))[0]


def _record(one, level, degree, middle, block, bounds) -> bytes:
    real, harmonic = _REAL[level][0], _SH[level][0]
    if level:
        found = b"".join(
            struct.pack("<H", min(65535, max(0, round((v - m) * RANGE / (block / 2)) + RANGE)))
            for v, m in zip(one["xyz"], middle, strict=True)
        )
    else:
        found = struct.pack("<3f", *one["xyz"])
    norm = math.sqrt(sum(v * v for v in one["wxyz"]))
    found += b"".join(struct.pack(real, math.exp(v)) for v in one["log_scales"])
    found += b"".join(struct.pack(real, v / norm) for v in one["wxyz"])
    found += bytes(min(255, max(0, math.floor((0.5 + SH_C0 * v) * 255))) for v in one["dc"])
    found += bytes([math.floor(one["alpha"] * 255)])
    for first, last in pairwise(SH_COUNT[: degree + 1]):
        for channel in range(3):
            for k in range(first, last):
                value = one["sh"][k][channel]
                if level == 2:
                    low, high = bounds
                    value = math.floor((min(max(value, low), high) - low) / (high - low) * 255)
                found += struct.pack(harmonic, value)
    return found


def _log(value: float) -> float:
    """Of a standard deviation, which a damaged file may have as zero, negative or no number."""
    if value > 0:
        return math.log(value)
    return -math.inf if value == 0 else math.nan
