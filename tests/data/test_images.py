"""Images: what is read, what is refused, and that a write is whole or absent."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ssl_core.data.images import MAX_PIXELS, read_image, resize_image, write_image
from ssl_core.errors import ImageError, StorageError

# The decoders warn about what the tests damage.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)


def refusal(path) -> str:
    with pytest.raises(ImageError) as caught:
        read_image(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def test_png_round_trip(picture, tmp_path):
    path = tmp_path / "deep" / "a.png"
    write_image(path, picture)
    np.testing.assert_array_equal(read_image(path), picture)
    assert [entry.name for entry in path.parent.iterdir()] == ["a.png"]


def test_jpeg_is_close(tmp_path):
    smooth = np.add.outer(np.arange(32), np.arange(48))[:, :, None].repeat(3, axis=2).astype(np.uint8)
    write_image(tmp_path / "a.jpg", smooth)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - smooth).max() < 8


def test_transparency_lies_over_white(tmp_path):
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0] = [(10, 20, 30, 0), (10, 20, 30, 255), (0, 100, 255, 51)]
    Image.fromarray(pixels).save(tmp_path / "a.png")
    # alpha 51 is one fifth
    expected = [[(255, 255, 255), (10, 20, 30), (204, 224, 255)]]
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)


def test_palette_with_a_transparent_entry(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([200, 0, 0, 0, 0, 200])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", transparency=0)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), [[(255, 255, 255), (0, 0, 200)]])


@pytest.mark.parametrize("mode", ["L", "1", "CMYK", "YCbCr"])
def test_other_modes_become_rgb(tmp_path, mode):
    name = "a.png" if mode in ("L", "1") else "a.tiff"
    Image.new(mode, (5, 4)).save(tmp_path / name)
    assert read_image(tmp_path / name).shape == (4, 5, 3)


def test_sixteen_bits_are_brought_to_eight(tmp_path):
    deep = np.array([[0, 257 * 7, 65535]], dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0, :, 1], [0, 7, 255])


def test_no_image(tmp_path):
    path = tmp_path / "a.png"
    assert "no such image" in refusal(path)
    for content in (b"", b"hello", bytes(1000), b"%!PS-Adobe-3.0 EPSF-3.0\n"):
        path.write_bytes(content)
        assert "not a readable image" in refusal(path)
    refusal(tmp_path)


def test_floating_point_images_are_refused(tmp_path):
    Image.fromarray(np.ones((3, 3), np.float32)).save(tmp_path / "a.tiff")
    assert "floating-point" in refusal(tmp_path / "a.tiff")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM"])
def test_a_cut_image_is_refused_or_whole(tmp_path, picture, kind):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format=kind)
    content, whole = buffer.getvalue(), np.array(Image.open(buffer).convert("RGB"))
    path = tmp_path / "a.png"
    for end in range(0, len(content), 5):
        path.write_bytes(content[:end])
        try:
            found = read_image(path)
        except ImageError:
            continue
        np.testing.assert_array_equal(found, whole)


def test_damaged_bytes_never_raise_anything_else(tmp_path, picture):
    rng = np.random.default_rng(3)
    path = tmp_path / "a.png"
    for kind in ("PNG", "JPEG", "WEBP", "TIFF"):
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, format=kind)
        for _ in range(60):
            content = np.frombuffer(buffer.getvalue(), np.uint8).copy()
            content[rng.integers(0, len(content), 3)] = rng.integers(0, 256, 3)
            path.write_bytes(content.tobytes())
            try:
                assert read_image(path).dtype == np.uint8
            except ImageError as error:
                assert str(path) in str(error)  # noqa: PT017 - both outcomes are right


@pytest.mark.parametrize("side", [int(MAX_PIXELS**0.5) + 1, 12_000, 60_000])
def test_a_bomb_is_refused_before_decoding(tmp_path, side):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    assert "pixels" in refusal(path)


def test_writing_refuses_what_is_no_picture(picture, tmp_path, monkeypatch):
    for wrong in (picture.astype(np.float32), picture[:, :, :2], picture[0], picture[:0]):
        with pytest.raises(ImageError, match="expected uint8"):
            write_image(tmp_path / "a.png", wrong)
    with pytest.raises(ImageError, match="must end in"):
        write_image(tmp_path / "a.gif", picture)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(StorageError, match="No space left"):
        write_image(tmp_path / "a.png", picture)
    assert list(tmp_path.iterdir()) == []


def test_resize_averages_and_keeps_constants():
    flat = np.full((10, 30, 3), 77, np.uint8)
    np.testing.assert_array_equal(resize_image(flat, 8), np.full((8, 8, 3), 77))
    fine = np.zeros((64, 64, 3), np.uint8)
    fine[::2, ::2] = fine[1::2, 1::2] = 255
    # A checkerboard becomes grey: without antialiasing it would stay black and white.
    assert np.abs(resize_image(fine, 8)[1:-1, 1:-1].astype(int) - 127).max() < 6
    same = resize_image(fine, 64)
    np.testing.assert_array_equal(same, fine)
