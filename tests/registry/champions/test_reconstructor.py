"""A reconstructor goes an encoder's way: registered, judged beside constant clouds, pulled, taken in from strangers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from registry.champions.promote import promote
from registry.pull import load
from registry.versions.evaluation_log import read_report
from registry.versions.store import EncoderStore
from ssl_core.clouds.points_file import read_points
from ssl_core.data.object_pack import Pack
from ssl_core.errors import ConfigError
from ssl_core.evaluation.reconstruction_data import SingleViews
from ssl_core.evaluation.tasks.reconstruction_report import ReconstructionConfig
from ssl_core.losses.chamfer import chamfer
from ssl_core.models.bundle import save_bundle
from ssl_core.models.reconstruction_cards import ReconstructorCard
from study.commands.cli import app
from tests.reference.single_view_pack import POINTS, SIZE, single_view_pack

CARD = ReconstructorCard(image_size=SIZE, num_points=64, bottleneck=16, width=0.15)
CONFIG = ReconstructionConfig(points=POINTS, twin_seeds=(0,), matched=1, shown=1)
NAME = "image-to-points-reconstructor"
pytestmark = pytest.mark.slow  # the task and the gate have quick tests of their own


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> Pack:
    return single_view_pack(tmp_path_factory.mktemp("packs") / "shapes")


@pytest.fixture(scope="module")
def taught(pack, tmp_path_factory) -> Path:
    """A bundle of a network that was shown the clouds of the very objects it is asked for."""
    module = CARD.build(0)
    parts = [SingleViews(pack, CARD, split, 0) for split in ("val", "test")]
    images, clouds = (torch.cat([part.images() for part in parts]), torch.cat([p.clouds(POINTS) for p in parts]))
    optimiser = torch.optim.Adam(module.parameters(), lr=0.005)
    for _ in range(150):
        optimiser.zero_grad()
        chamfer(module(images)[..., :3], clouds).mean().backward()
        optimiser.step()
    folder = tmp_path_factory.mktemp("bundles") / "taught"
    save_bundle(module, CARD, folder, name=NAME, lineage={})
    return folder


def test_it_becomes_champion_and_an_untrained_one_does_not(store, lineage, trial, pack, taught, tmp_path):
    save_bundle(CARD.build(5), CARD, tmp_path / "untrained", name=NAME, lineage={})
    blind = store.register(tmp_path / "untrained", NAME, lineage, trial)
    refused = promote(store, pack, blind, CONFIG)
    assert not refused.promoted
    assert "shape" in refused.reason or "same cloud" in refused.reason
    good = store.register(taught, NAME, lineage, trial)
    won = promote(store, pack, good, CONFIG)
    assert won.promoted, won.reason
    assert "first champion: Chamfer distance of test objects CD-L2 x 1000 " in won.reason
    champion = store.resolve(f"{NAME}@champion")
    assert champion.version == good.version
    assert read_report(store, champion).kind == "reconstructor"
    run = store.client.get_run(champion.evaluation.run_id)
    assert run.data.metrics["reconstruction/reconstructor/cd_l2"] > 0
    page = (store.download(NAME, champion.version, tmp_path) / "model_card.md").read_text()
    assert "turns one image of an object into a coloured cloud of 64 points" in page
    assert "| clouds | CD-L2 x 1000 |" in page
    assert "cloud = model(image)" in page


def test_a_stranger_s_version_is_taken_in_and_judged(store, pack, taught):
    store.client.create_registered_model("theirs", {"splatsweep.kind": "encoder"})
    version = store.client.create_model_version("theirs", str(taught)).version
    decision = promote(EncoderStore(store.run_log), pack, store.get("theirs", int(version)), CONFIG)
    assert decision.promoted, decision.reason
    assert store.resolve("theirs@champion").kind == "reconstructor"


def test_pictures_become_clouds_by_the_command(pack, taught, tmp_path, monkeypatch):
    monkeypatch.setenv("SPLATSWEEP_HOME", str(tmp_path / "home"))
    some = SingleViews(pack, CARD, "test", 0)
    black = (255 * some.images()[0]).byte().permute(1, 2, 0).numpy()
    alpha = (255 * some.masks()[0]).byte().numpy()
    wide = np.zeros((SIZE, SIZE + 20, 3), np.uint8)
    wide[:, 10:-10] = black
    Image.fromarray(wide).save(tmp_path / "wide.png")
    colour = np.where(alpha[..., None] > 0, black / np.maximum(alpha[..., None] / 255, 1 / 255), 255).clip(0, 255)
    Image.fromarray(np.dstack([colour.astype(np.uint8), alpha])).save(tmp_path / "cut.png")
    Image.fromarray(255 - black).save(tmp_path / "white.jpg")
    asked = ["reconstruct", *(str(tmp_path / name) for name in ("wide.png", "cut.png", "white.jpg"))]
    found = CliRunner().invoke(app, [*asked, "--model", str(taught), "--to", str(tmp_path / "out"), "--json"])
    assert found.exit_code == 0, found.output
    facts = json.loads(found.stdout)
    assert [row["own_background"] for row in facts["clouds"]] == [False, False, True]
    assert "white.jpg: has a background of its own" in found.stderr
    model = load(taught)
    cut = model.reconstruct([tmp_path / "cut.png"])[0]
    np.testing.assert_allclose(cut, model.reconstruct(black)[0], atol=0.02)
    for row in facts["clouds"]:
        points, gaussians = read_points(row["points"]), read_points(row["gaussians"])
        assert len(points.cloud) == len(gaussians.cloud) == 64
        np.testing.assert_allclose(points.cloud.xyz, gaussians.cloud.xyz, atol=1e-6)
    page = tmp_path / "page.html"
    looked = CliRunner().invoke(app, ["inspect", facts["clouds"][0]["points"], "--html", str(page)])
    assert "plain points" in looked.output
    assert page.stat().st_size > 1000
    with pytest.raises(ConfigError, match=r"use reconstruct, or load a model that turns images into features"):
        model.encode_images(black)
    twice = CliRunner().invoke(
        app, ["reconstruct", "a/x.png", "b/x.jpg", "--model", str(taught), "--to", str(tmp_path / "out")]
    )
    assert isinstance(twice.exception, ConfigError)
