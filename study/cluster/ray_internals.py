"""What Ray decides and has no argument for, each undone on leaving; and two things that it knows and does not tell.

Written for the version that is locked; where another has no such place, nothing is changed: starts are slower, and a
signal to all processes ends Ray's before the driver has left. The tests say so.
"""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from ssl_core.interrupt import sheltered_children


@contextmanager
def _replaced(place: Any, name: str, other: Callable[[Any], Any]) -> Iterator[None]:
    usual = getattr(place, name, None)
    if usual is None:
        yield
        return
    setattr(place, name, other(usual))
    try:
        yield
    finally:
        setattr(place, name, usual)


def any_agent_port() -> AbstractContextManager[None]:
    """Within, a Ray that starts lets its agent listen on a free port, not on 52365.

    Where another Ray has that port, or what a killed driver left behind, which lives for a minute, the agent asks for
    it six times and starting takes 3.4 seconds longer.
    """
    from ray._private import parameter

    return _replaced(parameter, "RayParams", lambda usual: partial(usual, dashboard_agent_listen_port=0))


@contextmanager
def termination_stays_ours() -> Iterator[None]:
    """Within, a Ray that starts or is joined leaves SIGTERM to this process: it would exit with code 1 or 15."""
    from ray._private import utils

    before = signal.getsignal(signal.SIGTERM)
    try:
        with _replaced(utils, "set_sigterm_handler", lambda _usual: lambda _handler: None):
            yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # over that of its C++ part, which writes a stack and aborts


def sheltered_processes() -> AbstractContextManager[None]:
    """Within, a Ray that starts keeps its processes out of reach of the signals that end a whole group or service.

    Ctrl-C, `timeout`, systemd and Slurm signal every process they know. Ray's would be gone before the driver has
    left: it would ask them for a minute and be aborted. They end with the driver instead, by its hand or the kernel's.
    """
    from ray._private import services

    return _replaced(services, "ConsolePopen", lambda _usual: _Sheltered)


class _Sheltered(subprocess.Popen[bytes]):
    """A process in a session of its own, killed together with its children."""

    def __init__(self, args: Any, **kwargs: Any) -> None:
        with sheltered_children():
            super().__init__(args, start_new_session=True, **kwargs)

    def terminate(self) -> None:
        """Ray asks with a SIGTERM, which does not arrive."""
        self.kill()

    def kill(self) -> None:
        """The whole session."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


def dashboard_of_this_process() -> str | None:
    """host:port of the pages of a Ray that this process started or joined, where it has any."""
    from ray._private import worker

    address: str | None = worker.get_dashboard_url() if hasattr(worker, "get_dashboard_url") else None
    return address


def actors_in_waiting_processes() -> AbstractContextManager[None]:
    """Within, Tune's actors get the processes that Ray started ahead, one per core.

    Tune gives its actors environment variables, and Ray starts other processes for actors that have any. For a Ray of
    this machine alone that is waste: its processes have the driver's variables.
    """
    from ray.tune.execution import tune_controller

    return _replaced(tune_controller, "_ActorClassCache", lambda _usual: _PlainActors)


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


def found_cluster() -> str | None:
    """What `auto` means here, `host:port`; None where no Ray runs. It may be gone: Ray goes by a file that stays."""
    from ray._private import services

    find = getattr(services, "get_ray_address_from_environment", None)
    try:
        return "auto" if find is None else find("auto", None)
    except ConnectionError:
        return None


def logs_folder() -> Path | None:
    """Where the Ray that this process has started, or is starting, keeps its logs; None of one elsewhere."""
    from ray._private import worker

    node = getattr(worker, "_global_node", None)
    folder = None if node is None else Path(node.get_logs_dir_path())
    return folder if folder is not None and folder.is_dir() else None
