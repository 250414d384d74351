"""Test views as their dense features see them: principal components, label maps and depth beside the photographs."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from torch import Tensor

from ssl_core.data.scene_pack import VOID, ScenePack
from ssl_core.evaluation.dense_data import known_depth
from ssl_core.evaluation.dense_probes import DepthHead, LinearMap, segmented, with_whole
from ssl_core.evaluation.pictures import INK, png
from ssl_core.files.image_files import as_bytes

_SHOWN = 6
"""views, spread evenly"""
_SIDE = 132
"""of a picture, in pixels"""
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class PicturedDense:
    """Of the test views: original and fine-tuned tokens, the encoder's own features, each [V, C, h, w], the images'
    vectors [V, G], and the heads over the encoder's own features."""

    original: Tensor
    fine: Tensor | None
    features: Tensor
    whole: Tensor
    heads: tuple[LinearMap | None, DepthHead | None]


def dense_pictures(pack: ScenePack, views: NDArray[np.int64], found: PicturedDense) -> dict[str, bytes]:
    """`dense.png`: a row for each of some views."""
    shown = [i * len(views) // min(_SHOWN, len(views)) for i in range(min(_SHOWN, len(views)))]
    maps = {"original, PCA": feature_colours(found.original[shown])}
    if found.fine is not None:
        maps["fine-tuned, PCA"] = feature_colours(found.fine[shown])
    rows = [
        dict(_columns(pack, int(views[place]), found, place, {name: each[i] for name, each in maps.items()}))
        for i, place in enumerate(shown)
    ]
    heads = list(dict.fromkeys(name for row in rows for name in row))
    blank = np.full((_SIDE, _SIDE, 3), 255, np.uint8)
    lines = [np.concatenate([_tile(row[head]) if head in row else blank for head in heads], axis=1) for row in rows]
    figure = Figure(figsize=(1.2 * len(heads), 1.2 * len(rows) + 0.3))
    axes = figure.add_axes((0, 0, 1, 1 - 0.3 / (1.2 * len(rows) + 0.3)))
    axes.set_axis_off()
    axes.imshow(np.concatenate(lines), interpolation="nearest", aspect="auto")
    for place, head in enumerate(heads):
        axes.text((place + 0.5) * _SIDE, -4, head, fontsize=7, color=INK, ha="center", va="bottom")
    return {"dense.png": png(figure)}


def _tile(picture: Pixels) -> Pixels:
    """[_SIDE, _SIDE, 3], of the nearest pixels, with a white border."""
    rows, columns = (np.arange(_SIDE - 4) * side // (_SIDE - 4) for side in picture.shape[:2])
    return np.pad(picture[np.ix_(rows, columns)], ((2, 2), (2, 2), (0, 0)), constant_values=255)


def feature_colours(tokens: Tensor) -> Pixels:
    """[V, C, h, w] -> [V, h, w, 3]: the first three principal components over all views, each brought to [0, 255]."""
    views, _, height, width = tokens.shape
    flat = tokens.permute(0, 2, 3, 1).reshape(views * height * width, -1).double().numpy()
    places = PCA(min(3, *flat.shape)).fit_transform(flat)
    places = np.pad(places, ((0, 0), (0, 3 - places.shape[1])))
    low, high = np.percentile(places, [2, 98], axis=0)
    shares = np.clip((places - low) / np.maximum(high - low, 1e-12), 0, 1)
    return as_bytes(shares.astype(np.float32)).reshape(views, height, width, 3)


def _columns(
    pack: ScenePack, view: int, found: PicturedDense, place: int, maps: dict[str, Pixels]
) -> Iterator[tuple[str, Pixels]]:
    image, labels, depth = pack.image(view), pack.labels(view), pack.depth(view)
    size, tokens = (image.shape[0], image.shape[1]), found.features[place : place + 1]
    yield "photograph", np.asarray(image)
    yield from maps.items()
    classes, distances = found.heads
    if labels is not None and classes is not None:
        yield "labels", _coloured(pack, labels)
        yield "labels told", _coloured(pack, segmented(classes, tokens, size)[0].numpy().astype(np.uint8))
    if depth is not None and distances is not None:
        told = distances(with_whole(tokens, found.whole[place : place + 1]), size)[0].numpy()
        true = known_depth(depth)
        far = float(max(true.max(), 1e-6))
        yield "depth", _shaded(true, far)
        yield "depth told", _shaded(told, far)


def _coloured(pack: ScenePack, labels: NDArray[np.uint8]) -> Pixels:
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(pack.classes)] = pack.palette
    colours[VOID] = 255
    found: Pixels = colours[labels]
    return found


def _shaded(depth: NDArray[np.float32], far: float) -> Pixels:
    shades = colormaps["viridis"](np.clip(depth / far, 0, 1))[..., :3].astype(np.float32)
    return as_bytes(np.where((depth > 0)[..., None], shades, 1.0).astype(np.float32))
