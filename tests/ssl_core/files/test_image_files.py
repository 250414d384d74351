"""Images: what is read, what is refused, and that a write is whole or absent."""

import io
import os
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from ssl_core.errors import ImageError, StorageError
from ssl_core.files import image_files as images
from ssl_core.files.image_files import (
    MAX_BYTES,
    MAX_PIXELS,
    decode_image,
    decode_with_mask,
    encode_image,
    read_image,
    resize_image,
    write_image,
    write_mask,
)
from ssl_core.packing.listing import list_tree

# The decoders warn about what the tests damage: none of it may escape.
pytestmark = pytest.mark.filterwarnings("error")


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


def test_alpha_is_the_mask(picture, tmp_path):
    alpha = np.arange(picture.shape[0] * picture.shape[1], dtype=np.uint8).reshape(picture.shape[:2])
    Image.fromarray(np.dstack([picture, alpha])).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    pixels, mask = decode_with_mask(content, "a.png")
    np.testing.assert_array_equal(mask, alpha)
    np.testing.assert_array_equal(pixels, decode_image(content, "a.png"))
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), mode="P")
    palette.putpalette([9, 9, 9, 50, 60, 70])
    palette.save(tmp_path / "p.png", transparency=0)
    assert decode_with_mask((tmp_path / "p.png").read_bytes(), "p.png")[1].tolist() == [[0, 255]]
    write_mask(tmp_path / "m.png", alpha)
    grey, none = decode_with_mask((tmp_path / "m.png").read_bytes(), "m.png")
    np.testing.assert_array_equal(grey[..., 0], alpha)
    assert none is None, "a picture without transparency has no mask"


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
        if kind == "PNG":
            refusal(path)
            continue
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
    np.testing.assert_array_equal(resize_image(flat, 8, 8), np.full((8, 8, 3), 77))
    fine = np.zeros((64, 64, 3), np.uint8)
    fine[::2, ::2] = fine[1::2, 1::2] = 255
    # A checkerboard becomes grey: without antialiasing it would stay black and white.
    assert np.abs(resize_image(fine, 8, 8)[1:-1, 1:-1].astype(int) - 127).max() < 6
    same = resize_image(fine, 64, 64)
    np.testing.assert_array_equal(same, fine)


def test_sources_of_every_kind(picture, tmp_path):
    write_image(tmp_path / "in" / "a.png", picture)
    with zipfile.ZipFile(tmp_path / "in" / "b.zip", "w") as made:
        made.write(tmp_path / "in" / "a.png", "b.png")
        made.writestr("empty.png", b"")
    files = list_tree(tmp_path / "in").files
    assert list(files) == ["a.png", "b.png", "empty.png"]
    for place in (files["a.png"], files["b.png"], tmp_path / "in" / "a.png", str(tmp_path / "in" / "a.png")):
        np.testing.assert_array_equal(read_image(place), picture)
    with pytest.raises(ImageError, match=r"b\.zip/empty\.png: is not a readable image \(it has no bytes\)"):
        read_image(files["empty.png"])
    (tmp_path / "in" / "b.zip").unlink()
    with pytest.raises(ImageError, match=r"b\.zip/b\.png: cannot be read"):
        read_image(files["b.png"])
    os.mkfifo(tmp_path / "pipe.png")
    assert "no regular file" in refusal(tmp_path / "pipe.png")
    with (tmp_path / "large.png").open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    assert "more than" in refusal(tmp_path / "large.png")


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_is_taken(picture, kind):
    frames = [Image.fromarray(pixels) for pixels in (picture, 255 - picture, picture // 2)]
    buffer = io.BytesIO()
    lossless = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(buffer, format=kind, save_all=True, append_images=frames[1:], **lossless)
    with Image.open(buffer) as made:
        assert made.n_frames == 3
    np.testing.assert_array_equal(decode_image(buffer.getvalue(), "frames"), picture)


def test_orientation_tags_are_not_followed(picture):
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", exif=exif)
    np.testing.assert_array_equal(decode_image(buffer.getvalue(), "turned"), picture)


def test_every_changed_byte_of_a_png_is_noticed(picture):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    content = buffer.getvalue()
    rng = np.random.default_rng(0)
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= int(rng.integers(1, 256))
        with pytest.raises(ImageError, match="damaged: is not a readable image"):
            decode_image(bytes(damaged), "damaged")
    np.testing.assert_array_equal(decode_image(content + b"more", "with a tail"), picture)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "CMYK", "I;16", "L"])
def test_large_images_are_converted_by_strips(picture, monkeypatch, mode):
    deep = np.arange(108, dtype=np.uint16).reshape(9, 12) * 600
    alpha = np.dstack([picture, picture[:, :, :1]])
    image = Image.fromarray(deep) if mode == "I;16" else Image.fromarray(alpha).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, format="TIFF" if mode == "CMYK" else "PNG")
    whole = decode_image(buffer.getvalue(), "whole")
    for strip in (1, 25, 48):
        monkeypatch.setattr(images, "_STRIP", strip)
        np.testing.assert_array_equal(decode_image(buffer.getvalue(), "strips"), whole)


def test_transparency_is_rounded_exactly():
    """All colours over white at all alphas, against integers."""
    alpha, colour = np.meshgrid(np.arange(256), np.arange(256))
    pixels = np.dstack([colour, colour, colour, alpha]).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    expected = (colour * alpha + 255 * (255 - alpha) + 127) // 255
    np.testing.assert_array_equal(decode_image(buffer.getvalue(), "x")[:, :, 1], expected)


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
def test_codecs(codec):
    across = np.linspace(0, 255, 64)
    smooth = np.stack(np.broadcast_arrays(across[:, None], across[None], across[::-1, None]), axis=2).astype(np.uint8)
    content = encode_image(smooth, codec)
    assert content == encode_image(np.asfortranarray(smooth), codec)
    assert len(content) < smooth.size / 4
    found = decode_image(content, "view 0")
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - smooth).mean() < 3
    with pytest.raises(ImageError, match="view 7: is not a readable image"):
        decode_image(content[: len(content) // 2], "view 7")
    for wrong in (smooth[0], smooth.astype(np.float32), smooth[:0]):
        with pytest.raises(ImageError, match="expected uint8"):
            encode_image(wrong, codec)
    with pytest.raises(ImageError, match="cannot be stored"):
        encode_image(np.zeros((1, 70_000, 3), np.uint8), codec)


def test_jpeg_keeps_the_colour_of_single_pixels():
    """Full chroma: red and blue stripes stay apart."""
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2, 0] = stripes[:, 1::2, 2] = 200
    found = decode_image(encode_image(stripes, "jpeg"), "stripes").astype(int)
    assert (found[:, ::2, 0] - found[:, 1::2, 0]).min() > 150


def test_a_png_of_millions_of_chunks_is_refused_soon():
    chunk = struct.pack(">I4sI", 0, b"teXt", zlib.crc32(b"teXt"))
    with pytest.raises(ImageError, match="more than 100000 chunks"):
        decode_image(b"\x89PNG\r\n\x1a\n" + chunk * 1_000_000, "chunks")
