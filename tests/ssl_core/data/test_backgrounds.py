"""Views over black are what a renderer with a black background draws."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ssl_core.contracts import ImageContract
from ssl_core.data.backgrounds import over_black, views_over
from ssl_core.data.single_views import objects_of, view_of_each
from ssl_core.encode.model_inputs import image_input
from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.extract import image_features
from tests.reference.single_view_pack import single_view_pack


def test_white_taken_away_leaves_the_object_over_black():
    rng = np.random.default_rng(0)
    colour, alpha = rng.integers(0, 256, (4, 3, 5, 5)), rng.integers(0, 256, (4, 5, 5))
    white = np.rint((colour * alpha[:, None] + 255 * (255 - alpha[:, None])) / 255).astype(np.uint8)
    found = over_black(torch.from_numpy(white), torch.from_numpy(alpha.astype(np.uint8)))
    assert np.abs(found.numpy() - colour * alpha[:, None] / 255).max() <= 0.5
    assert over_black(torch.zeros(1, 3, 1, 1, dtype=torch.uint8), torch.zeros(1, 1, 1, dtype=torch.uint8)).max() == 0


def test_views_of_a_pack_lie_over_what_is_asked_for(tmp_path: Path):
    pack, bare = single_view_pack(tmp_path / "a"), single_view_pack(tmp_path / "b", masks=False)
    places = np.array([0, 3])
    assert np.array_equal(views_over(pack, places, "white").numpy(), pack.views[places])
    black = views_over(pack, places, "black")
    assert (black[:, :, 0, 0] == 0).all()
    assert (views_over(bare, places, "white")[:, :, 0, 0] == 255).all()
    with pytest.raises(InfeasibleError, match="has no masks"):
        views_over(bare, places, "black")
    seen: list[torch.Tensor] = []

    class Watching(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(images)
            return images.mean(dim=(2, 3))

    image_features(Watching(), pack, np.array([0]), 32, background="black")
    torch.testing.assert_close(seen[0], views_over(pack, np.array([0, 1]), "black") / 255)


def test_each_object_is_seen_at_one_view_that_its_company_does_not_change(tmp_path: Path):
    pack = single_view_pack(tmp_path / "a", splits=("fit",) * 40, masks=False, parts=False)
    everything = pack.objects("fit")
    views = view_of_each(pack, everything, 0)
    assert np.array_equal(view_of_each(pack, everything[7:9], 0), views[7:9])
    assert ((views >= pack.first_view) & (views < pack.first_view + pack.num_views)).all()
    assert len(set((views - pack.first_view).tolist())) == 2
    assert not np.array_equal(views, view_of_each(pack, everything, 1))
    assert len(objects_of(pack, "fit", ("tall",))) == 20
    with pytest.raises(InfeasibleError, match="no class 'sofa'; it has low, tall"):
        objects_of(pack, "fit", ("sofa",))


def test_a_picture_over_black_is_padded_and_a_contract_of_before_keeps_its_text():
    contract = ImageContract(image_size=16, background="black")
    found = image_input(np.full((8, 16, 3), 255, np.uint8), contract)
    assert found[:, 4:12].min() == 1
    assert found[:, :4].max() == found[:, 12:].max() == 0
    assert image_input(np.full((8, 16, 3), 255, np.uint8), ImageContract(image_size=16)).min() == 1
    assert "background" not in ImageContract().to_json()
    assert "black" in contract.to_json()
