"""PlayCanvas' .sog files: a zip archive, or a folder, of meta.json and images, one pixel per Gaussian and image.

Source: "The SOG Format", version 2, of the PlayCanvas user manual. Files without a version are the older ones of the
sogs project: ranges instead of codebooks, everywhere a shape. Axes are those of the .ply file it was made from.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from ssl_core.errors import GaussianFileError
from ssl_core.files.source import Source, read_bytes
from ssl_core.gaussians.formats.bounded_reading import check_claim, naming, one_line
from ssl_core.gaussians.formats.gaussian_properties import logits_of_bytes, unpack_bytes
from ssl_core.gaussians.formats.sog_bundle import (
    MAX_META_BYTES,
    META,
    Pixels,
    SogBundle,
    SogFolder,
    decode_image,
    image_size,
    open_bundle,
)
from ssl_core.gaussians.gaussian_cloud import SH_REST, Floats, GaussianCloud, GaussianFile

Doubles = NDArray[np.float64]
Labels = NDArray[np.int64]

BYTES_EACH = 20
"""Bytes of pixels per Gaussian, without harmonics."""

COLUMNS = 64
"""Palette entries per row of the image of centroids."""

MAX_PALETTE = 65536
"""Labels have 16 bits."""


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
    """Names of the images and what their bytes mean."""

    version: int  # 1 or 2
    count: int  # Gaussians
    means: tuple[str, str]  # images of the low and the high bytes
    # mins and maxs: range of the positions' logarithms, [3]
    mins: Doubles
    maxs: Doubles
    scales: tuple[str, Doubles]  # image and meaning of each byte by channel, [256, 3]
    quats: str  # image
    sh0: tuple[str, Doubles]  # image and meaning of each byte by channel, [256, 3] or, with opacity logits, [256, 4]
    harmonics: SogHarmonics | None  # None for degree 0
    antialias: bool  # trained with antialiasing

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all images."""
        shn = (self.harmonics.centroids, self.harmonics.labels) if self.harmonics else ()
        return (*self.means, self.scales[0], self.quats, self.sh0[0], *shn)


def decode(source: Source, limit: int, find: Callable[[str], Source | None] = lambda _: None) -> GaussianFile:
    """Read a .sog of version 1 or 2.

    Args:
        source: a bundled file, or the meta.json of an unbundled one.
        limit: Gaussians at most.
        find: the file of a name beside meta.json.

    Raises:
        GaussianFileError: no archive or meta.json; a key, number or name that is not what the description says; an
            image that is missing, damaged, lossy or not of the size of the count; a quaternion without its index; a
            label beyond the palette; a file that cannot be read or is larger than `limit` Gaussians can be. Names the
            file, the key, image or pixel, and the remedy.
    """
    with naming(source):
        image_limit = 8 * limit + 1024 * 1024
        is_folder = source.name.lower() == META
        bundle = SogFolder(source, find) if is_folder else open_bundle(read_bytes(source, 3 * image_limit))
        meta = read_meta(bundle.read(META, MAX_META_BYTES))
        bands = 3 if meta.harmonics else 0
        unpacked = meta.count * (BYTES_EACH + 3 * SH_REST[bands])
        check_claim(meta.count, limit, unpacked, bundle.packed_size(meta.files))
        images = _Images(bundle, meta, image_limit)
        xyz = _means(images, meta)
        sh0 = images.pixels(meta.sh0[0])
        notes: tuple[str, ...] = ()
        if meta.version == 1:
            logits = meta.sh0[1][:, 3].astype(np.float32)[sh0[:, 3]]
        else:
            logits, notes = logits_of_bytes(sh0[:, 3])
        cloud = GaussianCloud(
            xyz=xyz,
            opacity_logits=logits,
            log_scales=_look_up(images.pixels(meta.scales[0]), meta.scales[1]),
            quaternions=_quaternions(images, meta),
            sh_dc=_look_up(sh0, meta.sh0[1]),
            sh_rest=_harmonics(images, meta),
        )
        return GaussianFile(cloud, "sog", cloud.sh_degree, (*_notes(meta), *notes))


class _Images:
    """The images of one file; all but the centroids have one size, which must fit the count."""

    def __init__(self, bundle: SogBundle | SogFolder, meta: SogMeta, limit: int) -> None:
        self.bundle, self.count, self.limit = bundle, meta.count, limit
        self.size: tuple[int, int] | None = None

    def pixels(self, name: str) -> Pixels:
        """Pixels of the Gaussians in row-major order, [N, 4]."""
        content = self.bundle.read(name, self.limit)
        size = image_size(name, content)
        width, height = size
        # The description asks for room for all; some writers take rounded or square images.
        if not self.count <= width * height <= 4 * self.count + 65536:
            raise GaussianFileError(
                f"image {name!r} is {width} x {height}; {self.count:,} Gaussians need as many pixels, and "
                "not many more: the count or the image is wrong: export it again"
            )
        if self.size not in (None, size):
            raise GaussianFileError(f"image {name!r} is {width} x {height}, others are {self.size}; export it again")
        self.size = size
        return decode_image(name, content).reshape(-1, 4)[: self.count]

    def palette(self, harmonics: SogHarmonics) -> Pixels:
        """Palette entries, [rows * 64, K, 4]."""
        name = harmonics.centroids
        content = self.bundle.read(name, self.limit)
        width, height = image_size(name, content)
        widths = {COLUMNS * SH_REST[bands]: bands for bands in ((harmonics.bands,) if harmonics.bands else (1, 2, 3))}
        bands = widths.get(width, 0)
        if not bands or not max(1, harmonics.count) <= COLUMNS * height <= MAX_PALETTE:
            raise GaussianFileError(
                f"image {name!r} is {width} x {height}; shN needs a width of {' or '.join(map(str, widths))} and "
                f"{max(1, -(-harmonics.count // COLUMNS))} to {MAX_PALETTE // COLUMNS} rows: export it again"
            )
        return decode_image(name, content).reshape(height * COLUMNS, SH_REST[bands], 4)


def _means(images: _Images, meta: SogMeta) -> Floats:
    """Positions: 16 bits between mins and maxs, then sign(v) * (exp|v| - 1)."""
    low, high = (images.pixels(name)[:, :3] for name in meta.means)
    steps = low.astype(np.uint16) | high.astype(np.uint16) << np.uint16(8)
    logarithms: Doubles = meta.mins + (meta.maxs - meta.mins) * (steps / 65535)
    with np.errstate(over="ignore"):  # `usable` deals with what is no float32
        return np.asarray(np.sign(logarithms) * np.expm1(np.abs(logarithms)), dtype=np.float32)


def _look_up(pixels: Pixels, values: Doubles) -> Floats:
    """The first three channels by their tables [256, 3 or 4]."""
    table = values.astype(np.float32)
    return np.stack([table[:, channel][pixels[:, channel]] for channel in range(3)], axis=1)


def _quaternions(images: _Images, meta: SogMeta) -> Floats:
    """Unit quaternions wxyz."""
    pixels = images.pixels(meta.quats)
    bad = pixels[:, 3] < 252
    if bad.any():
        first = int(np.argmax(bad))
        raise GaussianFileError(
            f"image {meta.quats!r} has alpha {pixels[first, 3]} at Gaussian {first}; expected "
            f"252 to 255, the index of the largest component ({int(bad.sum()):,} are wrong): export it again"
        )
    return unpack_bytes(pixels).astype(np.float32)


def _harmonics(images: _Images, meta: SogMeta) -> Floats:
    """Palette entries by label, [N, K, 3]."""
    if meta.harmonics is None:
        return np.zeros((meta.count, 0, 3), dtype=np.float32)
    palette = images.palette(meta.harmonics)
    entries = meta.harmonics.count or len(palette)
    pixels = images.pixels(meta.harmonics.labels)
    labels: Labels = pixels[:, 0] + 256 * pixels[:, 1].astype(np.int64)
    if labels.max() >= entries:
        first = int(np.argmax(labels >= entries))
        raise GaussianFileError(
            f"image {meta.harmonics.labels!r} has label {labels[first]} at Gaussian {first}; "
            f"the palette has {entries:,} entries: export it again"
        )
    return meta.harmonics.values.astype(np.float32)[palette[:entries, :, :3]][labels]


def _notes(meta: SogMeta) -> tuple[str, ...]:
    notes = [
        "positions have 16 bits on a logarithmic scale",
        "quaternions have 8 bits per component",
        "opacities, colours and scales have 8 bits",
        "the order is the encoder's, not that of the .ply file",
    ]
    if meta.harmonics:
        notes.append("spherical harmonics come from a palette shared by all Gaussians")
    if meta.antialias:
        notes.append("trained with antialiasing, which is not drawn here")
    return tuple(notes)


@dataclass(frozen=True)
class _Section:
    """One object of the JSON, read with errors that name the key."""

    name: str
    values: dict[str, Any]

    def fail(self, key: str, found: object, expected: str) -> GaussianFileError:
        where = f"{self.name}.{key}" if self.name else key
        return GaussianFileError(f"meta.json: '{where}' is {_short(found)}; expected {expected}: export it again")

    def section(self, key: str) -> "_Section":
        found = self.values.get(key)
        if not isinstance(found, dict):
            raise self.fail(key, found, "an object")
        return _Section(key, found)

    def integer(self, key: str, low: int, high: int) -> int:
        found = self.values.get(key)
        if not isinstance(found, int) or isinstance(found, bool) or not low <= found <= high:
            raise self.fail(key, found, f"a whole number from {low} to {high:,}")
        return found

    def number(self, key: str) -> float:
        """A number, alone or in a list of one."""
        found = self.values.get(key)
        if isinstance(found, list) and len(found) == 1:
            found = found[0]
        if not _is_number(found):
            raise self.fail(key, found, "a finite number")
        return float(found)

    def numbers(self, key: str, length: int) -> Doubles:
        """`length` numbers that are finite in float32."""
        found = self.values.get(key)
        items = found if isinstance(found, list) else []
        if len(items) != length or not all(_is_number(item) for item in items):
            raise self.fail(key, found, f"{length} finite numbers")
        return np.array(items, dtype=np.float64)

    def files(self, count: int) -> list[str]:
        found = self.values.get("files")
        if not isinstance(found, list) or len(found) != count or not all(isinstance(name, str) for name in found):
            raise self.fail("files", found, f"{count} names")
        return found

    def range(self, length: int) -> tuple[Doubles, Doubles]:
        mins, maxs = self.numbers("mins", length), self.numbers("maxs", length)
        if (mins > maxs).any():
            raise self.fail("mins", mins.tolist(), "numbers not above those of maxs")
        return mins, maxs

    def image_with_values(self, version: int, channels: int) -> tuple[str, Doubles]:
        """The image and what each byte means: [256, 3] by the codebook or, in version 1, [256, channels] by ranges."""
        (name,) = self.files(1)
        if version == 2:
            return name, np.tile(self.numbers("codebook", 256)[:, None], 3)
        return name, _ramp(*self.range(channels))


def read_meta(text: bytes) -> SogMeta:
    """Parse and check meta.json.

    Raises GaussianFileError: no JSON, an unknown version, or a key that is missing or out of range; names the key.
    """
    try:
        parsed = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise GaussianFileError(f"meta.json is not JSON ({one_line(error)}); export it again") from None
    if not isinstance(parsed, dict):
        raise GaussianFileError(f"meta.json is {_short(parsed)}; expected an object: export it again")
    root = _Section("", parsed)
    version = parsed.get("version", 1)
    if "version" in parsed and (version != 2 or isinstance(version, bool | float)):
        raise root.fail("version", version, "2, or no version (the older files of sogs)")
    means, scales, quats, sh0 = (root.section(key) for key in ("means", "scales", "quats", "sh0"))
    if version == 1 and quats.values.get("encoding", "quaternion_packed") != "quaternion_packed":
        raise quats.fail("encoding", quats.values["encoding"], "'quaternion_packed'")
    low, high = means.files(2)
    mins, maxs = means.range(3)
    return SogMeta(
        version=version,
        count=root.integer("count", 0, 2**53) if version == 2 else _count_of_shape(means),
        means=(low, high),
        mins=mins,
        maxs=maxs,
        scales=scales.image_with_values(version, 3),
        quats=quats.files(1)[0],
        sh0=sh0.image_with_values(version, 4),
        harmonics=_read_palette(root, version),
        antialias=version == 2 and root.values.get("antialias") is True,
    )


def _count_of_shape(means: _Section) -> int:
    shape = means.values.get("shape")
    count = shape[0] if isinstance(shape, list) and shape else None
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise means.fail("shape", shape, "the number of Gaussians and 3")
    return count


def _read_palette(root: _Section, version: int) -> SogHarmonics | None:
    if root.values.get("shN") is None:
        return None
    shn = root.section("shN")
    centroids, labels = shn.files(2)
    if version == 1:
        return SogHarmonics(centroids, labels, _ramp(shn.number("mins"), shn.number("maxs"))[:, 0], 0, 0)
    bands, count = shn.integer("bands", 1, 3), shn.integer("count", 1, MAX_PALETTE)
    return SogHarmonics(centroids, labels, shn.numbers("codebook", 256), bands, count)


def _ramp(mins: Doubles | float, maxs: Doubles | float) -> Doubles:
    """Evenly spaced values of the 256 bytes, [256, channels]."""
    return mins + (maxs - mins) * (np.arange(256) / 255)[:, None]


def _is_number(value: object) -> TypeGuard[int | float]:
    """Finite, and still so as float32; NaN and infinity are not below the bound."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 3e38


def _short(value: object) -> str:
    if value is None:
        return "missing"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    return repr(value)[:60] if not isinstance(value, int) or abs(value) < 1e30 else "a huge number"
