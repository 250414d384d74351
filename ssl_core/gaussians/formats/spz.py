"""Niantic's .spz files, versions 1 to 4: 20 to 65 bytes per Gaussian before compression.

Source: the format's description in the README of nianticlabs/spz. Versions 1 to 3 are one gzip stream of a 16-byte
header, the attributes and then the extensions. Version 4 is a 32-byte header, the extensions, a table of sizes and one
zstd frame per attribute. Everything is little-endian. The stream of versions 1 to 3 is read without its gzip, too. Axes
(`spz_axes`) are brought to the RDF axes (x right, y down, z forward) of .ply files.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from ssl_core.errors import GaussianFileError
from ssl_core.files.source import Source, read_bytes
from ssl_core.gaussians.formats.bounded_reading import GZIP_MAGIC, check_claim, gunzip, gunzip_head, naming, unzstd
from ssl_core.gaussians.formats.gaussian_properties import logits_of_bytes, unpack_10_bits
from ssl_core.gaussians.formats.spz_axes import (
    COORDINATES,
    SpzAxes,
    StoredAxes,
    chosen_axes,
    declared_axes,
    mirror_signs,
)
from ssl_core.gaussians.gaussian_cloud import SH_REST, Floats, GaussianCloud, GaussianFile

Bytes = NDArray[np.uint8]

COLOUR_SCALE = 0.15
"""Colour byte / 255 = 0.5 + COLOUR_SCALE * sh_dc."""

Centres = Callable[[], Floats | None]

MAGIC = b"NGSP"
ANTIALIASED = 0x1
EXTENSIONS = 0x2
SH_RANGE = 0xADBE0001
MAX_EXTENSION_BYTES = 64 * 1024
GZIP_VERSIONS = (1, 2, 3)
MAX_FRACTIONAL_BITS = 24
SH_BYTES = (0, 9, 24, 45, 72)
"""Bytes of spherical harmonics per Gaussian, by degree."""

_HEAD = struct.Struct("<4sIIBBBB")
_HEAD_4 = struct.Struct("<4sIIBBBBI12s")
_SIZES = struct.Struct("<QQ")
_RECORD = struct.Struct("<II")


@dataclass(frozen=True)
class SpzHeader:
    """The fields that versions 1 to 4 share."""

    version: int
    count: int
    degree: int
    fractional_bits: int
    flags: int

    def attributes(self) -> dict[str, int]:
        """Bytes of each attribute, in the order of the file; empty ones are left out."""
        each = {
            "positions": 6 if self.version == 1 else 9,
            "alphas": 1,
            "colors": 3,
            "scales": 3,
            "rotations": 4 if self.version >= 3 else 3,
            "sh": SH_BYTES[self.degree],
        }
        return {name: size * self.count for name, size in each.items() if size}


@dataclass(frozen=True, eq=False)
class SpzContent:
    """Header, bytes of each attribute, and extension records by type."""

    header: SpzHeader
    streams: Mapping[str, bytes | memoryview]
    extensions: dict[int, bytes]


def decode(
    source: Source, limit: int, axes: SpzAxes | None = None, ply_centres: Centres = lambda: None
) -> GaussianFile:
    """Read a .spz file; degree 4 is cut to 3.

    Args:
        source: the file.
        limit: Gaussians at most.
        axes: those of a file that does not name its own.
        ply_centres: gives the centres of the .ply beside it, [M, 3], asked for where nothing else tells the axes.

    Raises:
        GaussianFileError: see `read_container`; also extensions that change the meaning of the numbers in a way this
            reader does not know.
    """
    with naming(source):
        content = read_container(read_bytes(source, 96 * limit + 1024 * 1024), limit)
        header = content.header
        positions = _positions(content)
        stored = _axes(content, positions, axes, ply_centres)
        signs = stored.signs
        logits, notes = logits_of_bytes(_bytes(content, "alphas", 1)[:, 0])
        cloud = GaussianCloud(
            xyz=positions * signs,
            opacity_logits=logits,
            log_scales=_table(np.arange(256) / 16 - 10)[_bytes(content, "scales", 3)],
            quaternions=_quaternions(content, signs),
            sh_dc=_table((np.arange(256) / 255 - 0.5) / COLOUR_SCALE)[_bytes(content, "colors", 3)],
            sh_rest=_harmonics(content, signs),
        )
        return GaussianFile(cloud, "spz", header.degree, (stored.note, *_notes(content), *notes))


def _bytes(content: SpzContent, name: str, width: int) -> Bytes:
    return np.frombuffer(content.streams[name], dtype=np.uint8).reshape(content.header.count, width)


def _table(values: NDArray[np.float64]) -> Floats:
    """What each of the 256 bytes means."""
    return values.astype(np.float32)


def _positions(content: SpzContent) -> Floats:
    header = content.header
    if header.version == 1:
        halves = np.frombuffer(content.streams["positions"], dtype="<f2").reshape(header.count, 3)
        return halves.astype(np.float32)
    # The three bytes go to the upper end of an int32; shifting it down again extends the sign.
    wide = np.zeros((header.count * 3, 4), dtype=np.uint8)
    wide[:, 1:] = np.frombuffer(content.streams["positions"], dtype=np.uint8).reshape(-1, 3)
    fixed = wide.view("<i4").reshape(header.count, 3) >> 8
    return fixed.astype(np.float32) * np.float32(2.0**-header.fractional_bits)


def _quaternions(content: SpzContent, signs: Floats) -> Floats:
    """Unit quaternions wxyz. Mirroring an axis turns the other two components of the vector part."""
    if content.header.version >= 3:
        xyzw = unpack_10_bits(np.frombuffer(content.streams["rotations"], dtype="<u4"))
    else:
        xyz = _bytes(content, "rotations", 3) / 127.5 - 1
        w = np.sqrt(np.maximum(0, 1 - (xyz * xyz).sum(axis=1, keepdims=True)))
        xyzw = np.concatenate([xyz, w], axis=1)
    xyzw[:, :3] *= np.prod(signs) * signs
    return xyzw[:, [3, 0, 1, 2]].astype(np.float32)


def _harmonics(content: SpzContent, signs: Floats) -> Floats:
    header = content.header
    kept = SH_REST[min(header.degree, 3)]
    if not kept:
        return np.zeros((header.count, 0, 3), dtype=np.float32)
    stored = np.frombuffer(content.streams["sh"], dtype=np.uint8).reshape(header.count, -1, 3)[:, :kept]
    rest = _table(np.arange(256) / 128 - 1)[stored]
    rest *= mirror_signs(signs)[:kept, None]
    return rest


def _axes(content: SpzContent, positions: Floats, asked: SpzAxes | None, ply_centres: Centres) -> StoredAxes:
    if SH_RANGE in content.extensions:
        raise GaussianFileError(
            f"extension 0x{SH_RANGE:08x} gives the spherical harmonics another range, which this reader does "
            "not know; export it without"
        )
    declared = declared_axes(content.extensions)
    if declared is not None:
        return declared
    return chosen_axes(asked, positions, None if asked is not None else ply_centres())


def _notes(content: SpzContent) -> tuple[str, ...]:
    header = content.header
    position = "16-bit floats" if header.version == 1 else f"24-bit multiples of 1/{2**header.fractional_bits}"
    quaternion = "10" if header.version >= 3 else "8"
    notes = [
        f"positions are {position}",
        "opacities, colours, scales and spherical harmonics have 8 bits",
        f"quaternions have {quaternion} bits per component",
    ]
    if header.degree == 4:
        notes.append("spherical harmonics of degree 4 are cut to degree 3")
    if header.flags & ANTIALIASED:
        notes.append("trained with antialiasing, which is not drawn here")
    ignored = [f"0x{kind:08x}" for kind in content.extensions if kind != COORDINATES]
    if ignored:
        more = f" and {len(ignored) - 6} more" if len(ignored) > 6 else ""
        notes.append(f"extensions that are ignored: {', '.join(ignored[:6])}{more}")
    return tuple(notes)


def read_container(content: bytes, limit: int) -> SpzContent:
    """Unpack a .spz file of any version.

    Raises:
        GaussianFileError: no .spz, an unknown version, flag or degree, a count that is zero, above `limit` or not
            matched by the bytes, a damaged or truncated stream, bytes that belong to nothing, or a file that cannot be
            read or is larger than `limit` Gaussians can be.
    """
    if content[:2] == GZIP_MAGIC:
        return _read_gzip(content, limit)
    if content[:4] == MAGIC:
        without_gzip = len(content) >= _HEAD.size and _HEAD.unpack_from(content)[1] in GZIP_VERSIONS
        return _read_stream(content, content, limit) if without_gzip else _read_zstd(content, limit)
    raise GaussianFileError(
        f"is no .spz: it begins with {content[:4].hex(' ') or 'nothing'}, expected 1f 8b (gzip, versions 1 "
        "to 3) or NGSP (version 4, or without gzip); export it again"
    )


def _read_gzip(content: bytes, limit: int) -> SpzContent:
    head = gunzip_head(content, _HEAD.size)
    if len(head) < _HEAD.size or head[:4] != MAGIC:
        raise GaussianFileError(
            "the gzip stream is damaged or holds no .spz (expected NGSP at offset 0); export it again"
        )
    return _read_stream(content, head, limit)


def _read_stream(content: bytes, head: bytes, limit: int) -> SpzContent:
    """Versions 1 to 3: `content` is the stream, or its gzip; `head` begins with the stream's first 16 bytes."""
    _, version, count, degree, bits, flags, reserved = _HEAD.unpack_from(head)
    header = SpzHeader(version, count, degree, bits, flags)
    _check_header(header, limit, len(content), versions=GZIP_VERSIONS, reserved=reserved != 0)
    sizes = header.attributes()
    end = _HEAD.size + sum(sizes.values())
    at_most = end + (MAX_EXTENSION_BYTES if flags & EXTENSIONS else 0)
    unpacked = content if head is content else gunzip(content, at_most)
    if len(unpacked) > at_most:
        raise GaussianFileError(
            f"{len(unpacked) - at_most:,} bytes follow the {at_most:,} that its header (offset 8, numPoints) stands "
            "for; the count is wrong: export it again"
        )
    if len(unpacked) < end:
        raise GaussianFileError(
            f"holds {len(unpacked):,} bytes where {count:,} Gaussians (offset 8, numPoints) of version "
            f"{version} and SH degree {degree} need {end:,}; the count is wrong or the file cut: export it again"
        )
    view = memoryview(unpacked)
    ends = accumulate(sizes.values(), initial=_HEAD.size)
    streams = {name: view[first:last] for name, (first, last) in zip(sizes, pairwise(ends), strict=True)}
    return SpzContent(header, streams, _extensions(bytes(view[end:])))


def _read_zstd(content: bytes, limit: int) -> SpzContent:
    if len(content) < _HEAD_4.size:
        raise GaussianFileError(f"is truncated within its header of {_HEAD_4.size} bytes; copy it again")
    _, version, count, degree, bits, flags, num_streams, toc, reserved = _HEAD_4.unpack_from(content)
    header = SpzHeader(version, count, degree, bits, flags)
    _check_header(header, limit, len(content), versions=(4,), reserved=any(reserved))
    sizes = header.attributes()
    if num_streams != len(sizes):
        raise GaussianFileError(
            f"numStreams (offset 15) is {num_streams}; SH degree {degree} needs {len(sizes)}: export it again"
        )
    between = toc - _HEAD_4.size
    if not 0 <= between <= (MAX_EXTENSION_BYTES if flags & EXTENSIONS else 0):
        raise GaussianFileError(
            f"tocByteOffset (offset 16) is {toc}; expected {_HEAD_4.size}"
            f"{f' to {_HEAD_4.size + MAX_EXTENSION_BYTES}' if flags & EXTENSIONS else ' without extensions'}: "
            "export it again"
        )
    streams = _unzstd_all(content, toc, sizes)
    return SpzContent(header, streams, _extensions(content[_HEAD_4.size : toc]))


def _unzstd_all(content: bytes, toc: int, sizes: dict[str, int]) -> dict[str, bytes]:
    """Each attribute unpacked, after the table of sizes was found to describe the file to its last byte."""
    first = toc + _SIZES.size * len(sizes)
    if first > len(content):
        raise GaussianFileError(f"is truncated within its table of streams at offset {toc}; copy it again")
    packed = []
    for i, (name, size) in enumerate(sizes.items()):
        offset = toc + _SIZES.size * i
        compressed, unpacked = _SIZES.unpack_from(content, offset)
        if unpacked != size:
            raise GaussianFileError(
                f"stream '{name}' (table at offset {offset}) claims {unpacked:,} bytes where numPoints needs "
                f"{size:,}; export it again"
            )
        packed.append(compressed)
    if first + sum(packed) != len(content):
        raise GaussianFileError(
            f"is {len(content):,} bytes long where its table of streams (offset {toc}) asks for "
            f"{first + sum(packed):,}; it is truncated or has bytes after its end: copy it again"
        )
    ends = accumulate(packed, initial=first)
    frames = [content[start:end] for start, end in pairwise(ends)]
    return {name: unzstd(name, frame, sizes[name]) for name, frame in zip(sizes, frames, strict=True)}


def _check_header(header: SpzHeader, limit: int, size: int, *, versions: tuple[int, ...], reserved: bool) -> None:
    if header.version not in versions:
        packing = "zstd" if 4 in versions else "gzip"
        raise GaussianFileError(
            f"version (offset 4) is {header.version}; {packing} files of version "
            f"{' or '.join(map(str, versions))} can be read: export it as version 2, 3 or 4"
        )
    if header.degree >= len(SH_BYTES):
        raise GaussianFileError(f"shDegree (offset 12) is {header.degree}; expected 0 to 4: export it again")
    if header.fractional_bits > MAX_FRACTIONAL_BITS:
        raise GaussianFileError(
            f"fractionalBits (offset 13) is {header.fractional_bits}; positions have 24 bits in all: export it again"
        )
    unknown = header.flags & ~(ANTIALIASED | EXTENSIONS)
    if unknown:
        raise GaussianFileError(
            f"flags (offset 14) has unknown bits 0x{unknown:02x} (0x80 is a level-of-detail tree); what they "
            "change is not known: export it as plain .spz or .ply"
        )
    if reserved:
        raise GaussianFileError("reserved bytes of the header are not zero; export it again")
    check_claim(header.count, limit, sum(header.attributes().values()), size)


def _extensions(content: bytes) -> dict[int, bytes]:
    """Records of type, length and payload, back to back to the last byte."""
    records: dict[int, bytes] = {}
    offset = 0
    while offset < len(content):
        start = offset + _RECORD.size
        kind, size = _RECORD.unpack_from(content, offset) if start <= len(content) else (0, 0)
        if kind == 0 or start + size > len(content):
            raise GaussianFileError(
                f"extension record {len(records)} (byte {offset} of {len(content)} of extensions) is damaged "
                "or cut; export it again without extensions"
            )
        records[kind] = content[start : start + size]
        offset = start + size
    return records
