"""A checkpoint of another trial: refused, unless it is to be taken over; then its state comes, its settings do not."""

import pytest
import torch

from ssl_core.config import override
from ssl_core.errors import CheckpointError
from ssl_core.recipes.cross_modal import CROSS_MODAL


def session(config, pack, seed):
    torch.set_num_threads(1)
    return CROSS_MODAL.open(config, pack, {}, seed)


def test_another_trials_checkpoint_is_continued_under_own_settings(tiny_pack, tiny_config, tmp_path):
    values = {"training.optimizer.kind": "adamw", "training.optimizer.lr": 1e-3, "training.optimizer.weight_decay": 0.1}
    donor = session(override(tiny_config, values), tiny_pack, 1)
    donor.run_epoch()
    donor.save(tmp_path / "last")
    moved = {**values, "training.optimizer.lr": 2e-3, "training.optimizer.weight_decay": 0.2, "loss.beta": 3.0}
    taker = session(override(tiny_config, moved), tiny_pack, 2)
    with pytest.raises(CheckpointError, match="another trial"):
        taker.load(tmp_path / "last")
    taker.load(tmp_path / "last", transfer=True)
    assert taker.epoch == 1
    assert taker.training.iteration == donor.training.iteration
    theirs, ours = donor.trial.module.state_dict(), taker.trial.module.state_dict()
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)
    theirs, ours = (one.training.optimizers["all"].optimizer.state_dict() for one in (donor, taker))
    assert ours["state"].keys() == theirs["state"].keys()
    assert {group["weight_decay"] for group in ours["param_groups"]} == {0.2}
    assert taker.run_epoch()["train/lr"] == pytest.approx(2 * donor.run_epoch()["train/lr"])


def test_another_pack_is_never_continued(tiny_pack, tiny_config, tmp_path):
    trial = session(tiny_config, tiny_pack, 0)
    trial.save(tmp_path / "last")
    state = tmp_path / "last" / "state.json"
    state.write_text(state.read_text().replace(tiny_pack.digest, "0" * 16))
    with pytest.raises(CheckpointError, match="pack_digest"):
        trial.load(tmp_path / "last", transfer=True)
