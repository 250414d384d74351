"""Pictures of an encoder: maps of its features (t-SNE, principal components), confusion of a probe, nearest neighbours.

Drawn with matplotlib's object interface on the Agg canvas: no window system, no global state, safe in threads.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler

from ssl_core.data.object_pack import Pack
from ssl_core.errors import DataError
from ssl_core.evaluation.ranking import Retrieval
from ssl_core.inspect.thumbnails import cloud_of, most_visible, shrunk
from ssl_core.render.views import render_views

MOST_POINTS = 2000
"""t-SNE takes seconds per thousand objects; more than this are thinned out evenly"""
INK, GREY = "#1f2430", "#6b7280"


def tsne_embedding(features: NDArray[np.floating], seed: int = 0) -> NDArray[np.float64]:
    """[n, F] -> [n, 2] by t-SNE (van der Maaten & Hinton 2008) on standardised features, fixed seed.

    Fewer than five objects have no neighbourhoods to keep: their first two principal components are returned.
    """
    x = StandardScaler().fit_transform(features.astype(np.float64))
    n = len(x)
    width = min(50, *x.shape)
    # a constant encoder has no components, and the noise below gives it its honest blob
    if n > 1 and x.std() > 1e-12:
        x = PCA(width, random_state=seed).fit_transform(x)
    if n < 5 or x.shape[1] < 2:
        return np.pad(x, ((0, 0), (0, max(0, 2 - x.shape[1]))))[:, :2]
    x = x + 1e-6 * np.random.default_rng(seed).normal(size=x.shape)
    method = TSNE(2, perplexity=min(30.0, (n - 1) / 3), init="random", random_state=seed)
    if x[:, :2].std() > 1e-3:
        method.set_params(init=x[:, :2] / x[:, 0].std() * 1e-4)
    embedded: NDArray[np.float64] = method.fit_transform(x).astype(np.float64)
    return embedded


def embedding_png(
    features: NDArray[np.floating], labels: NDArray[np.integer], class_names: Sequence[str], title: str
) -> bytes:
    """PNG of the t-SNE map of `features [n, F]`, coloured by `labels [n]`, names where a class is dense."""
    if len(features) > MOST_POINTS:
        keep = np.linspace(0, len(features) - 1, MOST_POINTS).astype(int)
        features, labels = features[keep], labels[keep]
    places = tsne_embedding(features)
    figure = Figure(figsize=(7.2, 6.4), layout="constrained")
    axes = figure.add_subplot()
    for index, colour in enumerate(scatter_classes(axes, places, labels, class_names)):
        members, name = places[labels == index], class_names[index]
        if len(members) == 0:
            continue
        axes.annotate(
            name, tuple(_crowded(members)), xytext=(0, 9), textcoords="offset points", ha="center", va="bottom",
            fontsize=8, color=INK,
            bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": colour, "alpha": 0.85},
        )  # fmt: skip
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=11, color=INK, loc="left")
    axes.set_xlabel("t-SNE of the test objects' features: near is similar, distances far apart mean little",
                    fontsize=8, color=GREY)  # fmt: skip
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_color("#d1d5db")
    return png(figure)


def confusion_png(counts: NDArray[np.floating], class_names: Sequence[str], title: str) -> bytes:
    """PNG of `counts [true class, predicted class]`: shade = share of the true class, number = objects."""
    size = len(class_names)
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1e-12)
    side = max(5.0, 0.45 * size + 2.5)
    figure = Figure(figsize=(side, side * 0.9), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if size <= 20:
        for row in range(size):
            for column in range(size):
                if counts[row, column] > 0:
                    ink = "white" if shares[row, column] > 0.55 else INK
                    count = f"{counts[row, column]:.3g}"
                    axes.text(column, row, count, ha="center", va="center", fontsize=7, color=ink)
    names = [name.replace("_", " ") for name in class_names]
    axes.set_xticks(range(size), names, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(size), names, fontsize=8)
    axes.set_xlabel("predicted", fontsize=9, color=GREY)
    axes.set_ylabel("true", fontsize=9, color=GREY)
    axes.set_title(title, fontsize=11, color=INK, loc="left")
    axes.tick_params(length=0)
    return png(figure)


def _crowded(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """The one of `places [n, 2]` with the nearest neighbours: a class in two groups is named at one of them."""
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    few = np.sort(apart, axis=1)[:, : max(2, len(places) // 2)]
    nearest: NDArray[np.float64] = places[few.sum(axis=1).argmin()]
    return nearest


def scatter_classes(
    axes: Axes, places: NDArray[np.floating], labels: NDArray[np.integer], class_names: Sequence[str]
) -> list[tuple[float, float, float, float]]:
    """A dot for each of `places [n, 2]` in the colour of its class; the colours."""
    colours = class_colours(len(class_names))
    for index, (name, colour) in enumerate(zip(class_names, colours, strict=True)):
        members = places[labels == index]
        axes.scatter(members[:, 0], members[:, 1], s=20, color=colour, edgecolors="white", linewidths=0.4, label=name)
    return colours


def class_colours(count: int) -> list[tuple[float, float, float, float]]:
    """Distinct colours: the ten or twenty of a qualitative map, evenly spaced hues beyond."""
    if count <= 10:
        return [colormaps["tab10"](index) for index in range(count)]
    if count <= 20:
        return [colormaps["tab20"](index) for index in range(count)]
    return [colormaps["hsv"](index / count) for index in range(count)]


def png(figure: Figure) -> bytes:
    """The figure as PNG, 120 dots per inch. Dollar signs in its texts are dollar signs."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def principal_components(features: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """[n, F] → places [n, 2] of the standardised features, and the shares of their variance that the two axes hold."""
    x = StandardScaler().fit_transform(features.astype(np.float64))
    left, sizes, _ = np.linalg.svd(x, full_matrices=False)
    total = float((sizes**2).sum())
    places = np.zeros((len(x), 2))
    shares = np.zeros(2)
    width = min(2, len(sizes))
    places[:, :width] = left[:, :width] * sizes[:width]
    if total > 0:  # a constant encoder has no direction
        shares[:width] = sizes[:width] ** 2 / total
    return places, shares


def pca_png(
    features: NDArray[np.floating], labels: NDArray[np.integer], class_names: Sequence[str], title: str
) -> bytes:
    """PNG of the first two principal components of `features [n, F]`, coloured by `labels [n]`."""
    places, shares = principal_components(features)
    figure = Figure(figsize=(7.6, 5.6), layout="constrained")
    axes = figure.add_subplot()
    scatter_classes(axes, places, labels, class_names)
    axes.set_xlabel(f"first principal component ({100 * shares[0]:.0f} % of the variance)", fontsize=9, color=GREY)
    axes.set_ylabel(f"second ({100 * shares[1]:.0f} %)", fontsize=9, color=GREY)
    axes.set_title(title, fontsize=11, color=INK, loc="left")
    axes.tick_params(labelsize=8, colors=GREY)
    if len(class_names) <= 40:
        figure.legend(loc="outside right center", fontsize=8, frameon=False)
    for side in axes.spines.values():
        side.set_color("#d1d5db")
    return png(figure)


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
    """`rows` examples of a retrieval among objects of a pack; a neighbour is right when it is of the query's class.

    Queries [q] and gallery [g] are given as indices into the pack. `size` is the longer side of a picture in pixels.
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
