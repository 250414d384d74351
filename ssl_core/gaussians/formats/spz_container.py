"""The outside of a .spz file: header, extensions, and the bytes of each attribute, all checked before use.

Source: the format's description in the README of nianticlabs/spz. Versions 1 to 3 are one gzip stream of a 16-byte
header, the attributes and then the extensions. Version 4 is a 32-byte header, the extensions, a table of sizes and one
zstd frame per attribute. Everything is little-endian.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ssl_core.errors import GaussianFileError
from ssl_core.files.source import Source
from ssl_core.gaussians.formats.bounded_inflate import GZIP_MAGIC, gunzip, gunzip_head, unzstd
from ssl_core.gaussians.formats.claims import check_claim, read_file

MAGIC = b"NGSP"
ANTIALIASED = 0x1
EXTENSIONS = 0x2
COORDINATES = 0xADBE0003
SH_RANGE = 0xADBE0001
MAX_EXTENSION_BYTES = 64 * 1024
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


def read_container(source: Source, limit: int) -> SpzContent:
    """Unpack a .spz file of any version.

    Raises:
        GaussianFileError: no .spz, an unknown version, flag or degree, a count that is zero, above `limit` or not
            matched by the bytes, a damaged or truncated stream, bytes that belong to nothing, or a file that cannot be
            read or is larger than `limit` Gaussians can be.
    """
    content = read_file(source, 96 * limit + 1024 * 1024)
    if content[:2] == GZIP_MAGIC:
        return _read_gzip(source, content, limit)
    if content[:4] == MAGIC:
        return _read_zstd(source, content, limit)
    raise GaussianFileError(
        f"{source}: is no .spz: it begins with {content[:4].hex(' ') or 'nothing'}, expected 1f 8b (gzip, versions 1 "
        "to 3) or NGSP (version 4); export it again"
    )


def _read_gzip(source: Source, content: bytes, limit: int) -> SpzContent:
    head = gunzip_head(content, _HEAD.size)
    if len(head) < _HEAD.size or head[:4] != MAGIC:
        raise GaussianFileError(
            f"{source}: the gzip stream is damaged or holds no .spz (expected NGSP at offset 0); export it again"
        )
    _, version, count, degree, bits, flags, reserved = _HEAD.unpack(head)
    header = SpzHeader(version, count, degree, bits, flags)
    _check_header(source, header, limit, len(content), versions=(1, 2, 3), reserved=reserved != 0)
    sizes = header.attributes()
    end = _HEAD.size + sum(sizes.values())
    unpacked = gunzip(source, content, end + (MAX_EXTENSION_BYTES if flags & EXTENSIONS else 0))
    if len(unpacked) < end:
        raise GaussianFileError(
            f"{source}: holds {len(unpacked):,} bytes where {count:,} Gaussians (offset 8, numPoints) of version "
            f"{version} and SH degree {degree} need {end:,}; the count is wrong or the file cut: export it again"
        )
    view = memoryview(unpacked)
    streams = {}
    offset = _HEAD.size
    for name, size in sizes.items():
        streams[name] = view[offset : offset + size]
        offset += size
    return SpzContent(header, streams, _extensions(source, bytes(view[end:])))


def _read_zstd(source: Source, content: bytes, limit: int) -> SpzContent:
    if len(content) < _HEAD_4.size:
        raise GaussianFileError(f"{source}: is truncated within its header of {_HEAD_4.size} bytes; copy it again")
    _, version, count, degree, bits, flags, num_streams, toc, reserved = _HEAD_4.unpack_from(content)
    header = SpzHeader(version, count, degree, bits, flags)
    _check_header(source, header, limit, len(content), versions=(4,), reserved=any(reserved))
    sizes = header.attributes()
    if num_streams != len(sizes):
        raise GaussianFileError(
            f"{source}: numStreams (offset 15) is {num_streams}; SH degree {degree} needs {len(sizes)}: export it again"
        )
    between = toc - _HEAD_4.size
    if not 0 <= between <= (MAX_EXTENSION_BYTES if flags & EXTENSIONS else 0):
        raise GaussianFileError(
            f"{source}: tocByteOffset (offset 16) is {toc}; expected {_HEAD_4.size}"
            f"{f' to {_HEAD_4.size + MAX_EXTENSION_BYTES}' if flags & EXTENSIONS else ' without extensions'}: "
            "export it again"
        )
    streams = dict(_frames(source, content, toc, sizes))
    return SpzContent(header, streams, _extensions(source, content[_HEAD_4.size : toc]))


def _frames(source: Source, content: bytes, toc: int, sizes: dict[str, int]) -> Iterator[tuple[str, bytes]]:
    """Each attribute unpacked, after the table of sizes was found to describe the file to its last byte."""
    first = toc + _SIZES.size * len(sizes)
    if first > len(content):
        raise GaussianFileError(f"{source}: is truncated within its table of streams at offset {toc}; copy it again")
    packed = []
    for i, (name, size) in enumerate(sizes.items()):
        offset = toc + _SIZES.size * i
        compressed, unpacked = _SIZES.unpack_from(content, offset)
        if unpacked != size:
            raise GaussianFileError(
                f"{source}: stream '{name}' (table at offset {offset}) claims {unpacked:,} bytes where numPoints needs "
                f"{size:,}; export it again"
            )
        packed.append(compressed)
    if first + sum(packed) != len(content):
        raise GaussianFileError(
            f"{source}: is {len(content):,} bytes long where its table of streams (offset {toc}) asks for "
            f"{first + sum(packed):,}; it is truncated or has bytes after its end: copy it again"
        )
    offset = first
    for (name, size), compressed in zip(sizes.items(), packed, strict=True):
        yield name, unzstd(source, name, content[offset : offset + compressed], size)
        offset += compressed


def _check_header(
    source: Source, header: SpzHeader, limit: int, size: int, *, versions: tuple[int, ...], reserved: bool
) -> None:
    if header.version not in versions:
        packing = "zstd" if 4 in versions else "gzip"
        raise GaussianFileError(
            f"{source}: version (offset 4) is {header.version}; {packing} files of version "
            f"{' or '.join(map(str, versions))} can be read: export it as version 2, 3 or 4"
        )
    if header.degree >= len(SH_BYTES):
        raise GaussianFileError(f"{source}: shDegree (offset 12) is {header.degree}; expected 0 to 4: export it again")
    if header.fractional_bits > MAX_FRACTIONAL_BITS:
        raise GaussianFileError(
            f"{source}: fractionalBits (offset 13) is {header.fractional_bits}; positions have 24 bits in all: "
            "export it again"
        )
    unknown = header.flags & ~(ANTIALIASED | EXTENSIONS)
    if unknown:
        raise GaussianFileError(
            f"{source}: flags (offset 14) has unknown bits 0x{unknown:02x} (0x80 is a level-of-detail tree); what they "
            "change is not known: export it as plain .spz or .ply"
        )
    if reserved:
        raise GaussianFileError(f"{source}: reserved bytes of the header are not zero; export it again")
    check_claim(source, header.count, limit, sum(header.attributes().values()), size)


def _extensions(source: Source, content: bytes) -> dict[int, bytes]:
    """Records of type, length and payload, back to back to the last byte."""
    records: dict[int, bytes] = {}
    offset = 0
    while offset < len(content):
        start = offset + _RECORD.size
        kind, size = _RECORD.unpack_from(content, offset) if start <= len(content) else (0, 0)
        if kind == 0 or start + size > len(content):
            raise GaussianFileError(
                f"{source}: extension record {len(records)} (byte {offset} of {len(content)} of extensions) is damaged "
                "or cut; export it again without extensions"
            )
        records[kind] = content[start : start + size]
        offset = start + size
    return records
