"""A process that judges: jobs come in as lines of JSON, answers go out as such. Run by `study.registration.job_pools`.

It ends with its watcher, however that ends: the pipe closes. A termination signal lets it give its claim back first.
"""

import os
import queue
import signal
import sys
import threading
from types import FrameType


def main() -> None:
    """Answer jobs until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not be taken for answers
    signal.signal(signal.SIGTERM, _leave)
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    from study.registration.evaluation_job import EvaluationJob, judge
    from study.registration.job_progress import told_by_file

    while True:
        job = EvaluationJob.from_json(lines.get())
        with told_by_file(job) as tell:
            answer = judge(job, tell)
        print(answer.to_json(), file=answers, flush=True)


def _listen(lines: "queue.SimpleQueue[str]") -> None:
    """In a thread of its own, so that the watcher's end is seen while a job is under way."""
    for line in sys.stdin:
        lines.put(line)
    os._exit(1)


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    main()
