"""The novel-view task: rays are those of the cameras, errors are counted view by view, and the gate decides by them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from registry.champions.compare import compare_reports, comparison_png
from registry.champions.gate import decide, decide_many
from ssl_core.data.scene_pack import ScenePack, ScenePackConfig
from ssl_core.errors import InfeasibleError, RegistryError
from ssl_core.evaluation.report import EvaluationProgress
from ssl_core.evaluation.task import parse_report, task_named, task_of
from ssl_core.evaluation.task_contract import Context
from ssl_core.evaluation.tasks.novel_view import NovelViewConfig, camera_rays, evaluate_field
from ssl_core.models.cards import SceneFieldCard
from ssl_core.packing.scene_writer import write_scene_pack
from ssl_core.scenes.camera_files import read_scene
from ssl_core.scenes.cameras import orbit_cameras
from tests.reference.projection import project
from tests.ssl_core.camera_writers import opengl_pose, write_json

CARD = SceneFieldCard(hidden=32, layers=2, frequencies=2)
CONFIG = NovelViewConfig(twin_seeds=(11, 12))


@pytest.fixture(scope="module")
def scene_pack(tmp_path_factory) -> ScenePack:
    """48 views of what the field of seed 1 shows, six of them for test."""
    folder: Path = tmp_path_factory.mktemp("scene")
    frames = [
        {"file_path": f"view_{i:02d}", "transform_matrix": opengl_pose(camera)}
        for i, camera in enumerate(orbit_cameras(48, 8))
    ]
    for frame in frames:
        Image.new("RGB", (12, 8)).save(folder / f"{frame['file_path']}.png")
    write_json(folder / "transforms.json", {"fl_x": 10.0, "w": 12, "h": 8, "frames": frames})
    for view in read_scene(folder).views:
        assert view.image is not None
        colours = CARD.build(1)(camera_rays(view.camera)).detach().numpy().reshape(8, 12, 3)
        Image.fromarray((255 * colours).round().astype(np.uint8)).save(view.image)
    return write_scene_pack(folder, tmp_path_factory.mktemp("packs") / "scene", ScenePackConfig())


def blurred(seed: int, amount: float):
    """The true field, a little off."""
    field = CARD.build(1)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in field.parameters():
            weight += amount * torch.randn(weight.shape, generator=generator)
    return field


def test_rays_go_through_the_centres_of_their_pixels(scene_pack):
    camera = scene_pack.camera(3)
    rays = camera_rays(camera).numpy().astype(np.float64)
    pixels, _ = project(camera, None, rays[:, :3] + 3.0 * rays[:, 3:])
    v, u = np.mgrid[:8, :12].reshape(2, -1) + 0.5
    np.testing.assert_allclose(pixels, np.stack([u, v], axis=1), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(rays[:, 3:], axis=1), 1, atol=1e-6)


def test_a_field_is_measured_view_by_view_beside_untrained_ones(scene_pack):
    told: list[EvaluationProgress] = []
    found = task_of(CARD).evaluate(CARD.build(1), CARD, scene_pack, CONFIG, Context("field/1", tell=told.append))
    report = found.report
    assert report.deciding.shape == report.baseline.shape == (1, 6)
    assert (report.deciding.unit, report.deciding.measure) == ("test views", "squared error")
    assert -report.deciding.mean < (0.5 / 255) ** 2 * 1.1, "no more than rounding to bytes"
    assert report.defects == ()
    assert [row["view"] for row in report.overview()] == [
        scene_pack.manifest.views[i].name for i in scene_pack.views("test")
    ]
    assert parse_report(report.to_json()) == report
    assert "dB over 6 test views (untrained twin" in report.headline_text
    assert report.metrics()["novel_view/psnr"] > 50
    assert found.pictures["views.png"].startswith(b"\x89PNG")
    assert (told[-1].done, told[-1].total) == (18, 18)


def test_the_gate_takes_the_better_field_by_the_same_rules_as_encoders(scene_pack):
    good, off, worse = (evaluate_field(blurred(5, by), CARD, scene_pack, CONFIG).report for by in (0.0, 0.05, 0.1))
    first = decide(off, None)
    assert first.promoted
    assert first.reason.startswith("first champion: colours of test views ")
    assert " dB" in first.reason
    won = decide(good, off)
    assert won.promoted
    assert won.numbers["low"] > 0
    assert not decide(off, good).promoted
    assert not decide(good, good).promoted
    assert [each.promoted for each in decide_many([worse, good], off)] == [False, True]
    twin = evaluate_field(CARD.build(40), CARD, scene_pack, CONFIG).report
    assert not decide(twin, off).promoted


def test_a_field_of_one_colour_or_of_none_is_no_field(scene_pack):
    constant, broken = CARD.build(0), CARD.build(0)
    with torch.no_grad():
        for weight in constant.parameters():
            weight.zero_()
        next(broken.parameters()).fill_(torch.nan)
    for field, word in ((constant, "one colour"), (broken, "NaN")):
        report = evaluate_field(field, CARD, scene_pack, CONFIG).report
        decision = decide(report, None)
        assert not decision.promoted
        assert word in decision.reason


def test_two_fields_are_compared(scene_pack):
    good, off = (evaluate_field(blurred(5, by), CARD, scene_pack, CONFIG).report for by in (0.0, 0.1))
    found = compare_reports(good, off, ("a/1", "a/2"))
    assert found.verdict.startswith("a/1 is better than a/2: +")
    assert found.test_units == "6 test views"
    assert comparison_png(found).startswith(b"\x89PNG")


def test_what_does_not_fit_together_is_said(scene_pack, tiny_pack):
    with pytest.raises(InfeasibleError, match="on a pack of a scene"):
        task_of(CARD).evaluate(CARD.build(0), CARD, tiny_pack, CONFIG, Context())
    with pytest.raises(RegistryError, match="upgrade"):
        task_named("hologram")
