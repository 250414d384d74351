"""What every session promises (`ssl_core.training.contract.Session`): the trained ones, the mock's, an example's."""

import hashlib
import inspect
from pathlib import Path

import pytest
import torch
from recipe_cases import SESSION_CASES, Case, case_of

from ssl_core.data.object_pack import Pack
from ssl_core.data.scene_pack import ScenePack
from ssl_core.errors import CheckpointError
from ssl_core.models.bundle import WEIGHTS, load_bundle, read_card
from ssl_core.training.checkpoint import replace_checkpoint
from ssl_core.training.contract import Session
from study.spec.outcome import finite_only

CLOCK = ("seconds/", "train/samples_per_second", "train/data_wait", "cost/")


@pytest.fixture(params=SESSION_CASES)
def case(
    request: pytest.FixtureRequest,
    tiny_pack: Pack,
    masked_pack: Pack,
    tiny_scene: ScenePack,
    tiny_rooms: ScenePack,
    tmp_path: Path,
) -> Case:
    """Every recipe, and options of it that change what is trained and kept."""
    torch.set_num_threads(1)
    recipe, values = request.param
    return case_of(recipe, (tiny_pack, masked_pack, tiny_scene, tiny_rooms), tmp_path / "derived", **values)


def told(session: Session) -> dict[str, float]:
    """The metrics of an epoch that do not depend on the machine."""
    return {name: value for name, value in session.run_epoch().items() if not name.startswith(CLOCK)}


def without_programs(session: Session, folder: Path) -> dict[str, Path]:
    """What it exports but for the programs, which take seconds to trace; the kit of recipes has them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ssl_core.models.bundle.export_program", lambda module, card, file: file.touch())
        return dict(session.export(folder, {"study": "s"}))


def weights(session: Session, folder: Path) -> dict[str, str]:
    """Digest of what each output exports."""
    written = without_programs(session, folder)
    return {name: hashlib.sha256((bundle / WEIGHTS).read_bytes()).hexdigest() for name, bundle in written.items()}


def test_a_session_has_all_that_is_asked(case: Case) -> None:
    session = case.open()
    assert (session.epoch, session.epochs) == (0, 3)
    for name, _ in inspect.getmembers(Session, inspect.isfunction):
        if not name.startswith("_"):
            assert callable(getattr(session, name)), name


def test_an_epoch_is_told_in_finite_numbers_with_each_outputs_score(case: Case) -> None:
    session = case.open()
    metrics = session.run_epoch()
    assert session.epoch == 1
    assert finite_only(metrics) == dict(metrics)
    assert {output.select.metric for output in case.recipe.outputs} <= metrics.keys()


def test_the_same_seed_is_the_same_trial_and_resuming_changes_no_bit(case: Case, tmp_path: Path) -> None:
    whole, first, second = (case.open() for _ in range(3))
    expected = [told(whole) for _ in range(3)]
    torch.manual_seed(99)  # global randomness must not matter
    assert told(first) == expected[0]
    first.save(tmp_path / "last")
    second.load(tmp_path / "last")
    assert second.epoch == 1
    for session in (first, second):  # saving changes nothing either
        assert [told(session), told(session)] == expected[1:]
        assert session.epoch == session.epochs
    same = weights(whole, tmp_path / "whole")
    assert weights(second, tmp_path / "second") == same
    assert told(case.open(seed=4)) != expected[0]


def test_a_checkpoint_is_replaced_as_a_whole(case: Case, tmp_path: Path) -> None:
    session, again = case.open(), case.open()
    for _ in range(2):
        session.run_epoch()
        replace_checkpoint(session, tmp_path / "last")
    again.load(tmp_path / "last")
    assert again.epoch == 2
    assert told(again) == told(session)


def test_another_trials_checkpoint_is_taken_by_a_transfer_alone(case: Case, tmp_path: Path) -> None:
    other, ours = case.other(), case.open()
    other.run_epoch()
    other.save(tmp_path / "other")
    if not case.trusting:
        with pytest.raises(CheckpointError, match="has "):
            ours.load(tmp_path / "other")
    ours.load(tmp_path / "other", transfer=True)
    assert ours.epoch == 1
    assert told(ours).keys() == told(other).keys()
    ours.save(tmp_path / "ours")  # from here on it is its own
    again = case.open()
    again.load(tmp_path / "ours")
    assert told(again) == told(ours)


def test_each_output_is_exported_as_of_its_best_epoch(case: Case, tmp_path: Path) -> None:
    if not case.recipe.outputs:
        pytest.skip("it exports nothing")
    whole, best, after = case.open(), dict[str, float](), list[dict[str, str]]()
    latest: dict[str, int] = {}
    for epoch in range(3):
        metrics = whole.run_epoch()
        after.append(weights(whole, tmp_path / str(epoch)))
        for output in case.recipe.outputs:
            if output.select.better(metrics[output.select.metric], best.get(output.name)):
                best[output.name], latest[output.name] = metrics[output.select.metric], epoch
    for name, epoch in latest.items():
        assert after[-1][name] == after[epoch][name], f"{name} was best in epoch {epoch + 1}"


def test_what_is_exported_has_its_outputs_card_and_loads(case: Case, tmp_path: Path) -> None:
    session = case.open()
    session.run_epoch()
    written = without_programs(session, tmp_path)
    assert set(written) == {output.name for output in case.recipe.outputs}
    for output in case.recipe.outputs:
        bundle = read_card(written[output.name])
        assert isinstance(bundle.card, output.card)
        assert bundle.name == case.recipe.model_name(output.name)
        assert bundle.lineage["study"] == "s"
        example = bundle.card.example(2)
        assert load_bundle(written[output.name])(example).shape == (2, *bundle.card.output_shape)
