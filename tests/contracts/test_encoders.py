"""The encoder contract over every backbone."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ssl_core.contracts import PointsContract
from ssl_core.errors import ConfigError
from ssl_core.models.build import Encoder
from ssl_core.models.bundle import load_bundle, read_card, save_bundle
from tests.contracts import encoders as kit
from tests.contracts.torch_alone import run_with_torch_alone

torch.set_num_threads(1)
every_encoder = pytest.mark.parametrize("case", kit.CASES, ids=lambda case: case.name)


@every_encoder
def test_shapes(case: kit.EncoderCase) -> None:
    kit.check_shapes(case)


@pytest.mark.parametrize("case", [c for c in kit.CASES if c.permutation_invariant], ids=lambda case: case.name)
def test_permutation_invariance(case: kit.EncoderCase) -> None:
    kit.check_permutation_invariance(case)


@every_encoder
def test_the_seed_decides_the_weights(case: kit.EncoderCase) -> None:
    kit.check_seeded(case)


@every_encoder
def test_gradients_reach_every_parameter(case: kit.EncoderCase) -> None:
    kit.check_gradients(case)


@every_encoder
def test_duplicate_points_stay_finite(case: kit.EncoderCase) -> None:
    kit.check_finite_for_duplicates(case)


@every_encoder
def test_half_precision(case: kit.EncoderCase) -> None:
    kit.check_training_in_half_precision(case)


@pytest.mark.parametrize("case", [c for c in kit.CASES if isinstance(c.contract, PointsContract)], ids=lambda c: c.name)
def test_a_wrong_number_of_columns_is_refused(case: kit.EncoderCase) -> None:
    x = case.input(2)
    with pytest.raises(
        ConfigError, match=rf"takes \[B, N, {x.shape[2]}\].*xyz.*got \[2, {x.shape[1]}, {x.shape[2] + 1}\]"
    ):
        case.build()(torch.cat([x, x[..., :1]], dim=-1))


@pytest.fixture(scope="module")
def bundle_of(tmp_path_factory) -> Callable[[kit.EncoderCase], tuple[Encoder, Path]]:
    """The trained-a-little encoder of a case and its bundle; exporting takes seconds, so each is made
    once.
    """

    @functools.cache
    def make(case: kit.EncoderCase) -> tuple[Encoder, Path]:
        encoder = case.build(seed=5).train()
        with torch.no_grad():
            encoder(case.input(4))  # moves the running statistics
        folder = tmp_path_factory.mktemp("bundles") / case.name
        save_bundle(encoder, case.card, folder, name=case.name, lineage={"trial": "7"})
        assert encoder.training, "saving must not change the encoder's mode"
        return encoder.eval(), folder

    return make


@pytest.mark.parametrize(
    "case", [pytest.param(c, id=c.name, marks=[pytest.mark.slow] * c.slow_export) for c in kit.CASES]
)
def test_state_survives_the_bundle(case: kit.EncoderCase, bundle_of) -> None:
    encoder, folder = bundle_of(case)
    loaded, card = load_bundle(folder), read_card(folder)
    assert not loaded.training
    assert (card.name, card.card) == (case.name, case.card)
    assert card.lineage == {"trial": "7"}
    assert loaded.state_dict().keys() == encoder.state_dict().keys()
    assert all(torch.equal(tensor, encoder.state_dict()[name]) for name, tensor in loaded.state_dict().items())
    with torch.no_grad():
        assert torch.equal(loaded(case.input(2)), encoder(case.input(2)))


@pytest.mark.slow  # tests/contracts/test_exports.py asks the same of the recipes' own encoders
@pytest.mark.parametrize("slow", [False, True], ids=["quick exports", "slow exports"])
def test_programs_run_with_torch_alone(slow: bool, bundle_of, tmp_path: Path) -> None:
    """Every program, loaded where only torch and its own dependencies can be imported, equals the live
    encoder.
    """
    names = []
    for case in (case for case in kit.CASES if case.slow_export == slow):
        encoder, folder = bundle_of(case)
        with torch.no_grad():
            pairs = {str(batch): [case.input(batch), encoder(case.input(batch))] for batch in kit.BATCHES}
        (tmp_path / case.name).mkdir()
        shutil.copy(folder / "program.pt2", tmp_path / case.name)
        torch.save(pairs, tmp_path / case.name / "pairs.pt")
        names.append(case.name)
    worst = run_with_torch_alone(tmp_path, names)
    assert worst.keys() == set(names)
    for name, differences in worst.items():
        assert len(differences) == len(kit.BATCHES)
        assert max(differences) <= 1e-5, f"{name}: {differences}"
