"""One object on its way into a pack: its Gaussians or points filtered and ordered, its views stored, and extras."""

import hashlib
import io
import time
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl_core.clouds.points_file import ReadPoints
from ssl_core.data.object_pack import PackConfig
from ssl_core.data.pack_arrays import GEOMETRY_WIDTH, rows_of
from ssl_core.data.sampling import farthest_point_order, farthest_point_orders
from ssl_core.errors import CameraError, DataError, GaussianFileError
from ssl_core.files.image_files import (
    MAX_BYTES,
    Pixels,
    as_bytes,
    decode_image,
    decode_with_mask,
    encode_image,
    resize_image,
)
from ssl_core.files.source import read_bytes
from ssl_core.files.unicode_names import nfc
from ssl_core.gaussians.gaussian_cloud import GaussianCloud
from ssl_core.packing.objects import SplatObject
from ssl_core.packing.part_files import Carried
from ssl_core.scenes.cameras import Camera
from ssl_core.scenes.checked_values import MAX_JSON_BYTES, parse_json_bytes
from ssl_core.scenes.inria import read_inria

MAX_RENDERED = 300_000
"""Gaussians of one object that views are rendered from; more would not fit a worker's memory."""

MAX_LABEL = 2**15 - 1

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
    """The Gaussians of one object as a pack stores them."""

    # [N, 14] xyz, opacity logit, log-scales, quaternion wxyz, f_dc; farthest-point order first
    geometry: NDArray[np.float32]
    orders: NDArray[np.int32]  # [starts, L] farthest-point orders, the first of them 0, 1, 2,
    carried: Carried  # of sh_rest ([N, 45], channel-major) and part labels ([N]) those that the object has
    cloud: GaussianCloud  # all Gaussians of the file that can be used, for rendering
    dropped: int  # those that cannot
    notes: tuple[str, ...]  # what the file could not carry
    groups: tuple[str, ...]  # feature groups that are the file's own


@dataclass(frozen=True, eq=False)
class ObjectViews:
    """The views of one object in stored form, the masks and cameras that it has, what its files could not carry."""

    stored: Sequence[Pixels | bytes]
    carried: Carried
    notes: tuple[str, ...] = ()


def source_digest(item: SplatObject) -> str:
    """Digest of the bytes of all files of an object and of what a list says of it, 16 hex digits. Raises DataError."""
    digest = hashlib.sha256(item.listed.encode())
    buffer = memoryview(bytearray(_READ_BYTES))
    for source in item.sources:
        try:
            with source.open() as stream:
                while count := stream.readinto(buffer):  # type: ignore[attr-defined]
                    digest.update(buffer[:count])
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise DataError(f"{source}: cannot be read ({error}); copy it again") from None
    return digest.hexdigest()[:16]


def ordered_points(item: SplatObject, read: ReadPoints, config: PackConfig, clock: PackTimes) -> Ordered:
    """Filter and order the Gaussians of one object. Raises GaussianFileError: none of them is opaque enough."""
    cloud = read.cloud
    with clock("parse"):
        labels = _part_labels(item, len(cloud), read.dropped)
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
        rows = rows_of(cloud.select(chosen))
        geometry, rest = rows[:, :GEOMETRY_WIDTH], rows[:, GEOMETRY_WIDTH:]
        carried: Carried = {
            **({"sh_rest": (rest,)} if rest.any() else {}),
            **({} if labels is None else {"part_labels": (labels[chosen],)}),
        }
    return Ordered(geometry, orders, carried, cloud, len(read.dropped), read.notes, read.groups)


def _farthest_first(
    xyz: NDArray[np.float32], kept: NDArray[np.int64], key: str, config: PackConfig
) -> NDArray[np.int64]:
    """Kept indices with the farthest-point prefix first, the rest behind it in file order.

    Where not all fit, the rest is drawn uniformly: a trainer appends what it splits, so the head of a file is biased.
    """
    prefix = farthest_point_order(xyz, min(config.cached_points, config.max_gaussians), 0)
    rest = np.setdiff1d(np.arange(len(xyz)), prefix, assume_unique=True)
    room = config.max_gaussians - len(prefix)
    if len(rest) > room:
        rest = np.sort(generator(key, config, 1).choice(rest, room, replace=False))
    ordered: NDArray[np.int64] = kept[np.concatenate([prefix, rest])]
    return ordered


def _orders(xyz: NDArray[np.float32], key: str, config: PackConfig) -> NDArray[np.int32]:
    """[starts, L]; the first is that of the rows themselves."""
    length = min(config.cached_points, len(xyz))
    orders = np.arange(length, dtype=np.int32)[None]
    if config.starts == 1:
        return orders
    starts = farthest_point_orders(xyz, length, config.starts - 1, generator(key, config, 0))
    return np.concatenate([orders, starts])


def generator(key: str, config: PackConfig, purpose: int) -> np.random.Generator:
    """Randomness by the object's name: what else is packed, where and when does not matter."""
    return np.random.default_rng([config.seed, int(hashlib.sha256(key.encode()).hexdigest()[:8], 16), purpose])


def _part_labels(item: SplatObject, used: int, dropped: NDArray[np.int64]) -> NDArray[np.int16] | None:
    """[used] in the order of the file of Gaussians, without its rows `dropped`; None without a file of labels.

    Raises GaussianFileError: it is damaged, or not of the file's length.
    """
    if item.part_labels is None:
        return None
    gaussians = used + len(dropped)
    content = read_bytes(item.part_labels, 8 * gaussians + 2**16)
    try:
        labels = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError, TypeError) as error:
        reason = ascii(" ".join(str(error).split())[:120])
        raise GaussianFileError(f"{item.part_labels}: is no .npy file ({reason}); write it again") from None
    whole = isinstance(labels, np.ndarray) and labels.shape == (gaussians,) and labels.dtype.kind in "iu"
    if not whole or labels.min() < 0 or labels.max() > MAX_LABEL:
        raise GaussianFileError(
            f"{item.part_labels}: expected {gaussians} integers from 0 to {MAX_LABEL}, one per Gaussian of "
            f"{item.gaussians.name} (255 for no part); write it again"
        )
    found: NDArray[np.int16] = np.delete(labels, dropped).astype(np.int16)
    return found


def read_views(item: SplatObject, config: PackConfig, size: int) -> ObjectViews:
    """The views of the files, brought to `size` pixels.

    Masks are the files beside the views, else the views' own alpha.

    Raises:
        ImageError: a view or a mask cannot be read. CameraError: the file of cameras is damaged.
    """
    stored, alphas = [], []
    for view in item.views:
        pixels, alpha = decode_with_mask(read_bytes(view, MAX_BYTES), str(view))
        stored.append(stored_form(resize_image(pixels, size, size), config))
        if alpha is not None:
            alphas.append(resize_image(alpha, size, size))
    if item.masks:
        files = [decode_image(read_bytes(mask, MAX_BYTES), str(mask))[..., 0] for mask in item.masks]
        masks = [resize_image(mask, size, size) for mask in files]
    else:
        # pictures that were only saved with an alpha channel say nothing of the object
        says = len(alphas) == len(stored) and any((alpha < 255).any() for alpha in alphas)
        masks = alphas if says else []
    cameras = _cameras_of_file(item, size)
    carried: Carried = {
        **({"masks": (np.stack(masks),)} if masks else {}),
        **({"cameras": camera_arrays(cameras)} if cameras else {}),
    }
    unused = item.cameras is not None and not cameras
    return ObjectViews(stored, carried, ("cameras.json names other pictures, so it was not used",) if unused else ())


def _cameras_of_file(item: SplatObject, size: int) -> list[Camera]:
    """The camera of each view in stored pixels; none where no file names all of them. Raises CameraError."""
    if item.cameras is None:
        return []
    where = str(item.cameras)
    try:
        content = read_bytes(item.cameras, MAX_JSON_BYTES)
    except DataError as error:
        raise CameraError(str(error)) from None
    entries = parse_json_bytes(content, where)
    if not isinstance(entries, list):
        raise CameraError(f"{where}: is no list of cameras, as INRIA's trainer writes it")
    found = {view.name: view.camera for view in read_inria(Path(where), entries).views}
    names = [nfc(view.name) for view in item.views]
    cameras = [found.get(name, found.get(name.rpartition(".")[0])) for name in names]
    known = [resized_camera(camera, size, size) for camera in cameras if camera is not None]
    return known if len(known) == len(cameras) else []


def resized_camera(camera: Camera, width: int, height: int) -> Camera:
    """The camera of a picture that is brought to `width` x `height`, squeezed where the shape differs."""
    scale = np.diag([width / camera.width, height / camera.height, 1.0])
    return Camera(camera.viewmat, scale @ camera.K, width, height)


def camera_arrays(cameras: Sequence[Camera]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """As a pack has them: [V, 4, 4] world -> camera and [V, 3, 3] intrinsics."""
    return np.stack([camera.viewmat for camera in cameras]), np.stack([camera.K for camera in cameras])


def rendered_views(cloud: GaussianCloud, config: PackConfig, size: int) -> ObjectViews:
    """Views drawn from the Gaussians, on the GPU where there is one. Raises GaussianFileError: too many Gaussians."""
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
        views = render(cloud, config.rendered_views, size, device=device)
    finally:
        torch.set_num_threads(before)
    carried: Carried = {"masks": (views.masks,), "cameras": camera_arrays(views.cameras)}
    return ObjectViews([stored_form(image, config) for image in views.images], carried)


def views_of_arrays(
    images: Sequence[NDArray[np.float32]],
    alphas: Sequence[NDArray[np.float32]],
    cameras: Sequence[Camera],
    config: PackConfig,
) -> ObjectViews:
    """Views [H, W, 3] and masks [H, W] in [0, 1] with their cameras, in stored form."""
    masks = np.stack([as_bytes(alpha) for alpha in alphas])
    carried: Carried = {"masks": (masks,), "cameras": camera_arrays(cameras)}
    return ObjectViews([stored_form(as_bytes(image), config) for image in images], carried)


def stored_form(pixels: Pixels, config: PackConfig) -> Pixels | bytes:
    """uint8 [S, S, 3] as [3, S, S], or the encoded picture."""
    if config.codec == "raw":
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))
    return encode_image(pixels, config.codec)
