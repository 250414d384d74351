"""Batches made ahead: the same ones in the same order, one at a time, and no thread left behind."""

import threading
import time

import pytest
import torch

from ssl_core.recipes.cross_modal import CROSS_MODAL
from ssl_core.recipes.cross_modal.trial import CrossModalTrial
from ssl_core.training.loop import one_ahead, prefetched, train_epoch

CPU = torch.device("cpu")


class Made:
    """A generator of numbers that keeps who made what, and whether it was closed."""

    def __init__(self, count, fail_at=None):
        self.count, self.fail_at = count, fail_at
        self.items, self.threads, self.closed = [], set(), False
        self.second = threading.Event()

    def __iter__(self):
        try:
            for item in range(self.count):
                if item == self.fail_at:
                    raise OSError("the disk is gone")
                self.items.append(item)
                self.threads.add(threading.current_thread())
                if item == 1:
                    self.second.set()
                yield item
        finally:
            self.closed = True


def prefetch_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_items_come_in_order_and_the_thread_ends(count):
    made = Made(count)
    assert list(one_ahead(iter(made))) == list(range(count))
    assert made.closed
    assert not prefetch_threads()


def test_the_next_is_made_in_one_other_thread_while_the_present_is_used():
    made = Made(4)
    items = one_ahead(iter(made))
    assert next(items) == 0
    assert made.second.wait(timeout=30), "nothing was made ahead"
    assert list(items) == [1, 2, 3]
    assert len(made.threads) == 1
    assert threading.current_thread() not in made.threads


def test_never_more_than_one_ahead():
    made = Made(20)
    for used, item in enumerate(one_ahead(iter(made))):
        assert item == used
        assert len(made.items) <= used + 2


def test_an_error_comes_after_the_items_before_it():
    items = one_ahead(iter(Made(9, fail_at=3)))
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(items)
    assert not prefetch_threads()


def test_an_early_end_closes_what_made_the_items():
    made = Made(50)
    items = one_ahead(iter(made))
    assert [next(items), next(items)] == [0, 1]
    items.close()
    assert made.closed
    assert len(made.items) <= 3
    assert not prefetch_threads()


def test_an_error_of_the_caller_passes():
    def used():
        for _ in one_ahead(iter(Made(5))):
            raise KeyError("of the step")

    with pytest.raises(KeyError, match="of the step"):
        used()
    assert not prefetch_threads()


def test_on_the_cpu_nothing_runs_beside_the_trial():
    made = Made(3)
    batches = prefetched(({"x": torch.tensor(item)} for item in made), CPU)
    assert int(next(batches)["x"]) == 0
    assert made.items == [0]
    assert made.threads == {threading.current_thread()}
    assert [int(batch["x"]) for batch in batches] == [1, 2]


def test_an_epoch_made_ahead_is_the_same_epoch(tiny_pack, tiny_config, monkeypatch):
    data = CrossModalTrial(tiny_config, tiny_pack, 3, CPU)
    expected = list(data.batches(1))
    monkeypatch.setattr("ssl_core.recipes.cross_modal.trial.prefetched", lambda batches, device: one_ahead(batches))
    for batch, same in zip(data.batches(1), expected, strict=True):
        assert batch.keys() == same.keys()
        assert all(torch.equal(batch[name], same[name]) for name in same)


def test_the_share_of_waiting_is_told(tiny_pack, tiny_config):
    torch.set_num_threads(1)
    session = CROSS_MODAL.open(tiny_config, tiny_pack, {}, 0)

    def slow(epoch):
        for batch in session.trial.batches(epoch):
            time.sleep(0.1)
            yield batch

    quick, starved = (train_epoch(session.training, batches) for batches in (session.trial.batches(0), slow(1)))
    assert 0 < quick["train/data_wait_share"] < starved["train/data_wait_share"] < 1
    assert starved["train/data_wait_seconds"] >= 0.1 * session.trial.steps_per_epoch


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.gpu
@needs_cuda
def test_batches_arrive_on_the_gpu_unharmed():
    device = torch.device("cuda")
    generator = torch.Generator().manual_seed(0)
    points = [torch.rand(64, 512, 9, generator=generator) for _ in range(12)]
    views = [torch.full((96, 3, 128, 128), number, dtype=torch.uint8) for number in range(12)]
    batches = [{"points": x, "views": y} for x, y in zip(points, views, strict=True)]
    sums = []
    for number, batch in enumerate(prefetched(iter(batches), device)):
        assert batch["points"].is_cuda
        busy = torch.rand(2000, 2000, device=device)
        for _ in range(20):  # the step takes longer than the copy, so the next copy runs beside it
            busy = busy @ busy / busy.norm()
        sums.append((batch["points"].double().sum(), batch["views"].double().mean()))
        assert int(batch["views"][0, 0, 0, 0]) == number
    for batch, (total, mean) in zip(batches, sums, strict=True):
        assert float(total) == pytest.approx(float(batch["points"].double().sum()), rel=1e-9)
        assert float(mean) == float(batch["views"].double().mean())
    assert not prefetch_threads()


@pytest.mark.gpu
@needs_cuda
def test_an_epoch_on_the_gpu_holds_what_it_holds_on_the_cpu(tiny_pack, tiny_config):
    here = CrossModalTrial(tiny_config, tiny_pack, 3, CPU)
    there = CrossModalTrial(tiny_config, tiny_pack, 3, torch.device("cuda"))
    for batch, expected in zip(there.batches(2), here.batches(2), strict=True):
        torch.testing.assert_close(batch["points"].cpu(), expected["points"], rtol=0, atol=0)
        torch.testing.assert_close(batch["images"].cpu(), expected["images"], rtol=0, atol=1e-4)
