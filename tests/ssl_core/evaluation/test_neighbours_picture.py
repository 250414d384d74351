"""The picture of neighbours: evenly chosen rows, the right marks, any number of tiles."""

import io

import numpy as np
import pytest
from PIL import Image

from ssl_core.evaluation.pictures import (
    Example,
    Tile,
    neighbours_png,
    object_picture,
    pack_examples,
    shown_queries,
)
from ssl_core.evaluation.ranking import Retrieval, retrieve


def found(pack) -> tuple[Retrieval, np.ndarray]:
    test = pack.objects("test")
    features, labels = np.random.default_rng(0).normal(size=(len(test), 4)), pack.labels[test]
    return retrieve(features, features, labels, labels, exclude_self=True), test


def test_rows_go_from_the_best_to_the_worst(tiny_pack):
    retrieval, _ = found(tiny_pack)
    rows = shown_queries(retrieval, 3)
    precision = retrieval.average_precision[rows]
    assert (np.diff(precision) <= 0).all()
    assert precision[0] == retrieval.average_precision.max()
    assert precision[-1] == retrieval.average_precision.min()
    assert len(shown_queries(retrieval, 1000)) == len(retrieval.queries)


def test_examples_are_marked_by_class(tiny_pack):
    retrieval, test = found(tiny_pack)
    examples = pack_examples(tiny_pack, retrieval, test, test, rows=4, size=16)
    assert len(examples) == 4
    for example in examples:
        assert len(example.nearest) == 5
        assert example.query.picture.shape == (16, 16, 3)
        for tile, right in zip(example.nearest, example.right, strict=True):
            assert right == (tile.class_name == example.query.class_name)


def test_an_object_without_views_is_rendered(tiny_pack, monkeypatch):
    blind = tuple(item.model_copy(update={"views": 0}) for item in tiny_pack.manifest.objects)
    monkeypatch.setattr(tiny_pack, "manifest", tiny_pack.manifest.model_copy(update={"objects": blind}))
    picture = object_picture(tiny_pack, 0, 24)
    assert picture.shape == (24, 24, 3)
    assert picture.min() < 250


@pytest.mark.parametrize("counts", [[], [0], [5, 5, 5], [5, 2, 1]])
def test_pictures_are_png(counts):
    tile = Tile(np.zeros((8, 8, 3), np.uint8), "a_class")
    examples = [Example(tile, (tile,) * count, (True,) * count) for count in counts]
    image = Image.open(io.BytesIO(neighbours_png(examples, "neighbours")))
    assert image.format == "PNG"
    assert min(image.size) > 50
