"""One object on its way into a pack: read, filtered, ordered, its views decoded or rendered."""

import hashlib
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ssl_core.data.object_pack import GEOMETRY_WIDTH, SH_REST_WIDTH, PackConfig
from ssl_core.data.sampling import farthest_point_order, farthest_point_orders
from ssl_core.errors import DataError, GaussianFileError
from ssl_core.files.image_files import MAX_BYTES, Pixels, decode_with_mask, encode_image, resize_image
from ssl_core.files.source import Source, read_bytes
from ssl_core.gaussians.gaussian_cloud import GaussianCloud
from ssl_core.gaussians.gaussian_file import read_gaussians
from ssl_core.packing.objects import SplatObject

if TYPE_CHECKING:
    from ssl_core.render.views import RenderedViews

MAX_RENDERED = 300_000
"""Gaussians of one object that views are rendered from; more would not fit a worker's memory."""

_READ_BYTES = 2**18


class PackTimes:
    """Seconds spent on each kind of work."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, kind: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[kind] = self.seconds.get(kind, 0.0) + time.perf_counter() - started


@dataclass(frozen=True, eq=False)
class Ordered:
    """The Gaussians of one object as a pack stores them.

    Args:
        geometry: [N, 14] xyz, opacity logit, log-scales, quaternion wxyz, f_dc; farthest-point order first.
        sh_rest: [N, 45] channel-major; None when there is nothing above degree 0.
        orders: [starts, L] farthest-point orders, the first of them 0, 1, 2, ...
        chosen: [N] where each row stands in the file.
        cloud: all Gaussians of the file, for rendering.
        notes: what the file could not carry.
    """

    geometry: NDArray[np.float32]
    sh_rest: NDArray[np.float32] | None
    orders: NDArray[np.int32]
    chosen: NDArray[np.int64]
    cloud: GaussianCloud
    notes: tuple[str, ...]


def source_digest(item: SplatObject) -> str:
    """What `PackObject.source_digest` of the files as they are now would be. Raises DataError."""
    digest = hashlib.sha256()
    for source in item.sources:
        hash_source(source, digest)
    return digest.hexdigest()[:16]


def hash_source(source: Source, digest: "hashlib._Hash") -> None:
    """Add the bytes of a source. Raises DataError."""
    buffer = memoryview(bytearray(_READ_BYTES))
    try:
        with source.open() as stream:
            while count := stream.readinto(buffer):  # type: ignore[attr-defined]
                digest.update(buffer[:count])
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(f"{source}: cannot be read ({error}); copy it again") from None


def read_ordered(item: SplatObject, config: PackConfig, clock: PackTimes) -> Ordered:
    """Read, filter and order the Gaussians of one object.

    Raises:
        GaussianFileError: the file is unusable, or none of its Gaussians is opaque enough.
    """
    with clock("parse"):
        file = read_gaussians(item.gaussians)
        cloud = file.cloud
        kept = np.flatnonzero(cloud.alphas() > config.alpha_threshold)
    if len(kept) == 0:
        raise GaussianFileError(
            f"{item.gaussians}: none of its {len(cloud)} Gaussians has alpha above {config.alpha_threshold}; "
            "lower --alpha-threshold or leave the object out (--skip-bad)"
        )
    with clock("sample"):
        chosen = _farthest_first(cloud.xyz[kept], kept, item.key, config)
        orders = _orders(cloud.xyz[chosen], item.key, config)
    with clock("parse"):
        return Ordered(_geometry(cloud, chosen), _sh_rest(cloud, chosen), orders, chosen, cloud, file.notes)


def _farthest_first(
    xyz: NDArray[np.float32], kept: NDArray[np.int64], key: str, config: PackConfig
) -> NDArray[np.int64]:
    """Kept indices with the farthest-point prefix first, the rest behind it in file order.

    Where not all fit, the rest is drawn uniformly: a trainer appends what it splits, so the head of a file is biased.
    """
    prefix = farthest_point_order(xyz, min(config.cached_points, config.max_gaussians), 0)
    others = np.ones(len(xyz), dtype=bool)
    others[prefix] = False
    rest = np.flatnonzero(others)
    room = config.max_gaussians - len(prefix)
    if len(rest) > room:
        rest = np.sort(_generator(key, config, 1).choice(rest, room, replace=False))
    ordered: NDArray[np.int64] = kept[np.concatenate([prefix, rest])]
    return ordered


def _orders(xyz: NDArray[np.float32], key: str, config: PackConfig) -> NDArray[np.int32]:
    """[starts, L]; the first is that of the rows themselves."""
    length = min(config.cached_points, len(xyz))
    orders = np.arange(length, dtype=np.int32)[None]
    if config.starts == 1:
        return orders
    starts = farthest_point_orders(xyz, length, config.starts - 1, _generator(key, config, 0))
    return np.concatenate([orders, starts])


def _generator(key: str, config: PackConfig, purpose: int) -> np.random.Generator:
    """Randomness by the object's name: what else is packed, where and when does not matter."""
    return np.random.default_rng([config.seed, int(hashlib.sha256(key.encode()).hexdigest()[:8], 16), purpose])


def _geometry(cloud: GaussianCloud, chosen: NDArray[np.int64]) -> NDArray[np.float32]:
    rows = np.empty((len(chosen), GEOMETRY_WIDTH), dtype=np.float32)
    rows[:, 0:3] = cloud.xyz[chosen]
    rows[:, 3] = cloud.opacity_logits[chosen]
    rows[:, 4:7] = cloud.log_scales[chosen]
    rows[:, 7:11] = cloud.quaternions[chosen]
    rows[:, 11:14] = cloud.sh_dc[chosen]
    return rows


def _sh_rest(cloud: GaussianCloud, chosen: NDArray[np.int64]) -> NDArray[np.float32] | None:
    count = cloud.sh_rest.shape[1]
    if count == 0:
        return None
    rest = np.zeros((len(chosen), 3, SH_REST_WIDTH // 3), dtype=np.float32)
    rest[:, :, :count] = cloud.sh_rest[chosen].transpose(0, 2, 1)
    return rest.reshape(len(chosen), SH_REST_WIDTH) if rest.any() else None


def read_views(
    item: SplatObject, config: PackConfig, image_size: int, digest: "hashlib._Hash"
) -> Iterator[tuple[Pixels | bytes, Pixels | None]]:
    """The views of the files in stored form, one at a time, and the alpha [S, S] of each that has one.

    `digest` takes the bytes of their files.

    Raises:
        ImageError: one cannot be read.
    """
    for view in item.views:
        content = read_bytes(view, MAX_BYTES)
        digest.update(content)
        pixels, alpha = decode_with_mask(content, str(view))
        alpha = None if alpha is None else resize_image(alpha, image_size, image_size)
        yield stored_form(resize_image(pixels, image_size, image_size), config), alpha


def rendered_views(cloud: GaussianCloud, config: PackConfig, image_size: int) -> "RenderedViews":
    """Views drawn from the Gaussians, on the GPU where there is one.

    Raises:
        GaussianFileError: too many Gaussians.
    """
    if len(cloud) > MAX_RENDERED:
        raise GaussianFileError(
            f"has {len(cloud):,} Gaussians and no views; views are rendered from at most {MAX_RENDERED:,}: "
            "give images, or export fewer Gaussians"
        )
    import torch

    from ssl_core.render.views import rendered_views as render

    device = "cuda" if torch.cuda.is_available() else "cpu"
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # a worker has one core; sums also come out the same everywhere
    try:
        return render(cloud, config.rendered_views, image_size, device=device)
    finally:
        torch.set_num_threads(before)


def stored_form(pixels: Pixels, config: PackConfig) -> Pixels | bytes:
    """uint8 [S, S, 3] as [3, S, S], or the encoded picture."""
    if config.codec == "raw":
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))
    return encode_image(pixels, config.codec)
