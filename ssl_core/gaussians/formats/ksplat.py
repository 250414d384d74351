"""The .ksplat of mkkellogg's GaussianSplats3D, version 0.1: 24 to 140 bytes per Gaussian.

A header of 4,096 bytes, a header of 1,024 bytes for each section, then the sections; everything is little-endian. A
Gaussian is centre, standard deviations (linear), rotation wxyz, red, green, blue and alpha as bytes, and harmonics of
degree 1 to 2, each degree channel-major. At compression level 0 they are float32. At level 1 and 2 centres are 16-bit
steps from the middle of a bucket of the section, whose lengths and middles stand before its Gaussians; all else are
halves, at level 2 with harmonics as bytes between the bounds of the header. World axes are the .ply's.

Source: SplatBuffer.js of https://github.com/mkkellogg/GaussianSplats3D, which reads and writes it.
"""

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_core.errors import GaussianFileError
from ssl_core.files.source import Source, read_bytes
from ssl_core.gaussians.formats.bounded_reading import naming
from ssl_core.gaussians.formats.gaussian_properties import check_count, logits_of_bytes
from ssl_core.gaussians.gaussian_cloud import SH_C0, SH_REST, Floats, GaussianCloud, GaussianFile, empty_cloud

HEADER_BYTES, SECTION_BYTES = 4096, 1024
MAX_SECTIONS = 4096
MAX_DEGREE = 2
BUCKET_BYTES = 12
DEFAULT_RANGE = 32767
DEFAULT_SH_BOUND = 1.5
"""What a zero in the header stands for."""

LEAST_HALF = 2.0**-25
"""A standard deviation that became zero as a half: half of the smallest one above zero."""

_DC = ((np.arange(256) / 255 - 0.5) / SH_C0).astype(np.float32)
_HEADER = struct.Struct("<BB2xIIIIH2x12xff")
_SECTION = struct.Struct("<IIIIfH2xI4xIIH")

Records = NDArray[np.void]


@dataclass(frozen=True)
class KsplatHeader:
    """What holds for all sections."""

    sections: int
    count: int
    level: int
    sh_bounds: tuple[float, float]  # meaning of the bytes 0 and 255 at level 2


@dataclass(frozen=True)
class KsplatSection:
    """One section: its Gaussians, buckets and where its bytes stand."""

    count: int
    bucket_size: int
    full: int  # buckets of that size, in front
    partial: int  # buckets whose sizes are listed
    step: float  # of the coordinates
    range: int  # the step that is the middle of a bucket
    record: np.dtype[Any]
    start: int

    @property
    def middles_start(self) -> int:
        """Where the middles of the buckets stand."""
        return self.start + 4 * self.partial

    @property
    def records_start(self) -> int:
        """Where the Gaussians stand."""
        return self.middles_start + BUCKET_BYTES * (self.full + self.partial)

    @property
    def end(self) -> int:
        """Where the next section begins."""
        return self.records_start + self.count * int(self.record.itemsize)


def decode(source: Source, limit: int) -> GaussianFile:
    """Read a .ksplat of at most `limit` Gaussians.

    Raises:
        GaussianFileError: missing, another version or level, counts that do not fit each other or the bytes, too
            many Gaussians. Names the offset.
    """
    with naming(source):
        content = read_bytes(source, HEADER_BYTES + MAX_SECTIONS * SECTION_BYTES + 160 * limit)
        header = _read_header(content)
        check_count(header.count, limit)
        sections = _read_sections(content, header)
        degree = max(_degree(section.record) for section in sections)
        cloud, alphas = empty_cloud(header.count, SH_REST[degree]), np.empty(header.count, dtype=np.uint8)
        first = 0
        for section in sections:
            rows = slice(first, first + section.count)
            _fill(cloud, alphas, rows, content, header, section)
            first = rows.stop
        notes = _log_scales(cloud, header.level)
        cloud.opacity_logits[:], clipped = logits_of_bytes(alphas)
    return GaussianFile(cloud, "ksplat", degree, (*_notes(header.level, degree), *notes, *clipped))


def _read_header(content: bytes) -> KsplatHeader:
    if len(content) < HEADER_BYTES:
        raise GaussianFileError(
            f"is {len(content)} bytes long, less than the header of a .ksplat ({HEADER_BYTES}); copy it again"
        )
    major, minor, most, sections, most_gaussians, count, level, low, high = _HEADER.unpack_from(content)
    if (major, minor) != (0, 1):
        raise GaussianFileError(
            f"is no .ksplat of version 0.1 (offset 0 says {major}.{minor}); make it from the .ply with a current "
            "GaussianSplats3D, or give the .ply"
        )
    if level > 2:
        raise GaussianFileError(f"compression level (offset 20) is {level}; expected 0, 1 or 2: export it again")
    if not sections == most <= MAX_SECTIONS or count != most_gaussians:
        raise GaussianFileError(
            f"holds {sections:,} of {most:,} sections and {count:,} of {most_gaussians:,} Gaussians (offsets 4 to 16; "
            f"all are expected, and at most {MAX_SECTIONS:,} sections): it was not whole when it was saved; export it "
            "again"
        )
    if count == 0:
        raise GaussianFileError("holds 0 Gaussians (offset 16); train or export it again")
    bounds = (low or -DEFAULT_SH_BOUND, high or DEFAULT_SH_BOUND)
    if not np.isfinite(bounds).all():
        raise GaussianFileError("bounds of the harmonics (offset 36) are not finite; export it again")
    return KsplatHeader(sections, count, level, bounds)


def _read_sections(content: bytes, header: KsplatHeader) -> list[KsplatSection]:
    """The sections, which fill the file to its last byte."""
    at = HEADER_BYTES + header.sections * SECTION_BYTES
    if at > len(content):
        raise GaussianFileError(f"is truncated within the headers of its {header.sections:,} sections; copy it again")
    sections = []
    for number in range(header.sections):
        sections.append(_read_section(content, header.level, number, at))
        at = sections[-1].end
    count = sum(section.count for section in sections)
    if at != len(content) or count != header.count:
        raise GaussianFileError(
            f"is {len(content):,} bytes long with {header.count:,} Gaussians where its {header.sections:,} sections "
            f"make {at:,} with {count:,}; it is truncated or a count is wrong: copy or export it again"
        )
    for number, section in enumerate(sections):
        lengths = np.frombuffer(content, "<u4", section.partial, section.start)
        bucketed = section.full * section.bucket_size + int(lengths.sum(dtype=np.uint64))
        if header.level and bucketed != section.count:
            raise GaussianFileError(
                f"section {number} has {section.count:,} Gaussians, its buckets hold {bucketed:,}; export it again"
            )
    return sections


def _read_section(content: bytes, level: int, number: int, start: int) -> KsplatSection:
    offset = HEADER_BYTES + number * SECTION_BYTES
    count, most, bucket_size, buckets, block, bucket_bytes, steps, full, partial, degree = _SECTION.unpack_from(
        content, offset
    )
    steps = steps or DEFAULT_RANGE
    if count != most or degree > MAX_DEGREE:
        raise GaussianFileError(
            f"section {number} (offset {offset}) has {count:,} of {most:,} Gaussians and SH degree {degree}; expected "
            f"all, and a degree up to {MAX_DEGREE}: export it again"
        )
    if level == 0:
        if buckets or full or partial:
            raise GaussianFileError(f"section {number} (offset {offset}) has buckets at level 0; export it again")
        return KsplatSection(count, 0, 0, 0, 0.0, 0, _record(level, degree), start)
    if bucket_bytes != BUCKET_BYTES or full + partial != buckets or not 0 <= block < np.inf:
        raise GaussianFileError(
            f"section {number} (offset {offset}) has {full:,} + {partial:,} of {buckets:,} buckets of {bucket_bytes} "
            f"bytes and size {block:g}; its header is damaged: export it again"
        )
    return KsplatSection(count, bucket_size, full, partial, block / 2 / steps, steps, _record(level, degree), start)


def _record(level: int, degree: int) -> np.dtype[Any]:
    """One Gaussian."""
    centre, real, harmonic = (("<f4", "<f4", "<f4"), ("<u2", "<f2", "<f2"), ("<u2", "<f2", "u1"))[level]
    return np.dtype(
        [("centre", centre, 3), ("scales", real, 3), ("wxyz", real, 4), ("rgba", "u1", 4),
         ("sh", harmonic, 3 * SH_REST[degree])]
    )  # fmt: skip


def _degree(record: np.dtype[Any]) -> int:
    return SH_REST.index(record["sh"].shape[0] // 3)


def _fill(
    cloud: GaussianCloud,
    alphas: NDArray[np.uint8],
    rows: slice,
    content: bytes,
    header: KsplatHeader,
    section: KsplatSection,
) -> None:
    """Put a section's Gaussians into their rows; scales are still linear and opacities bytes."""
    records: Records = np.frombuffer(content, section.record, section.count, section.records_start)
    cloud.sh_dc[rows] = _DC[records["rgba"][:, :3]]
    alphas[rows] = records["rgba"][:, 3]
    cloud.sh_rest[rows] = 0
    # What is not finite, here or as float32, is refused later, by name.
    with np.errstate(over="ignore", invalid="ignore"):
        cloud.xyz[rows] = records["centre"] if header.level == 0 else _centres(content, section, records)
        cloud.log_scales[rows] = records["scales"]
        cloud.quaternions[rows] = records["wxyz"]
        for degree in range(1, _degree(section.record) + 1):
            low, high = SH_REST[degree - 1], SH_REST[degree]
            stored = records["sh"][:, 3 * low : 3 * high].reshape(section.count, 3, high - low)
            cloud.sh_rest[rows, low:high] = _harmonics(stored, header).transpose(0, 2, 1)


def _centres(content: bytes, section: KsplatSection, records: Records) -> NDArray[np.float64]:
    lengths = np.full(section.full + section.partial, section.bucket_size, dtype=np.int64)
    lengths[section.full :] = np.frombuffer(content, "<u4", section.partial, section.start)
    middles = np.frombuffer(content, "<f4", 3 * len(lengths), section.middles_start).reshape(-1, 3)
    steps = records["centre"].astype(np.float64) - section.range
    centres: NDArray[np.float64] = steps * section.step + np.repeat(middles, lengths, axis=0)
    return centres


def _harmonics(stored: NDArray[Any], header: KsplatHeader) -> NDArray[Any]:
    if header.level < 2:
        return stored
    low, high = header.sh_bounds
    values: Floats = (low + np.arange(256) / 255 * (high - low)).astype(np.float32)
    found: Floats = values[stored]
    return found


def _log_scales(cloud: GaussianCloud, level: int) -> tuple[str, ...]:
    """Linear scales to logarithms, in place; the note when some of the halves were zero."""
    scales: Floats = cloud.log_scales
    zero = (scales == 0).any(axis=1)
    if level:
        scales[scales == 0] = LEAST_HALF
    with np.errstate(divide="ignore", invalid="ignore"):  # of zero or less, which is refused later
        np.log(scales, out=scales)
    note = f"scales of {int(zero.sum()):,} Gaussians are below what 16 bits hold; they are read as 2^-25"
    return (note,) if level and zero.any() else ()


def _notes(level: int, degree: int) -> list[str]:
    notes = ["colours and opacities have 8 bits"]
    if level:
        notes.append("centres have 16 bits between the bounds of a bucket, scales and rotations 16 bits")
    if degree:
        harmonic = "32-bit floats", "16-bit floats", "8 bits"
        notes.append(f"spherical harmonics have {harmonic[level]}")
    else:
        notes.append("no spherical harmonics beyond the constant are in the file")
    return notes
