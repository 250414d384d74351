"""A model of the renders' layout on its way into a pack: its cloud in the cameras' axes, its views over white.

See `layout_renders` for the files and `ssl_core.scenes.view_angles` for the cameras.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ssl_core.clouds.cloud_file import read_point_cloud
from ssl_core.clouds.points_file import ReadPoints
from ssl_core.data.object_pack import PackConfig
from ssl_core.errors import CameraError, DataError, ImageError
from ssl_core.files.image_files import MAX_BYTES, Pixels, decode_image, decode_with_mask, resize_image
from ssl_core.files.source import Source, read_bytes
from ssl_core.packing.objects import SplatObject
from ssl_core.packing.packed_object import ObjectViews, camera_arrays, resized_camera, stored_form
from ssl_core.packing.part_files import Carried
from ssl_core.scenes.cameras import Camera
from ssl_core.scenes.view_angles import MAX_ANGLES_BYTES, read_view_angles, y_up_to_z_up

WHITE = 255
ON_MASKS = 0.9
"""Share of the points that must fall on the masks, or beside them, for cloud and cameras to be of one frame."""


def read_cloud(item: SplatObject, *, drop_bad_rows: bool = False) -> ReadPoints:
    """The points of a model, turned to our axes. Raises PointCloudError."""
    points = read_point_cloud(item.gaussians, drop_bad_rows=drop_bad_rows)
    normals = None if points.normals is None else y_up_to_z_up(points.normals)
    points = replace(points, xyz=y_up_to_z_up(points.xyz), normals=normals)
    return ReadPoints(points.as_gaussians(), points.dropped, points.notes, points.groups)


def read_renders(item: SplatObject, xyz: NDArray[np.float32], config: PackConfig, size: int) -> ObjectViews:
    """The views with masks and cameras, brought to `size` pixels.

    Args:
        item: the model.
        xyz: [N, 3] its points in our axes; a note says so where they do not fall on the masks.
        config: how the pack is made; without an image size all pictures must have `size` pixels.
        size: side of the pack's views.

    Raises:
        ImageError: a picture cannot be read, is not square or of another size; a mask is missing, of another size than
            its picture, empty or full.
        CameraError: view.txt says no camera for a picture.
    """
    assert item.view_angles is not None
    cameras = _cameras(item, item.view_angles)
    stored, masks = [], []
    for i, view in enumerate(item.views):
        pixels, mask = _composited(view, item.masks[i] if item.masks else None)
        _check_shape(pixels, view, size if config.image_size is None else None)
        stored.append(stored_form(resize_image(pixels, size, size), config))
        masks.append(resize_image(mask, size, size))
    cameras = [resized_camera(camera, size, size) for camera in cameras]
    carried: Carried = {"masks": (np.stack(masks),), "cameras": camera_arrays(cameras)}
    share = float(np.mean([_share_on_mask(xyz, camera, mask) for camera, mask in zip(cameras, masks, strict=True)]))
    note = (
        f"{share:.0%} of the points fall on the masks: cloud and renders are of other axes or scale, so cameras do not "
        "belong to the cloud"
    )
    return ObjectViews(stored, carried, (note,) if share < ON_MASKS else ())


def _cameras(item: SplatObject, angles: Source) -> list[Camera]:
    """Of each view in a picture of one pixel; `resized_camera` makes it the pack's."""
    try:
        content = read_bytes(angles, MAX_ANGLES_BYTES)
    except DataError as error:
        raise CameraError(str(error)) from None
    return read_view_angles(content, str(angles), tuple(_number(view) for view in item.views), 1)


def _number(view: Source) -> int:
    """Of `render_7.png` the 7."""
    return int(view.name.rpartition(".")[0].rpartition("_")[2])


def _composited(view: Source, mask_file: Source | None) -> tuple[Pixels, Pixels]:
    """The picture over white [H, W, 3] and its mask [H, W]. Raises ImageError."""
    pixels, alpha = decode_with_mask(_bytes(view), str(view))
    if mask_file is None:
        if alpha is None:
            raise ImageError(f"{view}: has no mask: write mask_<number>.png beside it, or give it an alpha channel")
        mask, where = alpha, view
    else:
        mask, where = decode_image(_bytes(mask_file), str(mask_file))[..., 0], mask_file
    if mask.shape != pixels.shape[:2]:
        raise ImageError(f"{where}: is {_shape(mask)} pixels, its picture {_shape(pixels)}; make them of one size")
    if mask.max() <= 1 or mask.min() == WHITE:  # people also save 0 and 1
        kind = (
            "full: it covers every pixel"
            if mask.min() == WHITE
            else f"empty: its largest value is {mask.max()} of {WHITE}"
        )
        raise ImageError(f"{where}: the mask is {kind}; write 255 on the object and 0 beside it, or leave it out")
    see_through = alpha is not None and (alpha < WHITE).any()  # decoding has laid it over white
    return pixels if see_through else over_white(pixels, mask), mask


def over_white(pixels: Pixels, mask: Pixels) -> Pixels:
    """A picture [H, W, 3] before a background of one colour, laid over white by its mask [H, W].

    p = a f + (1 - a) b becomes p + (1 - a) (255 - b), where b is the median of what the mask does not cover; there
    the picture becomes white.
    """
    outside = mask == 0
    if not outside.any():
        return pixels
    background = np.median(pixels[outside], axis=0)
    clear = 1 - mask[..., None] / WHITE
    white = np.rint(pixels + clear * (WHITE - background))
    return np.where(outside[..., None], WHITE, np.clip(white, 0, WHITE)).astype(np.uint8)


def _bytes(source: Source) -> bytes:
    try:
        return read_bytes(source, MAX_BYTES)
    except DataError as error:
        raise ImageError(str(error)) from None


def _check_shape(pixels: Pixels, view: Source, size: int | None) -> None:
    height, width = pixels.shape[:2]
    if height != width:
        raise ImageError(f"{view}: is {_shape(pixels)} pixels; expected a square, as its camera has one focal length")
    if size is not None and width != size:
        raise ImageError(
            f"{view}: is {_shape(pixels)} pixels, others are {size} x {size}; give --image-size to bring all to one"
        )


def _shape(pixels: Pixels) -> str:
    return f"{pixels.shape[1]} x {pixels.shape[0]}"


def _share_on_mask(xyz: NDArray[np.float32], camera: Camera, mask: Pixels) -> float:
    """Share of the points [N, 3] that fall on a pixel that the mask covers, or next to one."""
    local = xyz @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
    in_front = local[:, 2] > 0
    pixels = (local @ camera.K.T)[:, :2] / np.where(in_front, local[:, 2], 1.0)[:, None]
    inside = in_front & (pixels >= 0).all(axis=1) & (pixels < len(mask)).all(axis=1)
    column, row = pixels[inside].astype(np.int64).T
    wide = np.pad(mask > 0, 1)
    near = np.any([np.roll(wide, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)], axis=0)[1:-1, 1:-1]
    return float(near[row, column].sum() / len(xyz))
