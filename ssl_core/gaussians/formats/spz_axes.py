"""Which way the axes of a .spz point, and what turns them to those of a .ply.

The format's description says RUB (x right, y up, z back), and its library turns a .ply's RDF (x right, y down, z
forward) into it when it is told what it is given. Told nothing, it keeps the axes as they are: so do the format's own
`ply_to_spz` and PlayCanvas' splat-transform. Both kinds come from one library with the same header, so a file says
which only where it has the extension of coordinates (0xadbe0003). Else a .ply of the same Gaussians decides, or a
person; RUB is assumed where nobody does.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ssl_core.errors import ConfigError, GaussianFileError
from ssl_core.gaussians.gaussian_cloud import Floats

SpzAxes = Literal["rub", "ply"]
"""What a file without the extension keeps: the axes of its description, or those of the .ply it was made from."""

COORDINATES = 0xADBE0003
"""The extension that names the axes."""

RUB, RDF = 4, 6
"""Axes have a number: 1 + (1 for right) + (2 for up) + (4 for forward); 9 to 16 swap y and z besides."""

SH_AXES = ("y", "z", "x", "xy", "yz", "", "xz", "", "y", "xyz", "y", "z", "x", "z", "x")
"""Axes in which each basis function of degree 1 to 3 is odd: mirroring one of them changes the coefficient's sign."""

_TURN = np.array([1.0, -1.0, -1.0], dtype=np.float32)
"""RUB to RDF, and back: half a turn about x."""

_LEVELS = np.linspace(0, 1, 101)
_SAME, _OTHER = 0.02, 0.1
"""Shares of the spread of the centres: nearer than the one is the same scene, further than the other is not."""


@dataclass(frozen=True, eq=False)
class StoredAxes:
    """The axes of one file."""

    signs: Floats  # factors of x, y and z to RDF, +-1, [3]
    note: str  # which they are, and who says so


def checked_axes(text: str | None) -> SpzAxes | None:
    """What a person gave. Raises ConfigError for anything else than `rub`, `ply` or nothing."""
    found: SpzAxes | None = next((name for name in get_args(SpzAxes) if name == text), None)
    if found is None and text is not None:
        raise ConfigError(f"--spz-axes is {ascii(text)[:40]}; give rub (the format's description) or ply (a .ply's)")
    return found


def declared_axes(extensions: dict[int, bytes]) -> StoredAxes | None:
    """Those that the file names. Raises GaussianFileError: an extension of coordinates that is not understood."""
    payload = extensions.get(COORDINATES)
    axes = int.from_bytes(payload or b"", "little")
    if payload is not None and (len(payload) != 4 or axes > 8):
        raise GaussianFileError(
            f"extension 0x{COORDINATES:08x} names axes {axes}; expected 1 to 8 (y up or down): export it with RUB axes"
        )
    if not axes:  # no extension, or one that leaves it open
        return None
    different = (axes - 1) ^ (RDF - 1)
    signs = np.array([-1.0 if different >> i & 1 else 1.0 for i in range(3)], dtype=np.float32)
    name = "".join(pair[axes - 1 >> i & 1] for i, pair in enumerate(("LR", "DU", "BF")))
    return StoredAxes(signs, f"axes: {name}, as the file itself names them")


def chosen_axes(asked: SpzAxes | None, stored: Floats, ply: Floats | None) -> StoredAxes:
    """Those of a file that names none.

    Args:
        asked: what a person says; it counts before the .ply.
        stored: centres in the file's own axes, [N, 3].
        ply: centres of the .ply beside it, [M, 3], where there is one that can be read.
    """
    if asked is not None:
        return _as(asked, "as --spz-axes says")
    if ply is not None and (found := matching_axes(stored, ply)) is not None:
        return _as(found, "as the .ply beside it shows")
    seen = "" if ply is None else " (the .ply beside it holds other Gaussians and does not tell)"
    return StoredAxes(
        _TURN,
        f"axes: RUB assumed, the format's own, as the file names none{seen}; if it keeps those of a .ply, it is turned "
        "by 180° about x here: give --spz-axes ply",
    )


def matching_axes(stored: Floats, ply: Floats) -> SpzAxes | None:
    """The axes in which the centres of a .spz [N, 3] are those of a .ply [M, 3]; None where neither or both fit.

    Gaussian by Gaussian where the counts agree, else (or in another order) by the distribution along each axis.
    """
    if not (np.isfinite(stored).all() and np.isfinite(ply).all()):
        return None
    spread = float(np.abs(ply - ply.mean(axis=0, dtype=np.float64)).mean())
    if spread == 0:
        return None
    found = None
    if len(stored) == len(ply):
        found = _nearer(spread, *(float(np.abs(stored * signs - ply).mean(dtype=np.float64)) for signs in (_TURN, 1)))
    if found is None:
        theirs = np.quantile(ply, _LEVELS, axis=0)
        ours = (np.quantile(stored * signs, _LEVELS, axis=0) for signs in (_TURN, np.float32(1)))
        found = _nearer(spread, *(float(np.abs(one - theirs).mean()) for one in ours))
    return found


def _nearer(spread: float, turned: float, kept: float) -> SpzAxes | None:
    if turned < _SAME * spread and kept > _OTHER * spread:
        return "rub"
    return "ply" if kept < _SAME * spread and turned > _OTHER * spread else None


def _as(axes: SpzAxes, who: str) -> StoredAxes:
    if axes == "rub":
        return StoredAxes(_TURN, f"axes: RUB, the format's own, {who}")
    return StoredAxes(np.ones(3, dtype=np.float32), f"axes: those of a .ply (RDF), {who}")


def mirror_signs(signs: NDArray[np.floating]) -> Floats:
    """Factors [15] of the coefficients of degree 1 to 3 when the axes x, y, z are multiplied by `signs` (+-1, [3])."""
    by_axis = dict(zip("xyz", signs, strict=True))
    return np.array([np.prod([by_axis[axis] for axis in axes]) for axes in SH_AXES], dtype=np.float32)
