"""Depth of views: 16-bit pictures times their scale, .npy as it is, nothing that says no distance."""

import io

import numpy as np
import pytest
from PIL import Image

from ssl_core.errors import DataError
from ssl_core.packing.depth_maps import decode_depth, is_eight_bit

UNITS = np.random.default_rng(0).integers(0, 65536, (5, 7), dtype=np.uint16)


def encoded(values: np.ndarray, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, form)
    return buffer.getvalue()


def npy(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def test_pictures_are_scaled_and_arrays_are_not(tmp_path):
    for form, name in (("PNG", "a.png"), ("TIFF", "a.tif")):
        found = decode_depth(encoded(UNITS, form), tmp_path / name, 0.25)
        np.testing.assert_array_equal(found, UNITS * np.float32(0.25))
    values = UNITS.astype(np.float64) / 7
    np.testing.assert_array_equal(
        decode_depth(npy(values[..., None]), tmp_path / "a.npy", 0.25), values.astype(np.float32)
    )


@pytest.mark.parametrize(
    ("content", "name", "match"),
    [
        (npy(np.array([[1.0, np.nan, np.inf]])), "a.npy", "2 pixels are NaN, infinite or negative; write 0 where"),
        (npy(np.array([[-1.0]])), "a.npy", "1 pixels are NaN, infinite or negative"),
        (npy(np.array([1.0])), "a.npy", r"is no depth: expected floats \[H, W\]"),
        (npy(np.array([[1]])), "a.npy", r"is no depth: expected floats \[H, W\]"),
        (npy(np.array([[None]])), "a.npy", "is no .npy file"),
        (encoded(UNITS.astype(np.uint8)), "a.png", "8 bits a channel, which say no distances"),
        (b"\x76\x2f\x31\x01", "a.exr", "OpenEXR is not read"),
    ],
)
def test_what_is_no_distance_is_refused(tmp_path, content, name, match):
    with pytest.raises(DataError, match=match):
        decode_depth(content, tmp_path / name, 1.0)


def test_drawings_of_depth_are_told_by_their_header(tmp_path):
    for values, expected in ((UNITS, False), (UNITS.astype(np.uint8), True)):
        (tmp_path / "a.png").write_bytes(encoded(values))
        assert is_eight_bit(tmp_path / "a.png") is expected
