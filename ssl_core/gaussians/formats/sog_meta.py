"""meta.json of a .sog file, as values that were checked.

Source: "The SOG Format" of the PlayCanvas user manual (version 2). Files without a version are the older ones of the
sogs project: ranges instead of codebooks, everywhere a shape.
"""

import json
import math
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from ssl_core.errors import GaussianFileError
from ssl_core.files.source import Source

Doubles = NDArray[np.float64]

MAX_PALETTE = 65536
"""Labels have 16 bits."""

MAX_LOG_POSITION = 88.0
"""Positions are stored as logarithms; beyond this they would not fit float32."""


@dataclass(frozen=True, eq=False)
class SogHarmonics:
    """Palette of spherical harmonics: which images, what their bytes mean, how many entries; version 1 leaves bands and
    count (0) to the size of the image."""

    centroids: str
    labels: str
    values: Doubles
    bands: int
    count: int


@dataclass(frozen=True, eq=False)
class SogMeta:
    """Names of the images and what their bytes mean.

    Args:
        version: 1 or 2.
        count: Gaussians.
        means: images of the low and the high bytes.
        mins, maxs: range of the positions' logarithms, [3].
        scales: image and meaning of each byte by channel, [256, 3].
        quats: image.
        sh0: image and meaning of each byte by channel, [256, 3] or, with opacity logits, [256, 4].
        harmonics: None for degree 0.
        antialias: trained with antialiasing.
    """

    version: int
    count: int
    means: tuple[str, str]
    mins: Doubles
    maxs: Doubles
    scales: tuple[str, Doubles]
    quats: str
    sh0: tuple[str, Doubles]
    harmonics: SogHarmonics | None
    antialias: bool


@dataclass(frozen=True)
class _Section:
    """One object of the JSON, read with errors that name the key."""

    source: Source
    name: str
    values: dict[str, Any]

    def fail(self, key: str, found: object, expected: str) -> GaussianFileError:
        where = f"{self.name}.{key}" if self.name else key
        return GaussianFileError(
            f"{self.source}: meta.json: '{where}' is {_short(found)}; expected {expected}: export it again"
        )

    def section(self, key: str) -> "_Section":
        found = self.values.get(key)
        if not isinstance(found, dict):
            raise self.fail(key, found, "an object")
        return _Section(self.source, key, found)

    def integer(self, key: str, low: int, high: int) -> int:
        found = self.values.get(key)
        if not isinstance(found, int) or isinstance(found, bool) or not low <= found <= high:
            raise self.fail(key, found, f"a whole number from {low} to {high:,}")
        return found

    def numbers(self, key: str, length: int) -> Doubles:
        """`length` numbers that are finite in float32."""
        found = self.values.get(key)
        items = found if isinstance(found, list) else []
        if len(items) != length or not all(_is_number(item) for item in items):
            raise self.fail(key, found, f"{length} finite numbers")
        return np.array(items, dtype=np.float64)

    def files(self, count: int) -> tuple[str, ...]:
        found = self.values.get("files")
        if not isinstance(found, list) or len(found) != count or not all(isinstance(name, str) for name in found):
            raise self.fail("files", found, f"{count} names")
        return tuple(found)

    def range(self, length: int) -> tuple[Doubles, Doubles]:
        mins, maxs = self.numbers("mins", length), self.numbers("maxs", length)
        if (mins > maxs).any():
            raise self.fail("mins", mins.tolist(), "numbers not above those of maxs")
        return mins, maxs


def read_meta(source: Source, text: bytes) -> SogMeta:
    """Parse and check meta.json.

    Raises:
        GaussianFileError: no JSON, an unknown version, or a key that is missing or out of range; names the key.
    """
    try:
        parsed = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise GaussianFileError(f"{source}: meta.json is not JSON ({reason}); export it again") from None
    if not isinstance(parsed, dict):
        raise GaussianFileError(f"{source}: meta.json is {_short(parsed)}; expected an object: export it again")
    root = _Section(source, "", parsed)
    if "version" not in parsed:
        return _version_1(root)
    if parsed["version"] != 2 or isinstance(parsed["version"], bool | float):
        raise root.fail("version", parsed["version"], "2, or no version (the older files of sogs)")
    return _version_2(root)


def _version_2(root: _Section) -> SogMeta:
    means, scales, sh0 = root.section("means"), root.section("scales"), root.section("sh0")
    harmonics = None
    if root.values.get("shN") is not None:
        shn = root.section("shN")
        centroids, labels = shn.files(2)
        bands, count = shn.integer("bands", 1, 3), shn.integer("count", 1, MAX_PALETTE)
        harmonics = SogHarmonics(centroids, labels, shn.numbers("codebook", 256), bands, count)
    return SogMeta(
        version=2,
        count=root.integer("count", 0, 2**53),
        means=_pair(means),
        **_means_range(means),
        scales=(scales.files(1)[0], np.tile(scales.numbers("codebook", 256)[:, None], 3)),
        quats=root.section("quats").files(1)[0],
        sh0=(sh0.files(1)[0], np.tile(sh0.numbers("codebook", 256)[:, None], 3)),
        harmonics=harmonics,
        antialias=root.values.get("antialias") is True,
    )


def _version_1(root: _Section) -> SogMeta:
    means, scales, quats, sh0 = (root.section(key) for key in ("means", "scales", "quats", "sh0"))
    shape = means.values.get("shape")
    count = shape[0] if isinstance(shape, list) and shape else None
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise means.fail("shape", shape, "the number of Gaussians and 3")
    if quats.values.get("encoding", "quaternion_packed") != "quaternion_packed":
        raise quats.fail("encoding", quats.values["encoding"], "'quaternion_packed'")
    harmonics = None
    if root.values.get("shN") is not None:
        shn = root.section("shN")
        low, high = (_scalar(shn, key) for key in ("mins", "maxs"))
        centroids, labels = shn.files(2)
        harmonics = SogHarmonics(centroids, labels, _ramp(np.array([low]), np.array([high]))[:, 0], 0, 0)
    return SogMeta(
        version=1,
        count=count,
        means=_pair(means),
        **_means_range(means),
        scales=(scales.files(1)[0], _ramp(*scales.range(3))),
        quats=quats.files(1)[0],
        sh0=(sh0.files(1)[0], _ramp(*sh0.range(4))),
        harmonics=harmonics,
        antialias=False,
    )


def _pair(section: _Section) -> tuple[str, str]:
    low, high = section.files(2)
    return low, high


def _means_range(means: _Section) -> dict[str, Doubles]:
    mins, maxs = means.range(3)
    for key, values in (("mins", mins), ("maxs", maxs)):
        if (np.abs(values) > MAX_LOG_POSITION).any():
            raise means.fail(key, values.tolist(), f"logarithms within +-{MAX_LOG_POSITION:g}")
    return {"mins": mins, "maxs": maxs}


def _ramp(mins: Doubles, maxs: Doubles) -> Doubles:
    """Evenly spaced values of the 256 bytes, [256, channels]."""
    return mins + (maxs - mins) * (np.arange(256) / 255)[:, None]


def _scalar(section: _Section, key: str) -> float:
    """A number, alone or in a list of one."""
    found = section.values.get(key)
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if not _is_number(found):
        raise section.fail(key, found, "a finite number")
    return float(found)


def _is_number(value: object) -> TypeGuard[int | float]:
    """Finite, and still so as float32."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 3e38 if isinstance(value, int) else math.isfinite(value) and abs(value) < 3e38


def _short(value: object) -> str:
    if value is None:
        return "missing"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    return repr(value)[:60] if not isinstance(value, int) or abs(value) < 1e30 else "a huge number"
