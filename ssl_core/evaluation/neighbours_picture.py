"""A picture of what an encoder takes for alike: in each row a query and its five nearest, right and wrong ones marked.

Rows are taken evenly from the best to the worst answered query: neither triumphs alone nor failures alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ssl_core.data.object_pack import Pack
from ssl_core.errors import DataError
from ssl_core.evaluation.embedding_plot import GREY, INK, png
from ssl_core.evaluation.ranking import Retrieval
from ssl_core.inspect.thumbnails import cloud_of, most_visible, shrunk
from ssl_core.render.views import render_views

Pixels = NDArray[np.uint8]
RIGHT, WRONG = "#15803d", "#b91c1c"
_DRAWN = 20_000
"""Gaussians drawn of an object without views"""


@dataclass(frozen=True)
class Tile:
    """One object: picture uint8 [H, W, 3] and the name of its class."""

    picture: Pixels
    class_name: str


@dataclass(frozen=True)
class Example:
    """A query, its nearest objects, nearest first, and which of them are right."""

    query: Tile
    nearest: tuple[Tile, ...]
    right: tuple[bool, ...]


def shown_queries(retrieval: Retrieval, rows: int) -> NDArray[np.int64]:
    """Rows of `retrieval` to show: evenly spaced from the highest average precision to the lowest."""
    order = np.argsort(-retrieval.average_precision, kind="stable")
    places = np.linspace(0, len(order) - 1, min(rows, len(order))).round().astype(int)
    chosen: NDArray[np.int64] = order[np.unique(places)]
    return chosen


def pack_examples(
    pack: Pack,
    retrieval: Retrieval,
    query_objects: NDArray[np.int64],
    gallery_objects: NDArray[np.int64],
    *,
    rows: int = 8,
    size: int = 96,
) -> list[Example]:
    """Examples of a retrieval among objects of a pack; a neighbour is right when it is of the query's class.

    Args:
        pack: where pictures and class names come from.
        retrieval: what was found.
        query_objects: [q] index into the pack of each query.
        gallery_objects: [g] of each member of the gallery.
        rows: how many examples.
        size: longer side of a picture in pixels.
    """
    names, labels = pack.manifest.class_names, pack.labels

    def tile(index: int) -> Tile:
        return Tile(object_picture(pack, index, size), names[labels[index]])

    examples = []
    for row in shown_queries(retrieval, rows).tolist():
        query = int(query_objects[retrieval.queries[row]])
        near = [int(gallery_objects[place]) for place in retrieval.neighbours[row] if place >= 0]
        right = tuple(bool(labels[index] == labels[query]) for index in near)
        examples.append(Example(tile(query), tuple(tile(index) for index in near), right))
    return examples


def object_picture(pack: Pack, index: int, size: int) -> Pixels:
    """uint8 [H, W, 3]: the object's first stored view, or else a render of its Gaussians; white when it has neither."""
    item = pack.manifest.objects[index]
    if item.views:
        return shrunk(pack.views[item.first_view : item.first_view + 1][0].transpose(1, 2, 0), size)
    try:
        rendered: Pixels = render_views(most_visible(cloud_of(pack.rows_of(index)), _DRAWN), 1, size)[0]
        return rendered
    except DataError:
        return np.full((size, size, 3), 255, dtype=np.uint8)


def neighbours_png(examples: Sequence[Example], title: str) -> bytes:
    """PNG with a row per example: the query, a gap, its nearest; green frames and a tick mark what is right."""
    columns = max((len(example.nearest) for example in examples), default=0)
    rows = max(1, len(examples))
    figure = Figure(figsize=(1.15 * (columns + 1) + 0.5, 1.32 * rows + 0.7), layout="constrained")
    ratios = [1.0, 0.12, *([1.0] * columns)]
    grid = figure.subplots(rows, columns + 2, squeeze=False, width_ratios=ratios)
    for axes in grid.flat:
        axes.set_axis_off()
    for row, example in zip(grid, examples, strict=False):
        _draw(row[0], example.query, example.query.class_name, INK)
        for axes, tile, right in zip(row[2:], example.nearest, example.right, strict=False):
            mark, colour = ("✓", RIGHT) if right else ("✗", WRONG)
            _draw(axes, tile, f"{mark} {tile.class_name}", colour)
    figure.suptitle(title, fontsize=11, color=INK, x=0.01, ha="left")
    figure.supxlabel("left: query; then its nearest by cosine of the features", fontsize=8, color=GREY)
    return png(figure)


def _draw(axes: Axes, tile: Tile, name: str, colour: str) -> None:
    axes.set_axis_on()
    axes.imshow(tile.picture, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.set_title(name.replace("_", " "), fontsize=7.5, color=colour, pad=2)
    for side in axes.spines.values():
        side.set(color=colour, linewidth=1.6)
