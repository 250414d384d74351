"""Files of other tools from the command line: what was assumed of them is said."""

import json
import zipfile

import numpy as np
import pytest
from typer.testing import CliRunner

from ssl_core.errors import ConfigError
from study.commands.cli import app
from tests.reference.plain_sog import sog_parts, write_sog
from tests.reference.plain_spz import encode_spz


def run(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def gaussians(count: int = 12) -> list[dict[str, object]]:
    rng = np.random.default_rng(count)
    return [
        {
            "xyz": (rng.normal(size=3) + np.array([0, 5, 0])).tolist(),
            "alpha": 0.5,
            "dc": rng.normal(size=3).tolist(),
            "log_scales": rng.normal(-3, 0.3, 3).tolist(),
            "wxyz": rng.normal(size=4).tolist(),
            "sh": rng.uniform(-0.5, 0.5, (15, 3)).tolist(),
        }
        for _ in range(count)
    ]


def test_inspect_says_which_axes_were_assumed(tmp_path):
    file = tmp_path / "a.spz"
    file.write_bytes(encode_spz(gaussians(), 4, 1))
    assert "axes: RUB assumed" in run("inspect", file)
    facts = [json.loads(run("inspect", file, "--spz-axes", axes, "--json")) for axes in ("rub", "ply")]
    assert [one["notes"][0].split(",")[0] for one in facts] == ["axes: RUB", "axes: those of a .ply (RDF)"]
    assert facts[0]["bounds"]["centre"][1] == pytest.approx(-facts[1]["bounds"]["centre"][1])
    assert "axes: those of a .ply" in run("inspect", file, "--spz-axes", "ply", "--html", tmp_path / "a.html")
    assert "axes: those of a .ply" in (tmp_path / "a.html").read_text()
    for words in (
        ("inspect", file),
        ("pack", "--points", tmp_path, "--out", tmp_path / "out"),
        ("sweep", "--data", "."),
    ):
        with pytest.raises(ConfigError, match=r"--spz-axes is 'RDF'; give rub .* or ply"):
            run(*words, "--spz-axes", "RDF")


def test_inspect_takes_the_folder_of_a_sog(tmp_path):
    content = write_sog(*sog_parts(gaussians(), 0))
    (tmp_path / "a.sog").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.sog") as bundle:
        bundle.extractall(tmp_path / "scene")
    facts = [json.loads(run("inspect", tmp_path / name, "--json")) for name in ("a.sog", "scene", "scene/meta.json")]
    for one in facts:
        assert one.pop("path") in {str(tmp_path / "a.sog"), str(tmp_path / "scene" / "meta.json")}
        assert one.pop("bytes") > 0
    assert facts[0] == facts[1] == facts[2]
