"""PlayCanvas' .sog files: a zip archive of meta.json and images, one pixel per Gaussian and image.

Source: "The SOG Format", version 2, of the PlayCanvas user manual; version 1 as the sogs project wrote it. Axes are
those of the .ply file it was made from.
"""

import numpy as np
from numpy.typing import NDArray

from ssl_core.errors import GaussianFileError
from ssl_core.files.source import Source
from ssl_core.gaussians.formats.alphas import logits_of_bytes
from ssl_core.gaussians.formats.claims import check_claim
from ssl_core.gaussians.formats.decoded_file import GaussianFile
from ssl_core.gaussians.formats.smallest_three import unpack_bytes
from ssl_core.gaussians.formats.sog_bundle import MAX_META_BYTES, META, SogBundle, open_bundle
from ssl_core.gaussians.formats.sog_images import Pixels, decode_image, image_size
from ssl_core.gaussians.formats.sog_meta import MAX_PALETTE, SogHarmonics, SogMeta, read_meta
from ssl_core.gaussians.gaussian_cloud import SH_REST, Floats, GaussianCloud

Doubles = NDArray[np.float64]
Labels = NDArray[np.int64]

BYTES_EACH = 20
"""Bytes of pixels per Gaussian, without harmonics."""

COLUMNS = 64
"""Palette entries per row of the image of centroids."""


def decode(source: Source, limit: int) -> GaussianFile:
    """Read a bundled .sog file of version 1 or 2.

    Raises:
        GaussianFileError: no archive or meta.json; a key, number or name that is not what the description says; an
            image that is missing, damaged, lossy or not of the size of the count; a quaternion without its index; a
            label beyond the palette; a file that cannot be read or is larger than `limit` Gaussians can be. Names the
            file, the key, image or pixel, and the remedy.
    """
    image_limit = 8 * limit + 1024 * 1024
    bundle = open_bundle(source, 3 * image_limit)
    meta = read_meta(source, bundle.read(META, MAX_META_BYTES))
    bands = 3 if meta.harmonics else 0
    check_claim(source, meta.count, limit, meta.count * (BYTES_EACH + 3 * SH_REST[bands]), bundle.size)
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

    def __init__(self, bundle: SogBundle, meta: SogMeta, limit: int) -> None:
        self.bundle, self.count, self.limit = bundle, meta.count, limit
        self.size: tuple[int, int] | None = None

    def pixels(self, name: str) -> Pixels:
        """Pixels of the Gaussians in row-major order, [N, 4]."""
        source, content = self.bundle.source, self.bundle.read(name, self.limit)
        size = image_size(source, name, content)
        width, height = size
        # The description asks for room for all; some writers take rounded or square images.
        if not self.count <= width * height <= 4 * self.count + 65536:
            raise GaussianFileError(
                f"{source}: image {name!r} is {width} x {height}; {self.count:,} Gaussians need as many pixels, and "
                "not many more: the count or the image is wrong: export it again"
            )
        if self.size not in (None, size):
            raise GaussianFileError(
                f"{source}: image {name!r} is {width} x {height}, others are {self.size}; export it again"
            )
        self.size = size
        return decode_image(source, name, content).reshape(-1, 4)[: self.count]

    def palette(self, harmonics: SogHarmonics) -> Pixels:
        """Palette entries, [rows * 64, K, 4]."""
        source, name = self.bundle.source, harmonics.centroids
        content = self.bundle.read(name, self.limit)
        width, height = image_size(source, name, content)
        widths = {COLUMNS * SH_REST[bands]: bands for bands in ((harmonics.bands,) if harmonics.bands else (1, 2, 3))}
        bands = widths.get(width, 0)
        if not bands or not max(1, harmonics.count) <= COLUMNS * height <= MAX_PALETTE:
            raise GaussianFileError(
                f"{source}: image {name!r} is {width} x {height}; shN needs a width of "
                f"{' or '.join(map(str, widths))} and {max(1, -(-harmonics.count // COLUMNS))} to "
                f"{MAX_PALETTE // COLUMNS} rows: export it again"
            )
        return decode_image(source, name, content).reshape(height * COLUMNS, SH_REST[bands], 4)


def _means(images: _Images, meta: SogMeta) -> Floats:
    """Positions: 16 bits between mins and maxs, then sign(v) * (exp|v| - 1)."""
    low, high = (images.pixels(name)[:, :3] for name in meta.means)
    steps = low.astype(np.uint16) | high.astype(np.uint16) << np.uint16(8)
    logarithms: Doubles = meta.mins + (meta.maxs - meta.mins) * (steps / 65535)
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
            f"{images.bundle.source}: image {meta.quats!r} has alpha {pixels[first, 3]} at Gaussian {first}; expected "
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
            f"{images.bundle.source}: image {meta.harmonics.labels!r} has label {labels[first]} at Gaussian {first}; "
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
