"""Functions as tasks of the Ray cluster, beside running trials: they queue where trials leave room, and say so."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

from ssl_core.errors import StudyError
from study.cluster.cluster import Resources, ray_cluster
from study.cluster.pending_starts import LOOK_SECONDS, PendingStarts, Say
from study.cluster.ray_internals import logs_folder
from study.cluster.waiting_reasons import why_tasks_wait

_CPU = {"CPU": 1.0}


def task_of(function: Callable[..., Any], retries: int) -> Any:
    """A remote function of one CPU whose tasks answer twice: None when they have their process, then their value.

    Args:
        function: runs in workers.
        retries: how often a task is tried again whose process died.
    """
    import ray

    def begun(*arguments: Any) -> Iterator[Any]:
        yield None
        yield function(*arguments)

    return ray.remote(num_cpus=1, max_retries=retries, num_returns="streaming")(begun)


def pending_tasks(say: Say, offered: Resources) -> PendingStarts:
    """Says what keeps such tasks from their processes."""
    return PendingStarts("task", say, lambda: why_tasks_wait(_CPU, logs_folder(), offered.here))


class RayTasks:
    """Tasks of one CPU each on the cluster that `RAY_ADDRESS` names, or on one of this machine's own.

    Args:
        function: runs in workers; a task that dies is not tried again.
        say: told what tasks wait for, when they do for long.

    Raises:
        StudyError: no cluster answers there.
    """

    def __init__(self, function: Callable[[str], str], say: Say) -> None:
        self._cluster, self._tasks, self._waiting = ExitStack(), set[Any](), set[Any]()
        offered = self._cluster.enter_context(ray_cluster())
        self.slots = max(1, int(offered.cpus))
        self._remote = task_of(function, retries=0)
        self._starts, self._lock = pending_tasks(say, offered), threading.Lock()

    def ask(self, text: str) -> str:
        """The function's answer, when it is there. Raises StudyError when the task ended instead."""
        import ray

        task = self._remote.remote(text)
        self._tasks.add(task)
        self._waiting.add(task)
        try:
            while not ray.wait([task], timeout=LOOK_SECONDS)[0]:
                with self._lock:
                    self._starts.tick(list(self._waiting))
            self._waiting.discard(task)
            ray.get(next(task))
            return str(ray.get(next(task)))
        except StudyError:
            raise
        except Exception as error:  # a lost node, a worker out of memory, a cancelled task: Ray has a class for each
            reason = " ".join(str(error).split())[:300]
            raise StudyError(f"its Ray task ended ({type(error).__name__}: {reason})") from None
        finally:
            self._tasks.discard(task)
            self._waiting.discard(task)

    def cancel(self) -> None:
        """Interrupt the tasks that are under way."""
        import ray

        for task in list(self._tasks):
            with suppress(Exception):
                ray.cancel(task, force=False)

    def close(self) -> None:
        """Leave the cluster."""
        self._cluster.close()
