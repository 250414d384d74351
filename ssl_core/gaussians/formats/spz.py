"""Niantic's .spz files, versions 1 to 4: 20 to 65 bytes per Gaussian before compression.

Source: the format's description in the README of nianticlabs/spz. A file stores RUB axes (x right, y up, z back) unless
an extension names others; they are brought to the RDF axes (x right, y down, z forward) of .ply files.
"""

import numpy as np
from numpy.typing import NDArray

from ssl_core.errors import GaussianFileError
from ssl_core.files.source import Source
from ssl_core.gaussians.formats.alphas import logits_of_bytes
from ssl_core.gaussians.formats.decoded_file import GaussianFile
from ssl_core.gaussians.formats.smallest_three import unpack_10_bits
from ssl_core.gaussians.formats.spz_container import ANTIALIASED, COORDINATES, SH_RANGE, SpzContent, read_container
from ssl_core.gaussians.gaussian_cloud import SH_REST, Floats, GaussianCloud

Bytes = NDArray[np.uint8]

SH_AXES = ("y", "z", "x", "xy", "yz", "", "xz", "", "y", "xyz", "y", "z", "x", "z", "x")
"""Axes in which each basis function of degree 1 to 3 is odd: mirroring one of them changes the coefficient's sign."""

RUB = 4
RDF = 6
"""Axes have a number: 1 + (1 for right) + (2 for up) + (4 for forward); 9 to 16 swap y and z besides."""

COLOUR_SCALE = 0.15
"""Colour byte / 255 = 0.5 + COLOUR_SCALE * sh_dc."""


def decode(source: Source, limit: int) -> GaussianFile:
    """Read a .spz file; degree 4 is cut to 3.

    Raises:
        GaussianFileError: see `read_container`; also positions that are not finite (version 1) and extensions that
            change the meaning of the numbers in a way this reader does not know.
    """
    content = read_container(source, limit)
    header = content.header
    signs = _signs(source, content)
    logits, notes = logits_of_bytes(_bytes(content, "alphas", 1)[:, 0])
    cloud = GaussianCloud(
        xyz=_positions(source, content) * signs,
        opacity_logits=logits,
        log_scales=_table(np.arange(256) / 16 - 10)[_bytes(content, "scales", 3)],
        quaternions=_quaternions(content, signs),
        sh_dc=_table((np.arange(256) / 255 - 0.5) / COLOUR_SCALE)[_bytes(content, "colors", 3)],
        sh_rest=_harmonics(content, signs),
    )
    return GaussianFile(cloud, "spz", header.degree, (*_notes(content), *notes))


def mirror_signs(signs: Floats) -> Floats:
    """Factors [15] of the coefficients of degree 1 to 3 when the axes x, y, z are multiplied by `signs` (+-1, [3])."""
    by_axis = dict(zip("xyz", signs, strict=True))
    return np.array([np.prod([by_axis[axis] for axis in axes]) for axes in SH_AXES], dtype=np.float32)


def _bytes(content: SpzContent, name: str, width: int) -> Bytes:
    return np.frombuffer(content.streams[name], dtype=np.uint8).reshape(content.header.count, width)


def _table(values: NDArray[np.float64]) -> Floats:
    """What each of the 256 bytes means."""
    return values.astype(np.float32)


def _positions(source: Source, content: SpzContent) -> Floats:
    header = content.header
    if header.version == 1:
        halves = np.frombuffer(content.streams["positions"], dtype="<f2").reshape(header.count, 3).astype(np.float32)
        if not np.isfinite(halves).all():
            first = int(np.flatnonzero(~np.isfinite(halves).all(axis=1))[0])
            raise GaussianFileError(f"{source}: position of Gaussian {first} is not finite; drop it or train again")
        return halves
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


def _signs(source: Source, content: SpzContent) -> Floats:
    """Factors of x, y and z from the file's axes to RDF."""
    if SH_RANGE in content.extensions:
        raise GaussianFileError(
            f"{source}: extension 0x{SH_RANGE:08x} gives the spherical harmonics another range, which this reader does "
            "not know; export it without"
        )
    payload = content.extensions.get(COORDINATES, RUB.to_bytes(4, "little"))
    axes = int.from_bytes(payload, "little") or RUB
    if len(payload) != 4 or axes > 8:
        raise GaussianFileError(
            f"{source}: extension 0x{COORDINATES:08x} names axes {axes}; expected 1 to 8 (y up or down): "
            "export it with RUB axes"
        )
    different = (axes - 1) ^ (RDF - 1)
    return np.array([-1.0 if different >> i & 1 else 1.0 for i in range(3)], dtype=np.float32)


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
    notes += [f"extension 0x{kind:08x} is ignored" for kind in content.extensions if kind != COORDINATES]
    return tuple(notes)
