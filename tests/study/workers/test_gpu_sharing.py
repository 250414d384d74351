"""Several trials at a time, measured: the way of measuring on any machine, the gain on a GPU."""

import pytest
import torch

from benchmarks.gpu_packing import measure, measured_rows


@pytest.mark.slow
def test_trials_are_measured_together_and_alone():
    """On the CPU, for a moment: that it measures, not what."""
    rows = measured_rows("cpu", (1, 2), 0.5)
    assert [row[0] for row in rows] == ["1", "2"]
    assert all(float(row[1]) > 0 for row in rows)
    assert rows[0][2] == "1.00"


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_several_small_trials_per_gpu_give_more_samples_per_second_than_one():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    rows = measured_rows("cuda", (1, 4), 15.0)
    assert float(rows[1][2]) > 1.1


def test_without_a_gpu_it_says_so():
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    assert "nothing was measured" in measure(quick=True).text()
