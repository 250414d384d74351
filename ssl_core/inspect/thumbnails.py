"""Small pictures for the inspection page: the stored views of objects beside renders of their Gaussians."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ssl_core.data.object_pack import Pack
from ssl_core.data.pack_arrays import COLUMNS
from ssl_core.errors import DataError
from ssl_core.gaussians.gaussian_cloud import GaussianCloud
from ssl_core.render.views import render_views

Pixels = NDArray[np.uint8]

SIZE = 96
"""Side of a thumbnail in pixels."""
PER_OBJECT = 3
"""Views and renders of each object."""
MAX_OBJECTS = 200
"""In a page, however many classes there are: ten megabytes and a minute."""
MAX_DRAWN = 200_000
"""Gaussians drawn of one cloud; of more, those that cover most."""


@dataclass(frozen=True)
class Thumbnails:
    """One object."""

    class_name: str  # its class
    name: str  # its key in the pack; untrusted text
    gaussians: int  # how many were drawn
    views: tuple[str, ...]  # data URIs of its first stored views
    # data URIs of its Gaussians from the orbit that `splat` and `pack` look from; none where they cannot be drawn
    renders: tuple[str, ...]


def pack_thumbnails(pack: Pack, per_class: int) -> list[Thumbnails]:
    """Up to `per_class` objects of each class, from the one with fewest Gaussians to the one with most."""
    chosen: list[int] = []
    present = [label for label in range(len(pack.manifest.class_names)) if (pack.labels == label).any()]
    for label in present:
        members = np.flatnonzero(pack.labels == label)
        members = members[np.argsort(pack.num_rows[members], kind="stable")]
        count = min(per_class, len(members), max(1, MAX_OBJECTS // len(present)))
        places = np.linspace(0, len(members) - 1, count) if count > 1 else np.array([len(members) // 2])[:count]
        chosen += members[places.astype(int)].tolist()
    return [_object(pack, index) for index in chosen[:MAX_OBJECTS]]


def cloud_pictures(cloud: GaussianCloud, count: int = 4, size: int = 256) -> tuple[str, ...]:
    """Data URIs of `count` renders; none where the cloud cannot be drawn."""
    try:
        return tuple(data_uri(image) for image in render_views(most_visible(cloud), count, size))
    except DataError:
        return ()


def most_visible(cloud: GaussianCloud, limit: int = MAX_DRAWN) -> GaussianCloud:
    """The `limit` Gaussians with the largest alpha times area, so that a page is made in seconds."""
    if len(cloud) <= limit:
        return cloud
    # the two larger axes are what a surface shows
    covered = np.log(cloud.alphas() + 1e-6) + np.sort(cloud.log_scales, axis=1)[:, 1:].sum(axis=1)
    return cloud.select(np.sort(np.argpartition(covered, -limit)[-limit:]))


def cloud_of(rows: NDArray[np.float32]) -> GaussianCloud:
    """A pack's rows [N, 59] (`features.COLUMNS`) as a cloud of degree 3."""
    return GaussianCloud(
        xyz=rows[:, COLUMNS["xyz"]],
        opacity_logits=rows[:, 3],
        log_scales=rows[:, COLUMNS["scale"]],
        quaternions=rows[:, COLUMNS["rotation"]],
        sh_dc=rows[:, COLUMNS["sh_dc"]],
        sh_rest=rows[:, COLUMNS["sh_rest"]].reshape(len(rows), 3, 15).transpose(0, 2, 1),
    )


def data_uri(image: Pixels) -> str:
    """uint8 [H, W, 3] as a WebP in a data URI: two to five kilobytes at SIZE."""
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(stream, format="WEBP", quality=85)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()


def shrunk(image: Pixels, size: int = SIZE) -> Pixels:
    """uint8 [H, W, 3] brought down so that its longer side is at most `size`."""
    made = Image.fromarray(np.ascontiguousarray(image))
    made.thumbnail((size, size))
    return np.asarray(made)


def _object(pack: Pack, index: int) -> Thumbnails:
    item = pack.manifest.objects[index]
    first = item.first_view
    views = pack.views[first : first + min(PER_OBJECT, item.views)].transpose(0, 2, 3, 1)
    return Thumbnails(
        class_name=item.class_name,
        name=item.key,
        gaussians=item.rows,
        views=tuple(data_uri(shrunk(view)) for view in views),
        renders=cloud_pictures(cloud_of(pack.rows_of(index)), PER_OBJECT, SIZE),
    )
