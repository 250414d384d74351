"""Reading .ksplat: against a slow twin, against the numbers that were written, and files that are wrong."""

import itertools
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_core.errors import GaussianFileError
from ssl_core.gaussians.gaussian_cloud import SH_REST, GaussianCloud
from ssl_core.gaussians.gaussian_file import read_gaussians
from tests.reference.plain_ksplat import decode_ksplat, encode_ksplat

KINDS = list(itertools.product(range(3), range(3)))


def gaussians(count: int, seed: int = 0) -> list[dict[str, object]]:
    rng = np.random.default_rng(seed)
    return [
        {
            "xyz": rng.uniform(-1, 1, 3).tolist(),
            "alpha": float(rng.uniform(0.02, 0.98)),
            "dc": rng.uniform(-1, 1, 3).tolist(),
            "log_scales": rng.uniform(-9, 1, 3).tolist(),
            "wxyz": rng.normal(size=4).tolist(),
            "sh": rng.uniform(-0.9, 0.9, (8, 3)).tolist(),
        }
        for _ in range(count)
    ]


def put(folder: Path, content: bytes) -> Path:
    path = folder / "a.ksplat"
    path.write_bytes(content)
    return path


def check_twin(cloud: GaussianCloud, content: bytes) -> None:
    plain = decode_ksplat(content)
    alphas = np.clip([one["alpha"] for one in plain], 1 / 510, 1 - 1 / 510)
    expected = {
        "xyz": [one["xyz"] for one in plain],
        "opacity_logits": np.log(alphas / (1 - alphas)),
        "log_scales": [one["log_scales"] for one in plain],
        "quaternions": [one["wxyz"] for one in plain],
        "sh_dc": [one["dc"] for one in plain],
        "sh_rest": np.array([one["sh"] for one in plain]).reshape(len(plain), -1, 3),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(cloud, name), values, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(("level", "degree"), KINDS)
def test_every_level_and_degree_comes_back(tmp_path, level, degree):
    """Within half a step of each quantisation (a step, where the writer rounds down), in any number of sections."""
    true = gaussians(11)
    for parts in (1, 2, 3):
        content = encode_ksplat(true, level, degree, parts=parts)
        file = read_gaussians(put(tmp_path, content))
        cloud = file.cloud
        assert (file.format, file.sh_degree, cloud.sh_degree, len(cloud)) == ("ksplat", degree, degree, 11)
        check_twin(cloud, content)
        half = 1e-3 if level else 1e-6
        np.testing.assert_allclose(cloud.xyz, [one["xyz"] for one in true], atol=2.5 / 32767 if level else 1e-6)
        np.testing.assert_allclose(cloud.log_scales, [one["log_scales"] for one in true], atol=half)
        np.testing.assert_allclose(cloud.alphas(), [one["alpha"] for one in true], atol=1.01 / 255)
        np.testing.assert_allclose(cloud.sh_dc, [one["dc"] for one in true], atol=1.01 / 255 / 0.282)
        unit = np.array([one["wxyz"] for one in true])
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        np.testing.assert_allclose(cloud.quaternions, unit, atol=half)
        sh = np.array([one["sh"][: SH_REST[degree]] for one in true]).reshape(11, -1, 3)
        np.testing.assert_allclose(cloud.sh_rest, sh, atol=2.26 / 255 if level == 2 else half)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(KINDS), count=st.integers(1, 30), size=st.integers(1, 9))
def test_random_files_are_the_twins(scratch, seed, kind, count, size):
    content = encode_ksplat(gaussians(count, seed), *kind, bucket_size=size, parts=1 + seed % 3)
    check_twin(read_gaussians(put(scratch, content)).cloud, content)


def test_scales_that_are_zero_as_halves(tmp_path):
    """exp(-20) is no half above zero; real scenes have such Gaussians, so they are kept, with a note."""
    true = gaussians(5)
    true[2]["log_scales"] = [-20.0, -3.0, -25.0]
    file = read_gaussians(put(tmp_path, encode_ksplat(true, 1, 0)))
    np.testing.assert_allclose(file.cloud.log_scales[2], np.log([2.0**-25, np.exp(-3), 2.0**-25]), atol=1e-3)
    assert any("scales of 1 Gaussians" in note for note in file.notes)
    content = bytearray(encode_ksplat(true, 0, 0))
    content[5120 + 12 : 5120 + 16] = bytes(4)  # of 32 bits a zero is damage
    with pytest.raises(GaussianFileError, match=r"a\.ksplat: 1 of 5 Gaussians.*'scale_0' \(1 infinite\)"):
        read_gaussians(put(tmp_path, bytes(content)))


@pytest.mark.parametrize(
    ("offset", "code", "value", "says"),
    [
        (0, "<B", 1, r"version 0\.1 \(offset 0 says 1\.1\)"),
        (1, "<B", 0, r"version 0\.1 \(offset 0 says 0\.0\).*give the \.ply"),
        (4, "<I", 3, "3 sections"),
        (4, "<I", 2**32 - 1, "sections"),
        (8, "<I", 1, "1 of 2 sections"),
        (12, "<I", 12, "11 of 12 Gaussians"),
        (16, "<I", 0, "0 of 11 Gaussians"),
        (20, "<H", 3, "compression level.*is 3"),
        (36, "<f", float("nan"), "bounds of the harmonics"),
        (4096, "<I", 4, "section 0 .* has 4 of 5"),
        (4104, "<I", 2, "buckets hold 3"),
        (4104, "<I", 2**32 - 1, "buckets hold"),
        (4108, "<I", 3, r"1 \+ 1 of 3 buckets"),
        (4112, "<f", float("inf"), "size inf"),
        (4112, "<f", -1.0, "size -1"),
        (4116, "<H", 16, "buckets of 16 bytes"),
        (4128, "<I", 2**32 - 1, "buckets"),
        (4136, "<H", 3, "SH degree 3"),
        (4136, "<H", 2, "truncated or a count is wrong"),
        (5120, "<I", 7, "section 1 .* has 7 of 6"),
        (6144, "<I", 2, "section 0 has 5 Gaussians, its buckets hold 6"),
    ],
)
def test_wrong_headers(tmp_path, offset, code, value, says):
    """Each field that can be wrong, in a file of two sections of 5 and 6 Gaussians."""
    content = bytearray(encode_ksplat(gaussians(11), 1, 1, parts=2))
    struct.pack_into(code, content, offset, value)
    with pytest.raises(GaussianFileError, match=says) as caught:
        read_gaussians(put(tmp_path, bytes(content)))
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("level", range(3))
def test_truncated_and_too_long(tmp_path, level):
    content = encode_ksplat(gaussians(3), level, 2)
    for end in (0, 1, 44, 4095, 4096, 5119, 5120, len(content) - 1):
        with pytest.raises(GaussianFileError):
            read_gaussians(put(tmp_path, content[:end]))
    with pytest.raises(GaussianFileError, match="truncated or a count"):
        read_gaussians(put(tmp_path, content + b"\0"))
    with pytest.raises(GaussianFileError, match="more than the 2 allowed"):
        read_gaussians(put(tmp_path, content), 2)


def test_claims_cost_nothing(tmp_path):
    """Counts of billions in a small file: refused before an array of them is made."""
    content = bytearray(encode_ksplat(gaussians(3), 1, 2))
    for offset in (12, 16, 4096, 4100, 4108, 4128, 4132):
        struct.pack_into("<I", content, offset, 2_900_000)
    path = put(tmp_path, bytes(content))
    tracemalloc.start()
    try:
        with pytest.raises(GaussianFileError):
            read_gaussians(path)
        assert tracemalloc.get_traced_memory()[1] < 8e6
    finally:
        tracemalloc.stop()
