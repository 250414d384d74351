"""Kept features are the computed ones, bit for bit, or they are computed again."""

import multiprocessing
import os
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_core.evaluation.extract import ExtractionLog, FeatureCache, FeatureKey, indices_digest

KEY = FeatureKey(encoder="e", contract="c", pack="p", objects="o", what="views", device="cpu")
ARRAY = np.random.default_rng(0).normal(size=(6, 3, 4)).astype(np.float32)


def filled(folder, key=KEY, array=ARRAY, limit=2**30):
    cache = FeatureCache(folder, limit)
    return cache, cache.recall(key, lambda: array, ExtractionLog())


def refuse():
    raise AssertionError("it was computed again")


def test_what_was_computed_is_read_and_the_seconds_are_told(tmp_path, monkeypatch):
    """Saved is what computing took, less what reading takes: here seven seconds, and none."""
    now = [0.0]
    clock = SimpleNamespace(perf_counter=lambda: now[0], time=time.time)
    monkeypatch.setattr("ssl_core.evaluation.extract.time", clock)

    def slowly():
        now[0] += 7.0
        return ARRAY

    cache, log = FeatureCache(tmp_path), ExtractionLog()
    cache.recall(KEY, slowly, log)
    assert (log.computed, log.kept, log.seconds, log.saved_seconds) == (1, 0, 7.0, 0.0)
    again = cache.recall(KEY, refuse, log)
    np.testing.assert_array_equal(again, ARRAY)
    assert again.dtype == np.float32
    assert (log.computed, log.kept, log.seconds, log.saved_seconds) == (1, 1, 7.0, 7.0)
    assert log.report().kept == 1


@given(st.sampled_from(["encoder", "contract", "pack", "objects", "what", "device", "torch"]), st.text(max_size=20))
@settings(max_examples=30)
def test_another_key_is_another_array(tmp_path_factory, name, value):
    other = KEY.model_copy(update={name: value})
    cache, _ = filled(tmp_path_factory.mktemp("cache"))
    found = cache.recall(other, lambda: ARRAY + 1, ExtractionLog())
    np.testing.assert_array_equal(found, ARRAY if other == KEY else ARRAY + 1)


@pytest.mark.parametrize("place", [0.0, 0.3, 0.7, 0.999])
def test_a_changed_byte_is_computed_again_and_mended(tmp_path, place):
    cache, _ = filled(tmp_path)
    file = next(tmp_path.glob("*.safetensors"))
    data = bytearray(file.read_bytes())
    data[int(place * len(data))] ^= 0x40
    file.write_bytes(data)
    log = ExtractionLog()
    np.testing.assert_array_equal(cache.recall(KEY, lambda: ARRAY, log), ARRAY)
    assert (log.computed, log.kept) == (1, 0)
    np.testing.assert_array_equal(cache.recall(KEY, refuse, ExtractionLog()), ARRAY)


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 64, b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_file_that_is_no_such_array_is_replaced(tmp_path, content):
    cache, _ = filled(tmp_path)
    file = next(tmp_path.glob("*.safetensors"))
    file.write_bytes(content)
    np.testing.assert_array_equal(cache.recall(KEY, lambda: ARRAY, ExtractionLog()), ARRAY)
    np.testing.assert_array_equal(cache.recall(KEY, refuse, ExtractionLog()), ARRAY)


def test_the_folder_is_bounded_and_what_was_read_last_stays(tmp_path):
    size = 4000
    array = np.zeros(size // 4, np.float32)
    keys = [KEY.model_copy(update={"what": f"points {draw}"}) for draw in range(5)]
    cache = FeatureCache(tmp_path, limit_bytes=int(3.5 * (size + 700)))
    for age, key in enumerate(keys[:3]):
        filled(tmp_path, key, array)
        os.utime(tmp_path / f"{key.digest()}.safetensors", (1000 + age, 1000 + age))
    cache.recall(keys[0], refuse, ExtractionLog())  # read: now the youngest
    for key in keys[3:]:
        cache.recall(key, lambda: array, ExtractionLog())
    left = {key.what for key in keys if (tmp_path / f"{key.digest()}.safetensors").exists()}
    assert left == {"points 0", "points 3", "points 4"}


def test_one_array_larger_than_the_bound_is_kept_alone(tmp_path):
    filled(tmp_path, KEY.model_copy(update={"what": "other"}))
    cache, _ = filled(tmp_path, limit=10)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    cache.recall(KEY, refuse, ExtractionLog())


def test_half_written_files_of_the_killed_are_swept_after_a_day(tmp_path):
    old, young = tmp_path / ".a.safetensors.00.tmp", tmp_path / ".b.safetensors.00.tmp"
    for file in (old, young):
        file.write_bytes(b"half")
    os.utime(old, (1000, 1000))
    filled(tmp_path)
    assert not old.exists()
    assert young.exists()


def test_a_place_that_cannot_be_written_hinders_nobody(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    cache, found = filled(blocked)
    np.testing.assert_array_equal(found, ARRAY)
    np.testing.assert_array_equal(cache.recall(KEY, lambda: ARRAY, ExtractionLog()), ARRAY)


def _work(folder, number):
    for turn in range(20):
        key = KEY.model_copy(update={"what": f"{turn % 5}"})
        array = np.full((50, 50), turn % 5, np.float32)
        found = FeatureCache(folder, 25_000).recall(key, lambda array=array: array, ExtractionLog())
        assert (found == turn % 5).all()


def test_several_processes_share_it(tmp_path):
    spawn = multiprocessing.get_context("fork")
    workers = [spawn.Process(target=_work, args=(tmp_path, number)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]


def _slowly(folder, made):
    def compute():
        with made.get_lock():
            made.value += 1
        time.sleep(0.3)
        return ARRAY

    np.testing.assert_array_equal(FeatureCache(folder).recall(KEY, compute, ExtractionLog()), ARRAY)


def test_what_one_process_computes_others_wait_for(tmp_path):
    spawn = multiprocessing.get_context("fork")
    made = spawn.Value("i", 0)
    workers = [spawn.Process(target=_slowly, args=(tmp_path, made)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert made.value == 1


def test_indices_are_told_apart_by_order():
    assert indices_digest(np.array([1, 2])) != indices_digest(np.array([2, 1]))
    assert indices_digest(np.array([1, 2])) == indices_digest(np.array([1, 2], dtype=np.int32))
