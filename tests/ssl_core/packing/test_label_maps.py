"""Label maps: whatever a file writes, ids, indices of a palette or colours, becomes the number of its class or VOID."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from ssl_core.data.scene_pack import VOID
from ssl_core.errors import DataError, ImageError, PackError
from ssl_core.packing.label_maps import check_agreement, decode_labels, distinct_colour, find_classes, read_classes

CLASSES = [
    {"name": "wall", "id": 7, "colour": [10, 20, 30]},
    {"name": "void", "id": 3, "colour": [0, 0, 0]},
    {"name": "chair", "id": 400, "colour": [200, 0, 5]},
]
NUMBERS = np.random.default_rng(0).choice([0, 1, VOID], (6, 9))
IDS = np.choose(np.minimum(NUMBERS, 2), [7, 400, 3])


@pytest.fixture
def classes(tmp_path):
    (tmp_path / "classes.json").write_text(json.dumps({"classes": CLASSES, "made_by": "someone"}))
    return read_classes(tmp_path / "classes.json")


def encoded(values: np.ndarray, mode: str | None = None, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(values)
    if mode == "P":
        image.putpalette(np.random.default_rng(1).integers(0, 256, 768, dtype=np.uint8).tolist())
    image.save(buffer, form)
    return buffer.getvalue()


def test_ids_colours_and_arrays_say_the_same(classes, tmp_path):
    colours = np.array([[10, 20, 30], [200, 0, 5], [0, 0, 0]], np.uint8)[np.minimum(NUMBERS, 2)]
    stream = io.BytesIO()
    np.save(stream, IDS)
    for content, name in (
        (encoded(IDS.astype(np.uint16)), "a.png"),
        (encoded(colours), "a.png"),
        (stream.getvalue(), "a.npy"),
    ):
        np.testing.assert_array_equal(decode_labels(content, tmp_path / name, classes), NUMBERS)
    assert [each.name for each in classes.classes] == ["wall", "chair"]
    assert classes.classes[1].colour == (200, 0, 5)


def test_a_palette_picture_counts_by_its_indices_and_names_alone_by_their_places(tmp_path):
    (tmp_path / "classes.json").write_text('["a", "b", "c"]')
    classes = read_classes(tmp_path / "classes.json")
    indices = np.array([[0, 1, 2, 255]], np.uint8)
    np.testing.assert_array_equal(decode_labels(encoded(indices, "P"), tmp_path / "a.png", classes), indices)
    assert len({each.colour for each in classes.classes}) == 3


def test_colours_of_classes_differ():
    assert len({distinct_colour(number) for number in range(VOID)}) == VOID


@pytest.mark.parametrize(
    ("content", "name", "match"),
    [
        (encoded(np.array([[7, 8, 9, 8]], np.uint8)), "a.png", r"a.png: 3 pixels have id 8 and others, which no class"),
        (encoded(np.full((2, 2, 3), 9, np.uint8)), "a.png", r"4 pixels have colour \(9, 9, 9\), which no class"),
        (encoded(np.full((8, 8), 7, np.uint8), form="JPEG"), "a.png", "is a JPEG, which changes labels"),
        (b"", "a.png", "is not a readable image"),
        (b"no array", "a.npy", "is no .npy file"),
    ],
)
def test_ids_out_of_range_and_lossy_files_are_refused(classes, tmp_path, content, name, match):
    with pytest.raises(DataError, match=match):
        decode_labels(content, tmp_path / name, classes)


def test_colours_need_a_palette_and_arrays_integers(tmp_path):
    (tmp_path / "classes.json").write_text('["a"]')
    classes = read_classes(tmp_path / "classes.json")
    with pytest.raises(ImageError, match=r"holds colours, and .*classes.json gives its classes none"):
        decode_labels(encoded(np.zeros((2, 2, 3), np.uint8)), tmp_path / "a.png", classes)
    stream = io.BytesIO()
    np.save(stream, np.zeros((2, 2)))
    with pytest.raises(ImageError, match=r"expected integers \[H, W\]"):
        decode_labels(stream.getvalue(), tmp_path / "a.npy", classes)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "is no list of classes"),
        ("[]", "is no list of classes"),
        (json.dumps(["a" * 101]), "is no list of classes"),
        ('{"names": ["a"]}', "it has no list `classes`"),
        ('["a", "b", "a"]', "gives the name 'a' twice"),
        ('["a", {"name": "b", "id": 0}]', "gives the id 0 twice"),
        ('[{"name": "a", "colour": [1, 2, 3]}, {"name": "b", "colour": [1, 2, 3]}]', r"the colour \(1, 2, 3\) twice"),
        ('[{"name": "a", "colour": [1, 2, 300]}]', "is no list of classes"),
        (json.dumps([f"c{i}" for i in range(256)]), "names 256 classes; a pack has at most 255"),
    ],
)
def test_a_damaged_list_of_classes_is_refused(tmp_path, text, match):
    (tmp_path / "classes.json").write_text(text)
    with pytest.raises(PackError, match=match):
        read_classes(tmp_path / "classes.json")


def test_two_lists_that_disagree_are_refused(classes, tmp_path):
    check_agreement(classes, classes)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/classes.json").write_text('["wall", "sofa"]')
    with pytest.raises(PackError, match=r"classes.json and .*labels/classes.json disagree: class 1 of 2 is 'chair'"):
        find_classes(tmp_path)
