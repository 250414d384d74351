"""A function of one text as tasks of the Ray cluster beside running trials: they queue where trials leave room."""

from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

from ssl_core.errors import StudyError
from study.cluster.cluster import ray_cluster


class RayTasks:
    """Tasks of one CPU each on the cluster that `RAY_ADDRESS` names, or on one of this machine's own.

    Args:
        function: runs in workers; a task that dies is not tried again.

    Raises:
        StudyError: no cluster answers there.
    """

    def __init__(self, function: Callable[[str], str]) -> None:
        import ray

        self._cluster, self._refs = ExitStack(), set[Any]()
        self.slots = max(1, int(self._cluster.enter_context(ray_cluster()).cpus))
        self._remote = ray.remote(num_cpus=1, max_retries=0)(function)

    def ask(self, text: str) -> str:
        """The function's answer, when it is there. Raises StudyError when the task ended instead."""
        import ray

        ref = self._remote.remote(text)
        self._refs.add(ref)
        try:
            return str(ray.get(ref))
        except Exception as error:  # a lost node, a worker out of memory, a cancelled task: Ray has a class for each
            reason = " ".join(str(error).split())[:300]
            raise StudyError(f"its Ray task ended ({type(error).__name__}: {reason})") from None
        finally:
            self._refs.discard(ref)

    def cancel(self) -> None:
        """Interrupt the tasks that are under way."""
        import ray

        for ref in list(self._refs):
            with suppress(Exception):
                ray.cancel(ref, force=False)

    def close(self) -> None:
        """Leave the cluster."""
        self._cluster.close()
