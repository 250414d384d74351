"""Where jobs are done: processes of this machine, or tasks of the Ray cluster beside running trials.

Neither can take the watcher along: a worker that dies is a failed job, and the next job gets another worker.
"""

import os
import queue
import subprocess
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from ssl_core.errors import ConfigError, StudyError
from ssl_core.own_packages import module_command
from study.cluster.ray_tasks import RayTasks
from study.registration.evaluation_job import Answer, EvaluationJob, judge
from study.registration.job_progress import Estimate, shown, told_by_file
from study.reports.console import aside, evaluation_progress

WORKERS = "SPLATSWEEP_EVALUATION_WORKERS"
LIMIT_SECONDS = 6 * 3600.0
"""An evaluation that takes longer is ended; the protocol takes minutes."""
_LEAVE_SECONDS = 10.0
_LOOK_SECONDS = 0.5


class Pool:
    """Does `slots` jobs at a time. Answers never raise.

    shows: its jobs show by themselves how far they are.
    """

    shows = False

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="judging")

    def submit(self, job: EvaluationJob) -> "Future[Answer]":
        """Begin a job, or queue it."""
        return self._threads.submit(self._do, job)

    def close(self) -> None:
        """End the jobs that are under way; each gives its claim back if it can."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _do(self, job: EvaluationJob) -> Answer:
        raise NotImplementedError


class HerePool(Pool):
    """No worker at all: a job is done in this process when it is submitted, and an interrupt is this process's."""

    shows = True

    def __init__(self) -> None:
        super().__init__(1)

    def submit(self, job: EvaluationJob) -> "Future[Answer]":
        future: Future[Answer] = Future()
        with evaluation_progress() as tell:
            future.set_result(judge(job, tell))
        return future


class ProcessPool(Pool):
    """Worker processes, started when first needed and kept: features of random twins are kept in them.

    Args:
        slots: processes. log: file for what they print. limit: seconds for one job.
    """

    def __init__(self, slots: int, log: Path, limit: float = LIMIT_SECONDS) -> None:
        super().__init__(slots)
        self._log, self._limit = log, limit
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._all: list[_Worker] = []
        self._closed = threading.Event()

    def close(self) -> None:
        """End the workers; a job under way is answered as trouble."""
        self._closed.set()
        for worker in list(self._all):
            worker.end()
        super().close()

    def _do(self, job: EvaluationJob) -> Answer:
        if self._closed.is_set():
            return Answer(outcome="trouble", reason="stopped")
        try:
            worker = self._idle.get_nowait()
        except queue.Empty:
            worker = _Worker(self._log)
            self._all.append(worker)
        answer = worker.ask(job, self._limit)
        if answer is not None:
            self._idle.put(worker)
            return answer
        self._all.remove(worker)
        if self._closed.is_set():
            return Answer(outcome="trouble", reason="stopped")
        reason = f"its evaluating process {worker.end_reason()}; see {self._log}"
        return Answer(outcome="failed", reason=reason, died=True)


class _Worker:
    """One process; asked by one thread at a time."""

    def __init__(self, log: Path) -> None:
        # several threads wait for each other at every layer, and where cores are taken they wait for long
        given = {**os.environ, "OMP_NUM_THREADS": "1"}
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as words:
            self._process = subprocess.Popen(
                module_command("study.registration.job_process"),
                env=given,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=words,
                text=True,
                start_new_session=True,  # Ctrl-C is the watcher's to answer
            )
        self._overdue = False

    def ask(self, job: EvaluationJob, limit: float) -> Answer | None:
        """The answer; None when the process ended instead."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        timer = threading.Timer(limit, self._too_long)
        timer.start()
        try:
            self._process.stdin.write(job.to_json() + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
            return Answer.from_json(line) if line.endswith("\n") else None
        except (OSError, ValueError, ConfigError):  # it ended, or said what is no answer
            return None
        finally:
            timer.cancel()

    def end(self) -> None:
        """Ask it to leave, then see to it."""
        self._process.terminate()
        try:
            self._process.wait(_LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def end_reason(self) -> str:
        """Why it ended, for people."""
        self.end()
        if self._overdue:
            return "took too long and was ended"
        code = self._process.returncode
        return f"was killed by signal {-code} (out of memory?)" if code < 0 else f"ended with code {code}"

    def _too_long(self) -> None:
        self._overdue = True
        self._process.kill()


class RayPool(Pool):
    """Tasks of the Ray cluster. Packs and the registry have to be places that every node sees, as for a study."""

    def __init__(self) -> None:
        self._tasks = RayTasks(_judge_text, aside)
        super().__init__(self._tasks.slots)

    def close(self) -> None:
        """Cancel what is under way and leave the cluster."""
        self._tasks.cancel()
        super().close()
        self._tasks.close()

    def _do(self, job: EvaluationJob) -> Answer:
        try:
            return Answer.from_json(self._tasks.ask(job.to_json()))
        except (StudyError, ConfigError) as error:
            return Answer(outcome="failed", reason=str(error), died=True)


def _judge_text(text: str) -> str:
    """In a Ray worker."""
    job = EvaluationJob.from_json(text)
    with told_by_file(job) as tell:
        return judge(job, tell).to_json()


def open_pool(workers: int, home: Path) -> Pool:
    """Ray tasks where `RAY_ADDRESS` is set, else processes here. Raises StudyError if no cluster answers there."""
    return RayPool() if os.environ.get("RAY_ADDRESS") else ProcessPool(workers, home / "watch.log")


@contextmanager
def study_pool(jobs: int, home: Path) -> Iterator[Pool]:
    """Workers for the evaluations of a study that has ended: tasks of its cluster, else a process per core.

    `SPLATSWEEP_EVALUATION_WORKERS` says how many; with 1, or for one job, this process does them.

    Raises:
        ConfigError: that variable is no number. StudyError: no cluster answers.
    """
    given = os.environ.get(WORKERS, "")
    if given and not (given.isascii() and given.isdigit() and int(given) > 0):
        raise ConfigError(f"{WORKERS}={given}: give a number of processes, 1 or more")
    workers = min(jobs, int(given) if given else len(os.sched_getaffinity(0)))
    pool: Pool
    if os.environ.get("RAY_ADDRESS"):
        pool = RayPool()
    else:
        pool = HerePool() if workers <= 1 else ProcessPool(workers, home / "evaluations.log")
    try:
        yield pool
    finally:
        pool.close()


def finished(pool: Pool, jobs: Sequence[EvaluationJob], doing: str) -> list[Answer]:
    """The answers to all jobs, in their order; says meanwhile how far they are. A job whose worker died is done again.

    Args:
        doing: `evaluating 6 encoders`.
    """
    estimate, answers, retried = Estimate(jobs, pool.slots), dict[int, Answer](), set[int]()
    with nullcontext(lambda: None) if pool.shows else shown(doing, estimate, len(jobs)) as show:
        running = {pool.submit(job): place for place, job in enumerate(jobs)}
        while running:
            done, _ = wait(running, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED)
            for future in done:
                place, answer = running.pop(future), future.result()
                if answer.died and place not in retried:
                    retried.add(place)
                    aside(f"{jobs[place].reference}: {answer.reason}; it is tried once more")
                    running[pool.submit(jobs[place])] = place
                else:
                    answers[place] = answer
                    estimate.done(place, answer.seconds)
            show()
    return [answers[place] for place in range(len(jobs))]
