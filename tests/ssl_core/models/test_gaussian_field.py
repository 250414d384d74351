"""Scene fields: the traced picture is the tile rasteriser's, labels follow scores, what is not seen is void."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from ssl_core.errors import ConfigError
from ssl_core.models.field_card import SceneFieldCard
from ssl_core.models.gaussian_field import COLOURS, FIXED_OUTPUTS, LABEL, VOID, camera_of, camera_vector
from ssl_core.scenes.cameras import Camera, orbit_cameras

CAMERAS = orbit_cameras(4, 24)


def card(**values: object) -> SceneFieldCard:
    examples = tuple(tuple(camera_vector(camera).tolist()) for camera in CAMERAS[:2])
    base = {"gaussians": 150, "classes": ("a", "b", "c"), "channels": 3, "width": 24, "height": 24}
    return SceneFieldCard.model_validate({**base, "examples": examples, "depths": (1.5, 3.5), **values})


VARIANTS = {
    "scores": card(),
    "no classes": card(classes=(), channels=0),
    "harmonics": card(sh_degree=3, background=(1.0, 0.5, 0.0)),
    "probabilities": card(activation="softmax", normalised=True),
    "features": card(channels=8, embedding=8, near=2.0),
    "decoded": card(channels=4, embedding=16, decodes=True),
}


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_the_traced_picture_is_the_tile_rasterisers(variant: SceneFieldCard) -> None:
    field = variant.build(3)
    with torch.no_grad():
        field.sh.normal_(generator=torch.Generator().manual_seed(1))
        field.opacity_logits.normal_(generator=torch.Generator().manual_seed(2)).mul_(2)
        views = field(torch.stack([camera_vector(camera) for camera in CAMERAS]))
        for view, camera in zip(views, CAMERAS, strict=True):
            drawn = field.draw(camera)
            parts = (drawn.image, drawn.depth[..., None], drawn.coverage[..., None], drawn.label[..., None].float())
            wanted = torch.cat((*parts, drawn.scores), dim=2).permute(2, 0, 1)
            assert drawn.coverage.max() > 0.5
            # where a Gaussian is at the least opacity that is drawn, a last digit decides about a pixel
            torch.testing.assert_close(view[:LABEL], wanted[:LABEL], atol=1e-2, rtol=1e-2)
            off = (view - wanted).abs() > 1e-4 * (1 + wanted.abs())
            assert off.float().mean() < 1e-3


def test_labels_are_the_largest_score_where_something_is_seen_and_void_elsewhere() -> None:
    field = card(depths=(2.0, 2.1), gaussians=20).build(0)
    with torch.no_grad():
        drawn = field.draw(CAMERAS[0])
    seen = drawn.coverage >= 0.5
    assert seen.any()
    assert not seen.all()
    assert torch.equal(drawn.label[seen].long(), drawn.scores.argmax(-1)[seen])
    assert (drawn.label[~seen] == VOID).all()
    assert (card(classes=(), channels=0).build(0).draw(CAMERAS[0]).label == VOID).all()


def test_one_hot_scores_of_an_opaque_scene_come_back_exactly() -> None:
    """label3dgs.md section 5, assertion 3."""
    plain = card()
    field = plain.build(1)
    with torch.no_grad():
        field.opacity_logits.fill_(8.0)
        classes = torch.arange(plain.gaussians) % 3
        field.channels.copy_(torch.eye(3)[classes])
        nearest = field.xyz[:, 0] < 0
        field.xyz[nearest] *= 0  # one class alone fills the middle
        field.channels[nearest] = torch.tensor([0.0, 1.0, 0.0])
        field.log_scales[nearest] = -1.0
        drawn = field.draw(CAMERAS[0])
    assert (drawn.label[10:14, 10:14] == 1).all()
    whole = drawn.scores.sum(-1)
    torch.testing.assert_close(whole, drawn.coverage, atol=1e-5, rtol=0)


def test_a_camera_comes_back_from_its_numbers_and_scales_with_the_picture() -> None:
    camera = Camera(CAMERAS[1].viewmat, np.array([[30.0, 0, 11], [0, 28, 13], [0, 0, 1]]), 24, 26)
    again = camera_of(camera_vector(camera), (24, 26))
    np.testing.assert_allclose(again.viewmat, camera.viewmat, atol=1e-6)
    np.testing.assert_allclose(again.K, camera.K, atol=1e-5)
    half = camera_of(camera_vector(camera, (12, 13)), (12, 13))
    np.testing.assert_allclose(half.K[:2], camera.K[:2] / 2, atol=1e-5)


def test_what_fits_no_field_is_refused() -> None:
    field = card().build(0)
    for wrong in (torch.zeros(2, 15), torch.zeros(16), torch.zeros(2, 16, dtype=torch.int64)):
        with pytest.raises(ConfigError, match=r"takes cameras \[B, 16\] float"):
            field(wrong)
    for wrong, word in (
        ({"channels": 4}, "no scores of 3 classes"),
        ({"embedding": 8}, "nothing decodes"),
        ({"depths": (3.0, 1.0)}, "no range"),
    ):
        with pytest.raises(ValidationError, match=word):
            card(**wrong)
    assert card().output_shape == (FIXED_OUTPUTS + 3, 24, 24)
    assert COLOURS == 3
