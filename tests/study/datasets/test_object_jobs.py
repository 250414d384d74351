"""Objects in parallel: results in order, errors collected, a dead worker is one object's failure."""

import io
import os
import signal
import sys
from pathlib import Path

import pytest
from ray import cloudpickle
from rich.console import Console

from ssl_core.errors import MeshError
from study.datasets.object_jobs import Weight, run_objects

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not find this file by its name


def work(item: int) -> int:
    if item == 3:
        raise MeshError("mesh_3.off: no faces; remove it")
    if item == 5:
        raise ValueError("odd")
    if item == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return item * item


def test_no_items_need_no_ray() -> None:
    results = run_objects(work, [])
    assert (results.values, results.failures) == ([], [])


@pytest.mark.usefixtures("ray_two")
def test_values_in_order_and_failures_named(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=100)
    results = run_objects(work, [0, 1, 2, 3, 4, 5, 6, 7], workers=2, describe="squares", console=console)
    assert results.values == [0, 1, 4, 16, 49]
    reasons = {failure.item: failure.reason for failure in results.failures}
    assert reasons[3] == "mesh_3.off: no faces; remove it"
    assert reasons[5] == "ValueError: odd"
    assert "process died" in reasons[6]
    assert "8/8" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.usefixtures("ray_two")
def test_weighed_items_count_objects_and_bytes(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=120)
    weights = [Weight(10, 3_000_000), Weight(5, 1_000_000)]
    results = run_objects(work, [1, 2], workers=2, console=console, weights=weights)
    assert results.values == [1, 4]
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "15/15" in shown
    assert "MB/s" in shown


@pytest.mark.usefixtures("ray_two")
def test_an_error_that_would_meet_all_ends_the_whole(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=120)
    with pytest.raises(MeshError, match="no faces"):
        run_objects(work, [3, 1, 2], workers=1, console=console, fatal=(MeshError,))
    results = run_objects(work, [3, 1, 2], workers=1, console=console)
    assert isinstance(results.failures[0].error, MeshError)
