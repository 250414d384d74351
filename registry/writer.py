"""A queue and a thread between the study and the tracking server.

What a trial reports must reach MLflow, and must never make the trial wait: a slow server makes the queue
longer, a dead one makes it longer still. The thread sends in order, one request per report, and tries again
with growing pauses. What could not be sent when the program ends is written to a file beside the store and
sent by the next program that opens it; sending twice does no harm, since a metric point, a tag and a status
are the same the second time.
"""

import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from registry.connection import Client

log = logging.getLogger(__name__)

LONGEST_PAUSE = 15.0
CAPACITY = 200_000
# errors by which the server says that this request will never do, whatever the patience
FINAL = (
    "INVALID_PARAMETER_VALUE",
    "RESOURCE_DOES_NOT_EXIST",
    "BAD_REQUEST",
    "PERMISSION_DENIED",
    "INVALID_STATE",
)


@dataclass(frozen=True)
class Write:
    """One request: metric points of one epoch and tags, then a status, each if given."""

    run_id: str
    time_ms: int
    step: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    status: str | None = None


class Writer:
    """Sends `Write`s in order from its own thread. `put` never blocks; `wait` does, with a limit."""

    def __init__(self, client: Client, unsent: Path) -> None:
        self._client = client
        self._unsent = unsent
        self._queue: deque[Write] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._healthy = True
        self.refused = 0
        """writes the server refused for good (deleted run, impossible value), or that found the queue full"""
        self._queue.extend(_take(unsent))
        self._thread = threading.Thread(target=self._run, name="mlflow-writer", daemon=True)
        self._thread.start()

    def put(self, write: Write) -> None:
        """Queue one write. With a full queue the oldest is given up: memory is finite."""
        with self._changed:
            if len(self._queue) >= CAPACITY:
                self._queue.popleft()
                self.refused += 1
            self._queue.append(write)
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """True once the queue is empty, False when the time is over or the server is known not to answer."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while self._queue:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
        return True

    @property
    def healthy(self) -> bool:
        """Whether the last attempt to send succeeded."""
        return self._healthy

    def close(self, seconds: float) -> bool:
        """Wait, stop the thread, and keep what is left in the file. True if nothing is left."""
        done = self.wait(seconds)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            left = list(self._queue)
        self._thread.join(timeout=1.0)
        if left:
            _keep(self._unsent, left)
            log.warning(
                "%d reports did not reach the tracking server; kept in %s, sent on next use",
                len(left),
                self._unsent,
            )
        return done

    def _run(self) -> None:
        pause = 0.5
        while True:
            with self._changed:
                while not self._queue and not self._closing:
                    self._changed.wait()
                if self._closing:
                    return
                write = self._queue[0]
            try:
                send(self._client, write)
            except Exception as error:  # whatever a network and a foreign library can raise
                if getattr(error, "error_code", None) not in FINAL:
                    self._healthy = False
                    log.debug("tracking server did not take a report: %s", error)
                    with self._changed:
                        self._changed.wait_for(lambda: self._closing, timeout=pause)
                    pause = min(2 * pause, LONGEST_PAUSE)
                    continue
                self.refused += 1
                log.warning("the tracking server refused a report of run %s: %s", write.run_id, error)
            self._healthy, pause = True, 0.5
            with self._changed:
                # a full queue may have dropped this very write meanwhile
                if self._queue and self._queue[0] is write:
                    self._queue.popleft()
                self._changed.notify_all()


def send(client: Client, write: Write) -> None:
    """One `log_batch` for metrics and tags together, then the status."""
    from mlflow.entities import Metric, RunTag

    points = [Metric(key, value, write.time_ms, write.step) for key, value in write.metrics.items()]
    tags = [RunTag(key, value) for key, value in write.tags.items()]
    for start in range(0, max(len(points), 1), 900):  # MLflow's limits: 1000 metrics, 100 tags
        client.log_batch(write.run_id, metrics=points[start : start + 900], tags=tags[:100] if start == 0 else [])
    for start in range(100, len(tags), 100):
        client.log_batch(write.run_id, tags=tags[start : start + 100])
    match write.status:
        case None:
            pass
        case "RUNNING":
            client.update_run(write.run_id, status="RUNNING")
        case terminal:
            client.set_terminated(write.run_id, status=terminal, end_time=write.time_ms)


def _keep(path: Path, writes: Sequence[Write]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(write)) + "\n" for write in writes)


def _take(path: Path) -> list[Write]:
    """Writes left behind; the file is renamed first, so that two programs cannot both take it."""
    taken = path.with_suffix(f".{os.getpid()}")
    try:
        path.replace(taken)
    except FileNotFoundError:
        return []
    writes = []
    for line in taken.read_text(encoding="utf-8").splitlines():
        try:
            writes.append(Write(**json.loads(line)))
        except (ValueError, TypeError):
            continue  # the last line of a program that was killed while writing
    taken.unlink()
    return writes
