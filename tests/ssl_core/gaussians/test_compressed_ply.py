"""SuperSplat's compressed .ply: against another's encoder, against a plain reader, and its refusals.

`household_300.ply` is `household_cloud(household_mesh("chair", rng).normalised(), 300, rng)` of generator 20 with
normal harmonics of degree 1 (deviation 0.3), put in Morton order; `household_300.compressed.ply` was made from it by
`npx @playcanvas/splat-transform household_300.ply household_300.compressed.ply`, version 2.7.1.
"""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_core.errors import PlyError
from ssl_core.files.source import FileSource
from ssl_core.gaussians.formats.compressed_ply import BOUNDS, COLOUR_BOUNDS, PACKED
from ssl_core.gaussians.gaussian_file import read_gaussians
from ssl_core.gaussians.ply import decode
from tests.reference.gaussian_ply import read_gaussian_ply
from tests.reference.plain_splat_formats import plain_compressed_ply

GOLDEN = Path(__file__).resolve().parents[2] / "golden"


def packed_file(words, bounds, harmonics=None, order="<", reverse=False) -> bytes:
    """A compressed .ply of words [N, 4], bounds [chunks, 12 or 18] and bytes [N, 9 to 72]."""
    names = (*BOUNDS, *COLOUR_BOUNDS)[: bounds.shape[1]]
    columns = list(range(len(names)))[:: -1 if reverse else 1]
    form = "little" if order == "<" else "big"
    header = ["ply", f"format binary_{form}_endian 1.0", f"element chunk {len(bounds)}"]
    header += [f"property float {names[i]}" for i in columns]
    header += [f"element vertex {len(words)}", *(f"property uint {name}" for name in PACKED)]
    if harmonics is not None:
        header += [f"element sh {len(harmonics)}"]
        header += [f"property uchar f_rest_{i}" for i in range(harmonics.shape[1])]
    content = "\n".join([*header, "end_header\n"]).encode()
    content += bounds[:, columns].astype(order + "f4").tobytes() + words.astype(order + "u4").tobytes()
    return content if harmonics is None else content + harmonics.astype(np.uint8).tobytes()


def random_parts(rng, count, colours=True):
    words = rng.integers(0, 2**32, (count, 4), dtype=np.uint64)
    chunks = -(-count // 256)
    low = rng.normal(0, 3, (chunks, 6 if colours else 4, 3))[:, ::2]
    bounds = np.stack([low, low + rng.exponential(1, low.shape)], axis=2)
    return words, bounds.reshape(chunks, -1)


def close(a, b) -> None:
    for name in ("xyz", "opacity_logits", "log_scales", "quaternions", "sh_dc", "sh_rest"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-6, atol=3e-7, err_msg=name)


def test_agrees_with_anothers_encoder():
    """Within half a step of each code, and the steps are those of the format."""
    found = read_gaussians(GOLDEN / "household_300.compressed.ply")
    source = read_gaussian_ply(GOLDEN / "household_300.ply")
    cloud = found.cloud
    assert (found.format, found.sh_degree, len(cloud)) == ("compressed_ply", 1, 300)
    steps = np.array([2047, 1023, 2047])
    for rows in (slice(0, 256), slice(256, 300)):
        for name in ("xyz", "log_scales"):
            true, read = getattr(source, name)[rows], getattr(cloud, name)[rows]
            assert (np.abs(true - read) <= 0.501 * np.ptp(true, axis=0) / steps + 1e-6).all()
        colours = source.sh_dc[rows]
        assert (np.abs(colours - cloud.sh_dc[rows]) <= 0.501 * np.ptp(colours, axis=0) / 255 + 1e-6).all()
    assert np.abs(source.alphas() - cloud.alphas()).max() <= 0.501 / 255
    assert np.abs(source.sh_rest - cloud.sh_rest).max() <= 0.501 / 32
    unit = source.quaternions / np.linalg.norm(source.quaternions, axis=1, keepdims=True)
    angles = 2 * np.arccos(np.clip(np.abs((unit * cloud.quaternions).sum(axis=1)), 0, 1))
    assert angles.max() < 0.005
    np.testing.assert_allclose(np.linalg.norm(cloud.quaternions, axis=1), 1, atol=1e-6)
    close(cloud, plain_compressed_ply((GOLDEN / "household_300.compressed.ply").read_bytes()))
    for words in ("10 or 11 bits", "rotations have 10 bits", "harmonics have 8 bits"):
        assert any(words in note for note in found.notes)


def test_extra_files_that_a_tool_would_write_are_read_the_same(tmp_path, same):
    """Windows line ends in the header, an element more at the end, another comment."""
    content = (GOLDEN / "household_300.compressed.ply").read_bytes()
    whole = read_gaussians(GOLDEN / "household_300.compressed.ply").cloud
    header, mark, body = content.partition(b"end_header\n")
    changed = header.replace(b"\n", b"\r\n") + b"element camera 1\r\nproperty double f\r\n" + b"end_header\r\n"
    path = tmp_path / "a.compressed.PLY"
    path.write_bytes(changed + body + bytes(8))
    assert same(read_gaussians(path).cloud, whole)
    assert mark


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.sampled_from([1, 2, 255, 256, 257, 600]),
    colours=st.booleans(),
    rest=st.sampled_from([0, 9, 24, 45, 72]),
)
def test_equal_to_the_plain_reader(seed, count, colours, rest, scratch, same):
    rng = np.random.default_rng(seed)
    words, bounds = random_parts(rng, count, colours)
    harmonics = rng.integers(0, 256, (count, rest)) if rest else None
    content = packed_file(words, bounds, harmonics)
    path = scratch / "packed.ply"
    path.write_bytes(content)
    found = read_gaussians(path)
    close(found.cloud, plain_compressed_ply(content))
    assert found.sh_degree == {0: 0, 9: 1, 24: 2, 45: 3, 72: 4}[rest]
    assert any("degree 4" in note for note in found.notes) == (rest == 72)
    path.write_bytes(packed_file(words, bounds, harmonics, order=">", reverse=True))
    assert same(read_gaussians(path).cloud, found.cloud)


def test_many_blocks(tmp_path):
    words, bounds = random_parts(np.random.default_rng(0), 70_001)
    (tmp_path / "a.ply").write_bytes(packed_file(words, bounds))
    cloud = read_gaussians(tmp_path / "a.ply").cloud
    row = 70_000
    x = words[row, 0] >> 21
    low, high = np.float32(bounds[row // 256, [0, 3]]).astype(float)
    assert cloud.xyz[row, 0] == pytest.approx(low + (high - low) * int(x) / 2047, abs=1e-5)


def edited(old: bytes, new: bytes):
    return lambda content: content.replace(old, new, 1)


def with_bound(column: int, value: float, row: int = 1):
    """The golden file with one bound of a chunk changed."""

    def change(content: bytes) -> bytes:
        at = content.index(b"end_header\n") + 11 + 4 * (18 * row + column)
        return content[:at] + struct.pack("<f", value) + content[at + 4 :]

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (edited(b"element chunk 2", b"element chunk 1"), "has 1 rows of 'chunk'; 300 vertices need 2"),
        (edited(b"element vertex 300", b"element vertex 3000000000"), "truncated"),
        (edited(b"element vertex 300", b"element vertex 0"), "no vertices"),
        (edited(b"element sh 300", b"element sh 299"), "299 rows of 'sh' for 300"),
        (edited(b"element chunk", b"element lump"), "no element 'chunk'"),
        (edited(b"uchar f_rest_8\n", b"uchar f_rest_9\n"), "'f_rest_8' of element 'sh' is missing"),
        (edited(b"uchar f_rest_8\n", b"uchar g_rest_8\n"), "has 8 f_rest"),
        (edited(b"uchar f_rest_3\n", b"char f_rest_3\n"), "'f_rest_3' of element 'sh' is of type char"),
        (edited(b"uint packed_scale", b"int packed_scale"), "'packed_scale' of element 'vertex' is of type int"),
        (edited(b"uint packed_scale", b"uint packed_skale"), "'packed_scale' of element 'vertex' is missing"),
        (edited(b"float max_scale_y", b"int max_scale_y"), "'max_scale_y' of element 'chunk' is of type int"),
        (edited(b"float max_scale_y", b"float max_skale_y"), "'max_scale_y' of element 'chunk' is missing"),
        (edited(b"float min_g", b"float min_green"), "'min_g' of element 'chunk' is missing"),
        (edited(b"binary_little_endian", b"binary_big_endian"), "chunk"),
        (lambda content: content[:-1], "truncated"),
        (with_bound(4, np.nan), "'max_y' of chunk 1 is not finite (1 such"),
        (with_bound(0, -np.inf, 0), "'min_x' of chunk 0 is not finite"),
        (with_bound(0, 1e9), "'min_x' of chunk 1 is above 'max_x'"),
        (with_bound(7, 1e9), "'min_scale_y' of chunk 1 is above 'max_scale_y'"),
        (with_bound(9, 1200.0), "'scale_0' (41 beyond); first: Gaussian 2"),
        (with_bound(8, -100000.0, 0), "'scale_2' (255 beyond); first: Gaussian "),
        (with_bound(16, 3e38), "'f_dc_1' ("),
    ],
)
def test_refusals(tmp_path, change, says):
    path = tmp_path / "bad.compressed.ply"
    path.write_bytes(change((GOLDEN / "household_300.compressed.ply").read_bytes()))
    with pytest.raises(PlyError) as caught:
        read_gaussians(path)
    assert str(path) in str(caught.value)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_too_many():
    with pytest.raises(PlyError, match=r"has 300 Gaussians, more than the 299 allowed"):
        decode(FileSource(GOLDEN / "household_300.compressed.ply"), 299)


def test_no_ascii_no_lists_no_chunk_behind(tmp_path):
    content = (GOLDEN / "household_300.compressed.ply").read_bytes()
    header = content[: content.index(b"end_header")].decode().splitlines()
    chunk, vertex = header[3:22], header[22:27]
    for lines, says in (
        ([*header[:3], *vertex, *chunk], "must come first"),
        ([*header[:3], *chunk, *vertex, "element face 1", "property list uchar int i"], "with lists"),
        ([header[0], "format ascii 1.0", *chunk, *vertex], "ascii"),
    ):
        path = tmp_path / "a.ply"
        path.write_bytes("\n".join([*lines, "end_header\n"]).encode() + bytes(9000))
        with pytest.raises(PlyError, match=says):
            read_gaussians(path)
