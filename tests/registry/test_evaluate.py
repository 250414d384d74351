"""The protocol on a real (small) pack with real encoders."""

import json

import numpy as np
import pytest
import torch
from tiny_bundles import IMAGE, IMAGE_BACKBONE, POINT_BACKBONE, POINTS

from registry.evaluate import Twins, evaluate_encoder
from registry.features import TwinMemory, view_subsets
from registry.reports import EvaluationConfig, EvaluationReport, LabelSetting
from ssl_core.errors import InfeasibleError
from ssl_core.models.build import build_encoder

CONFIG = EvaluationConfig(
    label_settings=(LabelSetting(per_class=2, draws=3), LabelSetting()),
    point_draws=2,
    view_draws=2,
    twin_seeds=(5, 6),
)


def points_encoder(seed: int):
    return build_encoder(POINTS, POINT_BACKBONE, seed=seed)


def image_encoder(seed: int):
    return build_encoder(IMAGE, IMAGE_BACKBONE, seed=seed)


def test_points_are_evaluated_against_twins(tiny_pack):
    found = evaluate_encoder(points_encoder(0), tiny_pack, CONFIG, twins=Twins(points_encoder))
    report = found.report
    assert len(report.rows) == 2 * 2
    assert report.max_views is None
    assert (report.train_objects, report.test_objects) == (24, 9)
    assert report.pack_digest == tiny_pack.manifest.pack_digest
    assert report.row("svm", "all").accuracy.mean > 0.6  # a box, a disc and a rod differ even to random weights
    assert np.array(report.deciding.encoder).shape == np.array(report.deciding.twin).shape == (3, 9)
    assert set(found.pictures) == {"embedding.png", "confusion.png", "accuracy.png"}
    assert all(data.startswith(b"\x89PNG") and len(data) > 5000 for data in found.pictures.values())
    assert EvaluationReport.from_json(json.dumps(json.loads(report.to_json()), indent=1)) == report


def test_images_are_evaluated_by_number_of_views(tiny_pack):
    report = evaluate_encoder(image_encoder(0), tiny_pack, CONFIG, twins=Twins(image_encoder)).report
    assert sorted({row.views for row in report.rows}) == [1, 4]  # 8 and more are capped by the four there are
    assert report.max_views == 4
    assert len(report.rows) == 2 * 2 * 2


def test_its_own_twin_is_no_better_than_itself(tiny_pack):
    same = EvaluationConfig(**{**CONFIG.model_dump(), "twin_seeds": (3,)})
    report = evaluate_encoder(points_encoder(3), tiny_pack, same, twins=Twins(points_encoder)).report
    assert all(row.difference.mean == 0 for row in report.rows)


def test_evaluation_repeats_itself_and_leaves_the_encoder_alone(tiny_pack):
    encoder = points_encoder(1).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    torch.manual_seed(0)
    state = torch.get_rng_state()
    a = evaluate_encoder(encoder, tiny_pack, CONFIG).report
    b = evaluate_encoder(encoder, tiny_pack, CONFIG).report
    assert a.model_copy(update={"seconds": 0}) == b.model_copy(update={"seconds": 0})
    assert encoder.training
    assert all((value == before[name]).all() for name, value in encoder.state_dict().items())
    assert (torch.get_rng_state() == state).all()
    assert all(row.twin is None for row in a.rows)


def test_twins_of_one_architecture_are_computed_once(tiny_pack):
    built = []

    def build(seed: int):
        built.append(seed)
        return points_encoder(seed)

    twins = Twins(build, "pointnet", TwinMemory())
    a = evaluate_encoder(points_encoder(0), tiny_pack, CONFIG, twins=twins).report
    b = evaluate_encoder(points_encoder(0), tiny_pack, CONFIG, twins=twins).report
    assert built == [5, 6]
    assert a.rows == b.rows
    assert a.rows == evaluate_encoder(points_encoder(0), tiny_pack, CONFIG, twins=Twins(points_encoder)).report.rows


def test_the_memory_of_twins_is_bounded():
    memory = TwinMemory(limit_bytes=1000)
    cells = {None: [np.zeros((10, 10), np.float32)]}  # 400 bytes
    for number in range(5):
        memory.recall((str(number),), lambda: cells)
    made = []
    for number in (4, 3, 0):
        memory.recall((str(number),), lambda n=number: made.append(n) or cells)
    assert made == [0]


def test_features_that_are_not_finite_give_a_report_without_rows(tiny_pack):
    encoder = points_encoder(0)
    with torch.no_grad():
        next(encoder.parameters()).fill_(torch.nan)
    found = evaluate_encoder(encoder, tiny_pack, CONFIG, twins=Twins(points_encoder))
    assert not found.report.health.finite
    assert found.report.rows == ()
    assert found.pictures == {}


def test_an_encoder_the_pack_cannot_serve(tiny_pack):
    many = POINTS.model_copy(update={"num_points": 5000})
    with pytest.raises(InfeasibleError):
        evaluate_encoder(build_encoder(many, POINT_BACKBONE, seed=0), tiny_pack, CONFIG)


def test_view_subsets_are_nested_seeded_and_different():
    one, four = view_subsets(12, 1, 3), view_subsets(12, 4, 3)
    assert [len(subset) for subset in four] == [4, 4, 4]
    assert all(set(a) <= set(b) for a, b in zip(one, four, strict=True))
    assert len({tuple(subset) for subset in four}) == 3
    assert [subset.tolist() for subset in view_subsets(12, 12, 3)] == [list(range(12))]
