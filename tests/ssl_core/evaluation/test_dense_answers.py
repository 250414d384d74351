"""Probes of dense features: metrics beside plain formulas, heads beside what they are to find, agreement of views."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ssl_core.data.scene_pack import VOID, ScenePack
from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.dense_answers import DenseAnswer, DenseTruth, joined, probed
from ssl_core.evaluation.dense_data import depth_grid, label_grid, picture_batch, scene_of, views_of
from ssl_core.evaluation.dense_gains import depth_gain, iou_gain
from ssl_core.evaluation.dense_metrics import (
    DEPTH_METRICS,
    class_ious,
    depth_errors,
    mean_accuracy,
    mean_iou,
    pixel_accuracy,
)
from ssl_core.evaluation.dense_probes import DenseProbeConfig, fit_depth, fit_segmentation, segmented
from ssl_core.evaluation.label_metrics import Confusion
from ssl_core.evaluation.view_consistency import agreement, shared_points

torch.set_num_threads(1)
QUICK = DenseProbeConfig(steps=60, bins=8)


@pytest.fixture
def pack(room_pack: ScenePack) -> ScenePack:
    return room_pack


def test_intersection_over_union_is_counted_pixel_by_pixel() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, size=(20, 30)).astype(np.uint8)
    told = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, 5, size=truth.shape))
    truth[:3] = VOID
    counts = Confusion.of([(truth, told.astype(np.uint8))], 5).counts[:, :-1]
    known = truth != VOID
    assert counts.sum() == known.sum()
    ious, accuracies = [], []
    for label in range(4):  # the fifth is told and never there
        there, said = (truth == label) & known, (told == label) & known
        ious.append((there & said).sum() / (there | said).sum())
        accuracies.append((there & said).sum() / there.sum())
    np.testing.assert_allclose(class_ious(counts)[:4], ious)
    assert np.isnan(class_ious(counts)[4])
    assert mean_iou(counts) == pytest.approx(np.mean(ious))
    assert mean_accuracy(counts) == pytest.approx(np.mean(accuracies))
    assert pixel_accuracy(counts) == pytest.approx((truth == told)[known].mean())


def test_depth_errors_are_eigen_s() -> None:
    rng = np.random.default_rng(0)
    truth, told = (1 + rng.random((2, 8, 9))).astype(np.float32)
    truth[0] = 0
    found = depth_errors(truth, told)
    t, p = truth[1:].astype(np.float64).ravel(), told[1:].astype(np.float64).ravel()
    logs = np.log(p) - np.log(t)
    assert found.keys() == set(DEPTH_METRICS)
    assert found["rmse"] == pytest.approx(np.sqrt(((p - t) ** 2).mean()))
    assert found["abs_rel"] == pytest.approx((abs(p - t) / t).mean())
    assert found["delta_1"] == pytest.approx(np.mean(np.maximum(p / t, t / p) < 1.25))
    assert found["silog"] == pytest.approx(100 * logs.std())
    assert depth_errors(truth, truth)["rmse"] == 0
    assert depth_errors(np.zeros((2, 2), np.float32), told) == {}


def test_views_of_a_split_are_all_views_of_its_scenes(pack: ScenePack) -> None:
    for split in ("train", "val", "test"):
        views = views_of(pack, split)
        assert len(views) == 8
        assert {pack.scenes[scene].split for scene in scene_of(pack, views).tolist()} == {split}
    pictures = picture_batch(pack, views, (16, 24))
    assert pictures.shape == (8, 3, 16, 24)
    assert 0 <= float(pictures.min()) <= float(pictures.max()) <= 1


def test_truth_at_tokens_is_that_of_the_pixels_there(pack: ScenePack) -> None:
    views = views_of(pack, "val")
    labels, depth = label_grid(pack, views, (8, 8)), depth_grid(pack, views, (8, 8))
    assert labels is not None
    assert depth is not None
    places = np.arange(8) * 4 + 2
    for row, view in enumerate(views.tolist()):
        assert np.array_equal(labels[row], pack.labels(view)[np.ix_(places, places)])
        assert np.array_equal(depth[row], pack.depth(view)[np.ix_(places, places)])


def test_a_head_finds_classes_that_are_in_the_tokens_and_gives_bilinear_logits() -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(6, 5, 4, 6, generator=generator)
    labels = F.interpolate(tokens, (16, 24), mode="bilinear").argmax(dim=1)
    head = fit_segmentation(tokens, labels, 5, DenseProbeConfig(steps=200, lr=0.02), 0)
    told = segmented(head, tokens, (16, 24))
    assert float((told == labels).float().mean()) > 0.9
    assert torch.equal(told, F.interpolate(head(tokens), (16, 24), mode="bilinear").argmax(dim=1))
    void = torch.full_like(labels, VOID)
    assert torch.equal(  # nothing to learn from: the weights of the seed
        fit_segmentation(tokens, void, 5, DenseProbeConfig(steps=5, weight_decay=0), 1).weight,
        fit_segmentation(tokens, void, 5, DenseProbeConfig(steps=1, weight_decay=0), 1).weight,
    )


def test_a_head_tells_depth_that_is_in_the_tokens_better_than_their_mean() -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.rand(6, 3, 4, 4, generator=generator)
    depth = F.interpolate(1 + tokens[:, :1], (8, 8), mode="bilinear")[:, 0]
    head = fit_depth(tokens, depth, DenseProbeConfig(steps=100, lr=0.03), 0)
    told = head(tokens, (8, 8))
    assert float((told - depth).square().mean()) < 0.3 * float(depth.var())
    assert float(depth.min()) - 1e-4 <= float(told.min()) <= float(told.max()) <= float(depth.max()) + 1e-4


def test_the_seed_decides_a_probe_and_no_global_generator() -> None:
    tokens, labels = torch.randn(4, 3, 2, 2), torch.randint(0, 3, (4, 8, 8))
    before = torch.random.get_rng_state()
    first, again, other = (fit_segmentation(tokens, labels, 3, QUICK, seed).weight for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def oracle(pack: ScenePack, views: np.ndarray, grid: tuple[int, int]) -> torch.Tensor:
    """Tokens that say the class of their middle pixel, and its depth."""
    labels, depth = label_grid(pack, views, grid), depth_grid(pack, views, grid)
    assert labels is not None
    assert depth is not None
    hot = F.one_hot(labels.clamp(max=len(pack.classes) - 1), len(pack.classes)).permute(0, 3, 1, 2).float()
    return torch.cat((hot, depth[:, None]), dim=1)


def test_what_tokens_say_decides_the_answer(pack: ScenePack) -> None:
    views = np.concatenate((views_of(pack, "val"), views_of(pack, "test")))
    truth, fit = DenseTruth(pack, views, (16, 16)), np.arange(16) < 8
    whole = torch.zeros(16, 1)
    good = probed((oracle(pack, views, (16, 16)), whole), truth, (fit, ~fit), QUICK, (0,))
    noise = torch.randn(16, 14, 16, 16, generator=torch.Generator().manual_seed(0))
    bad = probed((noise, whole), truth, (fit, ~fit), QUICK, (0,))
    assert good.score > bad.score + 0.1
    assert good.metrics()["rmse"] < bad.metrics()["rmse"]
    assert good.by_view.shape == (8,)
    scenes = scene_of(pack, views[8:])
    gain = iou_gain(good, bad, scenes, 0.95)
    assert gain is not None
    assert gain.mean == pytest.approx(good.metrics()["miou"] - bad.metrics()["miou"])
    assert 0 < gain.low <= gain.mean <= gain.high
    nearer = depth_gain(good, bad, scenes, 0.95)
    assert nearer is not None
    assert nearer.mean == pytest.approx(bad.metrics()["rmse"] - good.metrics()["rmse"])
    same = iou_gain(good, good, scenes, 0.95)
    assert same is not None
    assert (same.low, same.mean, same.high) == (0, 0, 0)


def test_answers_join_and_a_pack_without_any_truth_is_refused(pack: ScenePack) -> None:
    counts = np.arange(2 * 3 * 4).reshape(2, 3, 2, 2)
    depth = {name: np.ones((2, 3)) for name in DEPTH_METRICS}
    both = joined([DenseAnswer(counts, depth, (None, None))] * 2)
    assert both.counts is not None
    assert both.counts.shape == (2, 6, 2, 2)
    assert both.depth["rmse"].shape == (2, 6)
    assert both.metrics()["miou"] == pytest.approx(DenseAnswer(counts, depth, (None, None)).metrics()["miou"])

    class Bare:
        path, classes = Path("bare"), ()

        def depth(self, view: int) -> None:
            return None

    fit = np.array([True, False])
    truth = DenseTruth(Bare(), np.arange(2), (2, 2))  # type: ignore[arg-type]
    with pytest.raises(InfeasibleError, match="neither labels nor depth"):
        probed((torch.rand(2, 3, 2, 2), torch.rand(2, 1)), truth, (fit, ~fit), QUICK, (0,))


def test_features_of_the_place_agree_over_views_and_features_of_the_picture_do_not(pack: ScenePack) -> None:
    views = views_of(pack, "test")
    shared = shared_points(pack, views, partners=3)
    assert len(shared) > 3
    places = torch.stack([world_points(pack, view) for view in views.tolist()])
    mine = agreement(places, shared)
    row, column = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    picture = agreement(torch.stack((row, column))[None].expand(len(views), -1, -1, -1), shared)
    assert mine is not None
    assert picture is not None
    assert mine.same > 0.97
    assert mine.same > mine.other + 0.5
    assert mine.same > picture.same + 0.2
    assert agreement(places, ()) is None


def world_points(pack: ScenePack, view: int) -> torch.Tensor:
    """[3, H, W] where each pixel's surface lies, by plain loops over pixels."""
    camera, depth = pack.camera(view), pack.depth(view)
    assert depth is not None
    found = np.zeros((3, *depth.shape), np.float32)
    inverse, K = np.linalg.inv(camera.viewmat), np.linalg.inv(camera.K)
    for v in range(depth.shape[0]):
        for u in range(depth.shape[1]):
            seen = K @ np.array([u + 0.5, v + 0.5, 1.0]) * depth[v, u]
            found[:, v, u] = (inverse @ np.array([*seen, 1.0]))[:3]
    return torch.from_numpy(found)
