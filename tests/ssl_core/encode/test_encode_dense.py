"""Photographs into a dense encoder: as a loaded model reads them, and as a program without this project."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ssl_core.encode.model_inputs import dense_input
from ssl_core.encode.ready_encoder import LoadedModel
from ssl_core.errors import ConfigError, ImageError
from ssl_core.files.image_files import read_image, write_image
from ssl_core.models.bundle import BundleCard, load_bundle, save_bundle
from ssl_core.models.dense_cards import DenseEncoderCard
from ssl_core.models.dense_networks import DenseMapConfig
from ssl_core.models.small_cnn import SmallCnnConfig

ROOT = Path(__file__).parents[3]
MAP = DenseMapConfig(network=SmallCnnConfig(channels=(6, 8)), stride=4, channels=8)
CARD = DenseEncoderCard(height=16, width=24, backbone=MAP)


def photograph(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size=(height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize(("height", "width", "wanted"), [(16, 24, (16, 24)), (18, 31, (16, 28)), (160, 240, (20, 32))])
def test_a_picture_keeps_its_proportions_and_gets_sides_of_whole_patches(height, width, wanted) -> None:
    pixels = photograph(height, width)
    found = dense_input(pixels, CARD)
    assert found.shape == (3, *wanted)
    if (height, width) == wanted:
        assert torch.equal(found, torch.from_numpy(pixels).permute(2, 0, 1).float() / 255)


def test_a_loaded_model_gives_tokens_and_the_whole_image_s_vector(tmp_path: Path) -> None:
    module = CARD.build(0).eval()
    model = LoadedModel(module, BundleCard(name="a-dense", card=CARD), "a-dense/1")
    write_image(tmp_path / "one.png", photograph(18, 31))
    (tokens, whole), (others, _) = model.encode_dense([tmp_path / "one.png", photograph(16, 24)])
    assert (tokens.shape, whole.shape, others.shape) == ((8, 4, 7), (8,), (8, 4, 6))
    with torch.no_grad():
        wanted = module.tokens(dense_input(tmp_path / "one.png", CARD)[None])
    np.testing.assert_allclose(tokens, wanted.original[0].numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(whole, wanted.whole[0].numpy(), rtol=1e-5, atol=1e-6)
    with pytest.raises(ConfigError, match="use encode_dense"):
        model.encode_images(tmp_path / "one.png")
    with pytest.raises(ImageError):
        model.encode_dense(tmp_path / "none.png")


@pytest.mark.slow
def test_the_example_segments_a_photograph_with_the_program_alone(tmp_path: Path, monkeypatch, capsys) -> None:
    save_bundle(CARD.build(0).eval(), CARD, tmp_path / "model", name="a-dense", lineage={})
    load_bundle(tmp_path / "model")
    write_image(tmp_path / "photograph.png", photograph(50, 70))
    example = ROOT / "examples/segment_a_photograph.py"
    text = example.read_text()
    assert not [line for line in text.splitlines() if "import" in line and ("ssl_core" in line or "registry" in line)]
    words = [str(example), str(tmp_path / "model"), str(tmp_path / "photograph.png"), str(tmp_path / "out.png"), "3"]
    monkeypatch.setattr(sys, "argv", words)
    runpy.run_path(str(example), run_name="__main__")
    assert "4 x 6 tokens in 3 groups" in capsys.readouterr().out
    assert len(np.unique(read_image(tmp_path / "out.png").reshape(-1, 3), axis=0)) == 3
