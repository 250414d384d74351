"""What every recipe and its sessions promise (`ssl_core.training.contract`)."""

import inspect

import pytest
import torch
from recipe_cases import CASES

from ssl_core.config_roles import keys_of, role
from ssl_core.models.bundle import load_bundle, read_card
from ssl_core.training.contract import Session
from study.spec.outcome import finite_only

CLOCK = ("seconds/", "train/samples_per_second", "train/data_wait", "cost/")


@pytest.fixture(params=CASES, ids=lambda case: case.recipe.name)
def case(request):
    torch.set_num_threads(1)
    return request.param


def told(session):
    return {name: value for name, value in session.run_epoch().items() if not name.startswith(CLOCK)}


def opened(case, data, seed=3):
    case.recipe.check(case.config(), data)
    return case.recipe.open(case.config(), data, {}, seed)


def test_presets_round_trip(case):
    for preset in case.recipe.presets.values():
        assert case.recipe.config.from_json(preset().to_json()) == preset()


def test_a_session_has_all_that_is_asked(case, tiny_pack):
    session = opened(case, tiny_pack)
    assert (session.epoch, session.epochs) == (0, 3)
    for name, _ in inspect.getmembers(Session, inspect.isfunction):
        if not name.startswith("_"):
            assert callable(getattr(session, name)), name


def test_an_epoch_is_told_in_finite_numbers_with_each_outputs_score(case, tiny_pack):
    session = opened(case, tiny_pack)
    metrics = session.run_epoch()
    assert session.epoch == 1
    assert finite_only(metrics) == dict(metrics)
    assert {output.select.metric for output in case.recipe.outputs} <= metrics.keys()


def test_the_same_seed_is_the_same_trial_and_resuming_changes_no_bit(case, tiny_pack, tmp_path):
    whole, first, second = (opened(case, tiny_pack) for _ in range(3))
    expected = [told(whole) for _ in range(3)]
    torch.manual_seed(99)  # global randomness must not matter
    assert told(first) == expected[0]
    first.save(tmp_path / "last")
    second.load(tmp_path / "last")
    assert second.epoch == 1
    assert [told(second), told(second)] == expected[1:]
    assert told(opened(case, tiny_pack, seed=4)) != expected[0]


def test_what_is_exported_has_its_outputs_card_and_loads(case, tiny_pack, tmp_path):
    session = opened(case, tiny_pack)
    session.run_epoch()
    written = session.export(tmp_path, {"study": "s"})
    assert set(written) == {output.name for output in case.recipe.outputs}
    for output in case.recipe.outputs:
        bundle = read_card(written[output.name])
        assert isinstance(bundle.card, output.card)
        assert bundle.name == case.recipe.model_name(output.name)
        example = bundle.card.example(2)
        assert load_bundle(written[output.name])(example).shape == (2, *bundle.card.output_shape)


def test_marked_keys_are_keys_of_the_config(case):
    for key in keys_of(case.recipe.config, "live"):
        assert role(case.recipe.config, key) == "live"
    assert len(list(keys_of(case.recipe.config, "epochs"))) <= 1
