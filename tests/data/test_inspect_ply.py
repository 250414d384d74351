"""What `inspect` says about a .ply."""

import json

import numpy as np
import pytest

from ssl_core.data.inspect import THRESHOLDS, format_inspection, inspect_ply
from ssl_core.data.ply import write_gaussian_ply
from ssl_core.errors import PlyError


def test_numbers_are_those_of_the_cloud(make_cloud, tmp_path):
    cloud = make_cloud(300, 1)
    write_gaussian_ply(tmp_path / "a.ply", cloud)
    found = inspect_ply(tmp_path / "a.ply")
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
    norms = np.linalg.norm(cloud.quaternions, axis=1)
    assert found["quaternion_norm"]["high"] == pytest.approx(norms.max(), rel=1e-5)


def test_the_text_names_what_matters(make_cloud, tmp_path):
    write_gaussian_ply(tmp_path / "a.ply", make_cloud(1200, 0))
    text = format_inspection(inspect_ply(tmp_path / "a.ply"))
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
    cloud.log_scales[0] = (3e38, -3e38, 0)
    cloud.xyz[1] = 3e38
    cloud.xyz[2] = -3e38
    write_gaussian_ply(tmp_path / "a.ply", cloud)
    found = inspect_ply(tmp_path / "a.ply")
    json.dumps(found, allow_nan=False)
    format_inspection(found)


def test_a_bad_file_is_refused_as_by_the_reader(tmp_path):
    (tmp_path / "a.ply").write_bytes(b"ply\n")
    with pytest.raises(PlyError, match="header never ends"):
        inspect_ply(tmp_path / "a.ply")
