"""What Ray has no argument for: two things that it decides, each undone on leaving, and where it keeps its logs.

Written for the version that is locked; where another has no such place, nothing is changed and starts are slower. The
tests say so.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any


@contextmanager
def any_agent_port() -> Iterator[None]:
    """Within, a Ray that starts lets its agent listen on a free port, not on 52365.

    Where another Ray has that port, or what a killed driver left behind, which lives for a minute, the agent asks for
    it six times and starting takes 3.4 seconds longer.
    """
    from ray._private import parameter

    usual = getattr(parameter, "RayParams", None)
    if usual is None:
        yield
        return
    parameter.RayParams = partial(usual, dashboard_agent_listen_port=0)
    try:
        yield
    finally:
        parameter.RayParams = usual


@contextmanager
def actors_in_waiting_processes() -> Iterator[None]:
    """Within, Tune's actors get the processes that Ray started ahead, one per core.

    Tune gives its actors environment variables, and Ray starts other processes for actors that have any. For a Ray of
    this machine alone that is waste: its processes have the driver's variables.
    """
    from ray.tune.execution import tune_controller

    usual = getattr(tune_controller, "_ActorClassCache", None)
    if usual is None:
        yield
        return
    tune_controller._ActorClassCache = _PlainActors
    try:
        yield
    finally:
        tune_controller._ActorClassCache = usual


class _PlainActors:
    """Trainable -> its actor class, registered with Ray once; in place of Tune's class of this purpose."""

    def __init__(self) -> None:
        self._known: dict[type, Any] = {}

    def get(self, trainable: type) -> Any:
        """The actor class."""
        import ray

        if trainable not in self._known:
            self._known[trainable] = ray.remote(trainable)
        return self._known[trainable]


def logs_folder() -> Path | None:
    """Where the Ray that this process has started, or is starting, keeps its logs; None of one elsewhere."""
    from ray._private import worker

    node = getattr(worker, "_global_node", None)
    folder = None if node is None else Path(node.get_logs_dir_path())
    return folder if folder is not None and folder.is_dir() else None
