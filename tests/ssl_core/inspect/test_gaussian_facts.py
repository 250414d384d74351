"""What `inspect` says about a file of Gaussians."""

import json

import numpy as np
import pytest

from ssl_core.errors import PlyError
from ssl_core.gaussians.ply import write_gaussian_ply
from ssl_core.inspect.gaussian_facts import THRESHOLDS, format_inspection, inspect_gaussians


def test_numbers_are_those_of_the_cloud(make_cloud, tmp_path):
    cloud = make_cloud(300, 1)
    write_gaussian_ply(tmp_path / "a.ply", cloud)
    found = inspect_gaussians(tmp_path / "a.ply")
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["gaussians"] == 300
    assert found["sh_degree"] == 3
    assert not found["sh_rest_is_zero"]
    np.testing.assert_allclose(found["bounds"]["low"], cloud.xyz.min(axis=0))
    np.testing.assert_allclose(found["bounds"]["extent"], np.ptp(cloud.xyz, axis=0), rtol=1e-6)
    alphas = 1 / (1 + np.exp(-cloud.opacity_logits.astype(float)))
    assert found["alpha"]["0.5"] == pytest.approx(np.median(alphas), rel=1e-5)
    assert list(found["kept_above_alpha"]) == [str(level) for level in THRESHOLDS]
    assert found["kept_above_alpha"]["0.5"] == (cloud.opacity_logits > 0).sum()
    # The cross-modal reference thresholds the raw logit at 0.3.
    assert abs(found["kept_above_alpha"]["0.574"] - (cloud.opacity_logits > 0.3).sum()) <= 1
    assert found["scale"]["1"] == pytest.approx(np.exp(cloud.log_scales.max()), rel=1e-5)
    assert (found["format"], found["notes"]) == ("ply", [])
    norms = np.linalg.norm(cloud.quaternions, axis=1)
    assert found["quaternion_norm"]["high"] == pytest.approx(norms.max(), rel=1e-5)


def test_harmonics_by_degree(make_cloud, tmp_path):
    """Mean over Gaussians of the sum of squares; a rotation of the scene would not change it."""
    cloud = make_cloud(50, 2)
    write_gaussian_ply(tmp_path / "a.ply", cloud)
    energy = inspect_gaussians(tmp_path / "a.ply")["sh_energy"]
    assert list(energy) == ["0", "1", "2", "3"]
    for degree, rows in (("1", slice(0, 3)), ("2", slice(3, 8))):
        assert energy[degree] == pytest.approx((cloud.sh_rest[:, rows].astype(float) ** 2).sum() / 50)
    assert energy["0"] == pytest.approx((cloud.sh_dc.astype(float) ** 2).sum() / 50)
    assert energy["3"] == 0


def test_histograms_count_everything_once(make_cloud, tmp_path):
    cloud = make_cloud(400, 0)
    cloud.log_scales[0] = np.log([1e-9, 1e8, 1e3])
    cloud.opacity_logits[:2] = (-200, 200)
    write_gaussian_ply(tmp_path / "a.ply", cloud)
    found = inspect_gaussians(tmp_path / "a.ply")
    alpha, scale = found["alpha_histogram"], found["scale_histogram"]
    assert alpha["edges"] == [i / 20 for i in range(21)]
    assert sum(alpha["counts"]) == 400
    assert (alpha["below"], alpha["above"]) == (0, 0)
    half = sum(alpha["counts"][10:])
    assert half == (cloud.opacity_logits >= 0).sum()
    assert len(scale["counts"]) == len(scale["edges"]) - 1
    assert sum(scale["counts"]) + scale["below"] + scale["above"] == 1200
    assert (scale["below"], scale["edges"][0], scale["edges"][-1]) == (1, -7, 3)
    assert 1 <= scale["above"] <= 2  # 1e3 is on the edge, but for rounding


def test_other_formats_say_what_they_lack(tmp_path):
    record = np.zeros(1, [("f", "<f4", 6), ("b", "u1", 8)])
    record["f"], record["b"] = 0.5, (0, 0, 0, 255, 255, 128, 128, 128)
    (tmp_path / "a.splat").write_bytes(record.tobytes())
    found = inspect_gaussians(tmp_path / "a.splat")
    assert (found["format"], found["bytes"], found["sh_degree"], len(found["notes"])) == ("splat", 32, 0, 3)
    assert list(found["sh_energy"]) == ["0"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    text = format_inspection(found)
    assert "no spherical harmonics beyond the constant" in text
    assert "(splat, 0.00 MB)" in text


def test_the_text_names_what_matters(make_cloud, tmp_path):
    write_gaussian_ply(tmp_path / "a.ply", make_cloud(1200, 0))
    text = format_inspection(inspect_gaussians(tmp_path / "a.ply"))
    for expected in (
        "1,200",
        "degree 3 (all higher coefficients zero)",
        "kept above alpha",
        "0.574:",
        "a.ply",
    ):
        assert expected in text
    assert all(len(line) < 240 for line in text.splitlines())


def test_extreme_values_stay_json(make_cloud, tmp_path):
    cloud = make_cloud(4)
    cloud.log_scales[0] = (20, -40, 0)
    cloud.xyz[1] = 1e9
    cloud.xyz[2] = -1e9
    write_gaussian_ply(tmp_path / "a.ply", cloud)
    found = inspect_gaussians(tmp_path / "a.ply")
    json.dumps(found, allow_nan=False)
    format_inspection(found)


def test_a_bad_file_is_refused_as_by_the_reader(tmp_path):
    (tmp_path / "a.ply").write_bytes(b"ply\n")
    with pytest.raises(PlyError, match="header never ends"):
        inspect_gaussians(tmp_path / "a.ply")
