"""The pictures: right shapes, the same twice, neighbours kept, odd inputs drawn."""

import io

import numpy as np
import pytest
from PIL import Image

from ssl_core.evaluation.pictures import class_colours, confusion_png, embedding_png, tsne_embedding


def two_clouds(n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(n) % 2
    rng = np.random.default_rng(0)
    return (6 * labels[:, None] + rng.normal(size=(n, 12))).astype(np.float32), labels


def test_separate_clouds_stay_separate_and_the_map_repeats_itself():
    x, labels = two_clouds()
    places = tsne_embedding(x)
    assert places.shape == (40, 2)
    assert (places == tsne_embedding(x)).all()
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1) + 1e9 * np.eye(40)
    assert (labels[apart.argmin(axis=1)] == labels).mean() > 0.95


@pytest.mark.parametrize("shape", [(1, 3), (2, 5), (4, 1), (6, 1), (6, 2), (30, 64)])
def test_odd_shapes_have_a_map(shape):
    places = tsne_embedding(np.random.default_rng(0).normal(size=shape))
    assert places.shape == (shape[0], 2)
    assert np.isfinite(places).all()


def test_a_constant_encoder_has_a_map_too():
    assert np.isfinite(tsne_embedding(np.full((30, 8), 3.0))).all()


@pytest.mark.parametrize("classes", [2, 15, 40])
def test_pictures_are_png(classes):
    x, labels = two_clouds()
    names = [f"class_{index}" for index in range(classes)]
    for data in (embedding_png(x, labels, names, "t"), confusion_png(np.eye(classes), names, "t")):
        image = Image.open(io.BytesIO(data))
        assert image.format == "PNG"
        assert min(image.size) > 300


def test_a_true_class_without_objects_is_drawn():
    assert confusion_png(np.zeros((3, 3)), list("abc"), "t").startswith(b"\x89PNG")


def test_names_are_no_formulas():
    names = [r"$\foo$", "$", "a$b$"]
    x, labels = two_clouds()
    for data in (confusion_png(np.eye(3), names, r"$\bar"), embedding_png(x, labels, names, r"$\bar$")):
        assert data.startswith(b"\x89PNG")


def test_colours_are_distinct():
    for count in (3, 10, 20, 55):
        assert len(set(class_colours(count))) == count
