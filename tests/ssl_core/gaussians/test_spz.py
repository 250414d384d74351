"""Reading .spz: against a slow twin, the reference encoder's files, real files, and files that are wrong.

tests/golden/household_100_values.ply holds 100 Gaussians of a household chair with random rotations, opacities and
harmonics. household_100_v*.spz were made from the same numbers by @adobe/spz 0.2.2 (the format's own library, as
WebAssembly; from RDF, 8 bits for all harmonics), the one of degree 4 with further random coefficients.
"""

import gzip
import itertools
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_core.errors import GaussianFileError
from ssl_core.files.source import FileSource
from ssl_core.gaussians.formats.spz import decode
from ssl_core.gaussians.formats.spz_axes import mirror_signs
from ssl_core.gaussians.gaussian_cloud import MAX_GAUSSIANS, SH_REST, GaussianCloud
from ssl_core.gaussians.gaussian_file import read_gaussians
from tests.reference.gaussian_axes import rotations
from tests.reference.plain_spz import ORDER, SH_COUNT, decode_spz, encode_spz, pack_zstd

GOLDEN = Path(__file__).parents[2] / "golden"
RUB_TO_RDF = np.array([1, -1, -1])


def as_plain(cloud: GaussianCloud, degree: int) -> list[dict[str, object]]:
    """The Gaussians as the twin has them, in RUB axes, coefficients of degree 4 random."""
    extra = np.random.default_rng(5).uniform(-0.9, 0.9, (len(cloud), 24, 3))
    extra[:, : cloud.sh_rest.shape[1]] = cloud.sh_rest * mirror_signs(RUB_TO_RDF)[: cloud.sh_rest.shape[1], None]
    return [
        {
            "xyz": (cloud.xyz[i] * RUB_TO_RDF).tolist(),
            "alpha": float(cloud.alphas()[i]),
            "dc": cloud.sh_dc[i].tolist(),
            "log_scales": cloud.log_scales[i].tolist(),
            "wxyz": (cloud.quaternions[i] * [1, 1, -1, -1]).tolist(),
            "sh": extra[i, : SH_COUNT[degree]].tolist(),
        }
        for i in range(len(cloud))
    ]


def small_cloud(n: int = 7, seed: int = 0) -> GaussianCloud:
    """Values that every version can hold."""
    rng = np.random.default_rng(seed)
    return GaussianCloud(
        xyz=rng.uniform(-4, 4, (n, 3)),
        opacity_logits=rng.uniform(-4, 4, n),
        log_scales=rng.uniform(-9, 4, (n, 3)),
        quaternions=rng.normal(size=(n, 4)) * rng.uniform(0.2, 5, (n, 1)),
        sh_dc=rng.uniform(-2, 2, (n, 3)),
        sh_rest=rng.uniform(-0.95, 0.95, (n, 15, 3)),
    )


def make(folder: Path, content: bytes) -> FileSource:
    path = folder / "a.spz"
    path.write_bytes(content)
    return FileSource(path)


def refusal(folder: Path, content: bytes, limit: int = MAX_GAUSSIANS) -> str:
    """The one line that the content is refused with; it names the file and ends with a remedy."""
    source = make(folder, content)
    with pytest.raises(GaussianFileError) as caught:
        decode(source, limit)
    text = str(caught.value)
    assert text.startswith(str(source))
    assert "\n" not in text
    assert ";" in text or ": " in text
    return text.removeprefix(str(source))


def check_twin(source: FileSource) -> None:
    """What is read equals the twin's numbers with y and z turned."""
    cloud = decode(source, MAX_GAUSSIANS).cloud
    plain = decode_spz(source.path.read_bytes())
    k = cloud.sh_rest.shape[1]
    alphas = np.clip([one["alpha"] for one in plain], 1 / 510, 1 - 1 / 510)
    expected = {
        "xyz": np.array([one["xyz"] for one in plain]) * RUB_TO_RDF,
        "opacity_logits": np.log(alphas / (1 - alphas)),
        "log_scales": [one["log_scales"] for one in plain],
        "quaternions": np.array([one["wxyz"] for one in plain]) * [1, 1, -1, -1],
        "sh_dc": [one["dc"] for one in plain],
        "sh_rest": np.array([one["sh"][:k] for one in plain]).reshape(len(plain), k, 3)
        * mirror_signs(RUB_TO_RDF)[:k, None],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(cloud, name), values, rtol=1e-6, atol=1e-6, err_msg=name)


def check_close(found: GaussianCloud, true: GaussianCloud, version: int, sh_step: float = 1 / 128) -> None:
    """Within half a step of each quantisation."""
    k = found.sh_rest.shape[1]
    position = 1e-2 if version == 1 else 0.51 / 4096
    np.testing.assert_allclose(found.xyz, true.xyz, rtol=1e-3 if version == 1 else 0, atol=position)
    np.testing.assert_allclose(found.alphas(), true.alphas(), atol=0.51 / 255)
    np.testing.assert_allclose(found.log_scales, true.log_scales, atol=0.51 / 16)
    np.testing.assert_allclose(found.sh_dc, true.sh_dc, atol=0.51 / 255 / 0.15)
    np.testing.assert_allclose(found.sh_rest, true.sh_rest[:, :k], atol=0.51 * sh_step)
    unit = true.quaternions / np.linalg.norm(true.quaternions, axis=1, keepdims=True)
    cosine = np.abs((unit * found.quaternions).sum(1)) / np.linalg.norm(found.quaternions, axis=1)
    # w of version 2 follows from 8-bit values: the error of a small w is the root of theirs.
    assert 2 * np.arccos(np.minimum(1, cosine)).max() < (0.3 if version < 3 else 0.006)


@pytest.mark.parametrize(("version", "degree"), itertools.product((1, 2, 3, 4), range(5)))
def test_every_version_and_degree(tmp_path, version, degree):
    true = small_cloud()
    source = make(tmp_path, encode_spz(as_plain(true, degree), version, degree))
    file = decode(source, MAX_GAUSSIANS)
    assert (file.format, file.sh_degree, file.cloud.sh_degree) == ("spz", degree, min(degree, 3))
    assert any("degree 4" in note for note in file.notes) == (degree == 4)
    check_twin(source)
    check_close(file.cloud, true, version)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), version=st.integers(1, 4), n=st.integers(1, 9), bits=st.integers(8, 20))
def test_random_clouds_come_back(scratch, seed, version, n, bits):
    true = small_cloud(n, seed)
    source = make(scratch, encode_spz(as_plain(true, 3), version, 3, bits=bits))
    check_twin(source)
    if bits >= 12:
        check_close(decode(source, n).cloud, true, version)


@settings(max_examples=15, deadline=None)
@given(data=st.data(), version=st.integers(2, 4), n=st.integers(1, 5))
def test_any_bytes_are_finite_numbers(scratch, data, version, n):
    """There is no bit pattern that a decoder could trip over; quaternions are never zero."""
    raw = data.draw(st.binary(min_size=n * (64 + (version > 2)), max_size=n * (64 + (version > 2))))
    head = struct.pack("<4sIIBBB", b"NGSP", version, n, 3, 12, 0)
    if version == 4:
        sizes = np.cumsum([0, 9 * n, n, 3 * n, 3 * n, 4 * n, 45 * n])
        content = pack_zstd(head, [raw[a:b] for a, b in itertools.pairwise(sizes)])
    else:
        content = gzip.compress(head + b"\0" + raw)
    source = make(scratch, content)
    check_twin(source)
    cloud = decode(source, n).cloud
    assert all(np.isfinite(getattr(cloud, name)).all() for name in ("xyz", "opacity_logits", "quaternions", "sh_rest"))
    assert (np.linalg.norm(cloud.quaternions, axis=1) > 0.9).all()


@pytest.mark.parametrize("name", ["v2", "v3", "v4", "v4_degree4"])
def test_files_of_the_reference_encoder(name):
    file = read_gaussians(GOLDEN / f"household_100_{name}.spz")
    true = read_gaussians(GOLDEN / "household_100_values.ply").cloud
    assert len(file.cloud) == 100
    assert file.sh_degree == (4 if "degree4" in name else 3)
    check_twin(FileSource(GOLDEN / f"household_100_{name}.spz"))
    check_close(file.cloud, true, int(name[1]))


def test_real_files(shared_data):
    """Three Gaussians of a trained scene as .ply and .spz agree; its harmonics have 5 and 4 bits. The other real
    .spz is of another capture than the .ply beside it (its source says so), so only the twin can judge it."""
    tiny = shared_data / "gaussians" / "tiny"
    found = read_gaussians(tiny / "test-splat.3-points-from-train.spz").cloud
    true = read_gaussians(tiny / "test-splat.3-points-from-train.ply").cloud
    check_close(found, true, 3, sh_step=16 / 128 + 1 / 64)
    check_twin(FileSource(tiny / "test-splat.3-points-from-train.spz"))
    camera = FileSource(shared_data / "gaussians" / "brush_sh3_leica-sofort" / "leica-sofort-top8192.spz")
    file = decode(camera, MAX_GAUSSIANS)
    check_twin(camera)
    assert len(file.cloud) == 8192
    assert any("antialiasing" in note for note in file.notes)
    assert any("3,641" in note for note in file.notes)


@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
def test_mirrored_axes_are_the_same_scene(signs):
    """Colours seen from mirrored directions, and covariances, are those of before."""
    import torch

    from ssl_core.render.spherical_harmonics import sh_basis

    directions = np.random.default_rng(0).normal(size=(20, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    before = sh_basis(torch.tensor(directions), 16)[:, 1:]
    after = sh_basis(torch.tensor(directions * np.array(signs)), 16)[:, 1:]
    np.testing.assert_allclose(after * mirror_signs(np.array(signs)), before, atol=1e-12)


@pytest.mark.parametrize("axes", range(1, 9))
@pytest.mark.parametrize("version", [2, 4])
def test_axes_of_the_coordinate_extension(tmp_path, axes, version):
    """Each of the eight systems with y up or down comes to RDF: x, y, z are right, up, forward by bits."""
    true = small_cloud()
    record = struct.pack("<III", 0xADBE0003, 4, axes)
    plain = decode(make(tmp_path, encode_spz(as_plain(true, 3), version, 3)), 99).cloud
    file = decode(make(tmp_path, encode_spz(as_plain(true, 3), version, 3, extensions=record)), 99)
    signs = np.array([1 if (axes - 1) >> i & 1 == (4 - 1) >> i & 1 else -1 for i in range(3)])
    np.testing.assert_array_equal(file.cloud.xyz, plain.xyz * signs)
    flip = np.diag(signs)
    np.testing.assert_allclose(rotations(file.cloud), flip @ rotations(plain) @ flip, atol=1e-6)
    np.testing.assert_array_equal(file.cloud.sh_rest, plain.sh_rest * mirror_signs(signs)[:, None])


def test_other_extensions(tmp_path):
    gaussians = as_plain(small_cloud(), 1)
    known = struct.pack("<IIfff", 0xADBE0002, 12, 0, 1, 2)
    for version in (1, 2, 3, 4):
        file = decode(make(tmp_path, encode_spz(gaussians, version, 1, flags=1, extensions=known * 2)), 99)
        assert any("0xadbe0002" in note for note in file.notes)
        assert any("antialiasing" in note for note in file.notes)
        turned = encode_spz(gaussians, version, 1, extensions=struct.pack("<III", 0xADBE0003, 4, 12))
        assert "RUB" in refusal(tmp_path, turned)
        ranged = encode_spz(gaussians, version, 1, extensions=struct.pack("<IIff", 0xADBE0001, 8, -2, 2))
        assert "0xadbe0001" in refusal(tmp_path, ranged)
        for cut in (4, 9, 19):
            assert "extension record 0" in refusal(tmp_path, encode_spz(gaussians, version, 1, extensions=known[:cut]))
        assert refusal(tmp_path, encode_spz(gaussians, version, 1, extensions=bytes(100_000)))


def changed(content: bytes, offset: int, value: int, size: int = 1) -> bytes:
    """The file with one field of its header changed, sealed again."""
    raw = bytearray(content if content[:4] == b"NGSP" else gzip.decompress(content))
    raw[offset : offset + size] = value.to_bytes(size, "little")
    return bytes(raw) if content[:4] == b"NGSP" else gzip.compress(bytes(raw))


@pytest.mark.parametrize("version", [2, 3, 4])
@pytest.mark.parametrize(
    ("offset", "value", "size", "says"),
    [
        (0, 0x59, 1, "NGSP"),
        (4, 0, 4, "version (offset 4) is 0"),
        (4, 5, 4, "version (offset 4) is 5"),
        (4, 2**32 - 1, 4, "version (offset 4)"),
        (8, 0, 4, "0 Gaussians"),
        (8, 6, 4, "numPoints"),
        (8, 8, 4, "numPoints"),
        (8, 2_999_999, 4, "no real file"),
        (8, 2**32 - 1, 4, "4,294,967,295"),
        (12, 5, 1, "shDegree (offset 12) is 5"),
        (13, 25, 1, "fractionalBits (offset 13) is 25"),
        (14, 0x80, 1, "flags (offset 14)"),
        (14, 4, 1, "flags (offset 14)"),
    ],
)
def test_wrong_headers(tmp_path, version, offset, value, size, says):
    content = encode_spz(as_plain(small_cloud(), 3), version, 3)
    assert says in refusal(tmp_path, changed(content, offset, value, size))


@pytest.mark.parametrize(
    ("version", "offset", "value", "size", "says"),
    [
        (2, 15, 1, 1, "reserved"),
        (3, 15, 1, 1, "reserved"),
        (4, 20, 1, 1, "reserved"),
        (4, 31, 1, 1, "reserved"),
        (4, 15, 5, 1, "numStreams (offset 15) is 5"),
        (4, 15, 255, 1, "numStreams (offset 15) is 255"),
        (4, 16, 0, 4, "tocByteOffset (offset 16) is 0"),
        (4, 16, 33, 4, "tocByteOffset (offset 16) is 33"),
        (4, 16, 2**32 - 1, 4, "tocByteOffset"),
        (4, 32, 2**63, 8, "table of streams"),
        (4, 40, 2**63, 8, "'positions' (table at offset 32) claims"),
        (4, 56, 0, 8, "'alphas' (table at offset 48) claims 0"),
        (2, 4, 4, 4, "gzip files of version"),
        (3, 4, 2, 4, "unpacks to more"),
        (2, 4, 3, 4, "need"),
        (4, 4, 3, 4, "reserved"),
        (4, 12, 0, 1, "numStreams"),
        (4, 12, 2, 1, "'sh'"),
        (3, 12, 2, 1, "unpacks to more"),
        (3, 12, 4, 1, "need"),
    ],
)
def test_fields_of_one_version(tmp_path, version, offset, value, size, says):
    content = encode_spz(as_plain(small_cloud(), 3), version, 3)
    assert says in refusal(tmp_path, changed(content, offset, value, size))


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_truncated_anywhere_and_followed_by_anything(tmp_path, version):
    content = encode_spz(as_plain(small_cloud(2), 1), version, 1)
    for end in range(len(content)):
        refusal(tmp_path, content[:end])
    for more in (b"\0", b"\x1f\x8b", content):
        refusal(tmp_path, content + more)


def test_wrong_checksums(tmp_path):
    content = bytearray(encode_spz(as_plain(small_cloud(), 3), 3, 3))
    for offset, says in ((-8, "data check"), (-4, "length check")):
        content[offset] ^= 1
        assert says in refusal(tmp_path, bytes(content))
        content[offset] ^= 1
    raw = gzip.decompress(bytes(content))
    assert "no .spz" in refusal(tmp_path, zlib.compress(raw))
    assert "hold" in refusal(tmp_path, gzip.compress(b"no header"))


@pytest.mark.parametrize("version", [1, 2, 3])
def test_without_gzip(tmp_path, version):
    """The stream of versions 1 to 3 as it is, as some tools leave it when they unpack what a server packed."""
    packed = encode_spz(as_plain(small_cloud(), 2), version, 2, extensions=struct.pack("<III", 7, 4, 0))
    expected = decode(make(tmp_path, packed), 99)
    raw = gzip.decompress(packed)
    found = decode(make(tmp_path, raw), 99)
    assert found.notes == expected.notes
    for name in vars(expected.cloud):
        np.testing.assert_array_equal(getattr(found.cloud, name), getattr(expected.cloud, name))
    for end in (3, 4, 15, 16, len(raw) - 13):
        refusal(tmp_path, raw[:end])
    assert "extension record" in refusal(tmp_path, raw + b"\0")
    plain = gzip.decompress(encode_spz(as_plain(small_cloud(), 2), version, 2))
    assert "1 bytes follow" in refusal(tmp_path, plain + b"\0")


@pytest.mark.parametrize("length", [10, 65_536, 300_000])
def test_a_gzip_member_has_a_name_of_any_length(tmp_path, length):
    """RFC 1952 ends it by a zero byte and bounds it nowhere; so it is with the comment."""
    content = encode_spz(as_plain(small_cloud(), 1), 3, 1)
    assert content[3] == 0
    named = content[:3] + b"\x18" + content[4:10] + b"n" * length + b"\0" + b"c" * length + b"\0" + content[10:]
    found, expected = (decode(make(tmp_path, one), 99) for one in (named, content))
    np.testing.assert_array_equal(found.cloud.xyz, expected.cloud.xyz)
    assert "damaged" in refusal(tmp_path, named[:length])  # a name without an end


def test_damaged_frames(tmp_path):
    n = 7
    head = struct.pack("<4sIIBBB", b"NGSP", 4, n, 0, 12, 0)
    right = [bytes(9 * n), bytes(n), bytes(3 * n), bytes(3 * n), bytes(4 * n)]
    decode(make(tmp_path, pack_zstd(head, right)), n)
    other = zstandard.ZstdCompressor(write_content_size=False)
    frames = [other.compress(stream) for stream in right]

    def container(packed: list[bytes]) -> bytes:
        table = b"".join(struct.pack("<QQ", len(f), len(s)) for f, s in zip(packed, right, strict=True))
        return head + bytes([5]) + struct.pack("<I12x", 32) + table + b"".join(packed)

    decode(make(tmp_path, container(frames)), n)
    for i, stream in enumerate(right):
        for bad in (
            other.compress(stream + b"\0"),
            other.compress(stream[1:]),
            zstandard.ZstdCompressor().compress(stream + b"\0"),
            frames[i] + b"\0",
            frames[i] + frames[i],
            frames[i][:-1],
            b"",
            b"\0" * 20,
            zlib.compress(stream),
        ):
            assert f"'{ORDER[i]}'" in refusal(tmp_path, container([*frames[:i], bad, *frames[i + 1 :]]))
    checked = zstandard.ZstdCompressor(write_checksum=True).compress(right[0])
    wrong = checked[:-1] + bytes([checked[-1] ^ 1])
    assert "'positions'" in refusal(tmp_path, container([wrong, *frames[1:]]))


def peak_of(folder: Path, content: bytes) -> int:
    """Bytes that Python and numpy allocated at most while the content was refused or read."""
    source = make(folder, content)
    decode(FileSource(GOLDEN / "household_100_v4.spz"), 100)
    tracemalloc.start()
    try:
        decode(source, MAX_GAUSSIANS)
    except GaussianFileError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


def test_bombs_cost_what_they_may(tmp_path):
    """Claims of up to the limit, bodies of a gigabyte: refused or read within 64 MB."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(1 << 20)
    body = b"".join([squeeze.compress(zeros) for _ in range(256)])
    for count in (1, 1000, 60_000, 100_000, MAX_GAUSSIANS, 2**32 - 1):
        for degree in (0, 3, 4):
            head = struct.pack("<4sIIBBBB", b"NGSP", 3, count, degree, 12, 0, 0)
            packer = zlib.compressobj(9, zlib.DEFLATED, 31)
            bomb = packer.compress(head + bytes(1 << 20)) + packer.flush()
            assert peak_of(tmp_path, bomb) < 64e6
            for flags in (0, 2):
                head = struct.pack("<4sIIBBB", b"NGSP", 4, count, degree, 12, flags)
                sizes = [count * each for each in (9, 1, 3, 3, 4, 3 * SH_COUNT[degree]) if each]
                frame = zstandard.ZstdCompressor().compress(bytes(1 << 20))
                table = b"".join(struct.pack("<QQ", len(frame), size) for size in sizes)
                bomb = head + bytes([len(sizes)]) + struct.pack("<I12x", 32) + table + frame * len(sizes)
                assert peak_of(tmp_path, bomb) < 64e6
    # 256 MB of zeros behind a header that claims one Gaussian
    del body
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    long = [packer.compress(struct.pack("<4sIIBBBB", b"NGSP", 3, 1, 0, 12, 0, 0))]
    long += [packer.compress(zeros) for _ in range(64)]
    assert peak_of(tmp_path, b"".join(long) + packer.flush()) < 64e6


def test_zero_bytes_missing_files_and_limits(tmp_path):
    assert "nothing" in refusal(tmp_path, b"")
    assert "1 to 3" in refusal(tmp_path, b"ply\n" + bytes(100))
    content = encode_spz(as_plain(small_cloud(7), 0), 4, 0)
    assert "more than the 6 allowed" in refusal(tmp_path, content, limit=6)
    assert len(decode(make(tmp_path, content), 7).cloud) == 7
    halves = encode_spz([{**one, "xyz": [0.0, float("inf"), 0.0]} for one in as_plain(small_cloud(2), 0)], 1, 0)
    with pytest.raises(GaussianFileError, match=r"'y' \(2 infinite\).* no row is left"):
        read_gaussians(make(tmp_path, halves))


def test_many_gaussians_with_equal_values(tmp_path):
    """A small file that is odd and right: 20,000 equal Gaussians."""
    source = make(tmp_path, encode_spz(as_plain(small_cloud(1), 0) * 20_000, 4, 0))
    assert source.size < 1000
    assert len(decode(source, MAX_GAUSSIANS).cloud) == 20_000


def test_degrees_below_four_have_their_coefficients(tmp_path):
    for degree in range(4):
        file = decode(make(tmp_path, encode_spz(as_plain(small_cloud(), degree), 3, degree)), 99)
        assert file.cloud.sh_rest.shape == (7, SH_REST[degree], 3)
