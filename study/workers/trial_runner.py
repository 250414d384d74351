"""Runs trials one epoch at a time and turns every way they can fail into a report. Knows nothing of Ray."""

import errno
import gc
import math
import re
import time
import traceback
from collections.abc import Mapping

from ssl_core.errors import ConfigError, DataError, DivergedError, MissingDependencyError, StorageError, StudyError
from ssl_core.training.contract import Session, untrained_metrics
from study.record.full_disk import FullDiskRetry, is_disk_full
from study.spec.outcome import EpochReport, Outcome, better, finite_only, one_line
from study.spec.trial_request import OpenSession, TrialRequest
from study.workers.system_use import SystemUse
from study.workers.trial_folder import Attempt, FencingToken, StaleAttemptError, TrialFolder

_TEXTS = re.compile(
    "|".join(
        (
            r"\bOutOfMemoryError\b",  # torch's and Ray's
            r"CUDA (error: )?out of memory",
            r"HIP out of memory",
            r"CU\w+_STATUS_ALLOC_FAILED",  # cuBLAS and cuDNN want a workspace of their own
            r"\bMemoryError\b",  # Python's; numpy's is _ArrayMemoryError
            r"\b_ArrayMemoryError\b",
            r"std::bad_alloc",
            r"DefaultCPUAllocator: (can't allocate|not enough) memory",
            r"\[Errno 12\]|Cannot allocate memory",
            r"due to the node running low on memory",  # Ray's memory monitor
        )
    )
)


def is_out_of_memory(error: BaseException | str) -> bool:
    """Whether an exception, or the text of one that came from another process, says that memory ran out.

    A worker that was killed by a signal does not say so: the kernel's OOM killer is one of several who send it, and
    Ray's list of causes that it guesses at does not count.
    """
    if isinstance(error, str):
        return _TEXTS.search(error) is not None
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    # the name counts too: torch's and Ray's are no MemoryError, and neither library is needed to tell
    return is_out_of_memory(f"{type(error).__name__}: {error}")


class TrialCrashedError(Exception):
    """An attempt failed; the text is the reason.

    Attributes:
        tainted: the process that ran it must not run another trial: its device or memory may be broken.
        out_of_memory: it wanted more memory than there was.
    """

    def __init__(self, reason: str, tainted: bool = False, out_of_memory: bool = False) -> None:
        super().__init__(reason, tainted, out_of_memory)
        self.reason, self.tainted, self.out_of_memory = reason, tainted, out_of_memory

    def __str__(self) -> str:
        return self.reason


_NOT_THE_TRIALS_FAULT = (StorageError, DataError, MissingDependencyError, StudyError)
_TAINTING = ("CUDA", "cuDNN", "NCCL", "AcceleratorError")


class TrialRunner:
    """One slot's trials, one after the other.

    Args:
        metric, direction: the objective, for deciding which epoch is the best.
        invocation: of the driver that hands out the trials; workers of earlier ones may not write any more.
        system: measures what epochs use of the machine; its metrics join those of the session.
    """

    def __init__(
        self,
        open_session: OpenSession,
        metric: str,
        direction: str,
        invocation: int = 0,
        disk_retry: FullDiskRetry | None = None,
        system: SystemUse | None = None,
    ) -> None:
        self._open_session = open_session
        self._metric, self._direction = metric, direction
        self._invocation, self._patience = invocation, disk_retry or FullDiskRetry()
        self._system = system
        self._request: TrialRequest | None = None
        self._session: Session | None = None
        self._last: EpochReport | None = None
        self._untrained: dict[str, float] = {}
        self._warm = False

    def begin(self, request: TrialRequest) -> None:
        """Take over a trial. Cheap: the first `step` opens the session, where failures are reported."""
        self.close()
        if self._system is not None:
            self._system.forget()
        self._request = request

    def close(self) -> None:
        """Let go of the current trial and its memory."""
        if self._session is not None:
            self._session, self._last = None, None
            # models sit in reference cycles; the next trial needs their memory now
            gc.collect()
            if not self._warm:
                # what is left are imports, which stay: looking through them takes 0.2 s each time
                gc.freeze()
                self._warm = True
        self._request, self._last = None, None

    def step(self) -> EpochReport:
        """Run one epoch (opening or restoring the session first) and report it.

        Raises:
            TrialCrashedError: an unforeseen exception; reason and traceback are in the trial's folder.
            StorageError, DataError, MissingDependencyError, StudyError: what would end every trial the same way.
                This one can go on later.
        """
        request = self._request
        assert request is not None, "step before begin"
        began = time.perf_counter()
        try:
            return self._step(request)
        except _NOT_THE_TRIALS_FAULT:
            raise
        except ConfigError as error:
            return self._end(request, Outcome.INFEASIBLE, str(error), began)
        except DivergedError as error:
            return self._end(request, Outcome.DIVERGED, str(error), began)
        except Exception as error:
            raise self._crash(request, error) from None

    def _crash(self, request: TrialRequest, error: Exception) -> Exception:
        """What an unforeseen exception is to the study."""
        if isinstance(error, StaleAttemptError) or self._fence(request).stale():
            # the folder belongs to a newer attempt now, and so does this trial's story
            return TrialCrashedError(one_line(error), tainted=True)
        if is_disk_full(error):
            return StorageError(f"{request.folder}: the disk is full; free space and start again")
        reason, memory = one_line(error), is_out_of_memory(error)
        details = "".join(traceback.format_exception(error))
        TrialFolder(request.path).write_crash(request.attempt, reason, details)
        return TrialCrashedError(reason, memory or any(word in reason for word in _TAINTING), memory)

    def _step(self, request: TrialRequest) -> EpochReport:
        folder = TrialFolder(request.path)
        if self._session is None:
            saved = self._open(request, folder)
            if saved is not None:
                return saved
        session = self._session
        assert session is not None
        # opening is no training: what it takes is counted as overhead
        began = time.perf_counter()
        if self._system is not None:
            self._system.start()
        metrics = session.run_epoch()
        seconds = time.perf_counter() - began
        if self._system is not None:
            metrics = {**metrics, **self._system.read()}
        report = self._report(request, session, metrics, seconds)
        if report.end is Outcome.DIVERGED:
            return report
        self._patience(lambda: folder.save(session, report, self._fence(request)), folder.path)
        self._last = report
        return report

    def _open(self, request: TrialRequest, folder: TrialFolder) -> EpochReport | None:
        """Open or restore the session; the saved report if the ledger does not know it yet."""
        self._patience(lambda: folder.claim(self._fence(request)), folder.path)
        session = self._open_session(request)
        self._last = folder.restore(session, request.transfer)
        self._session, self._untrained = session, untrained_metrics(session)
        saved = self._last
        if saved is not None and (saved.epoch > request.reported_epoch or session.epoch >= session.epochs):
            # the checkpoint is ahead of the ledger: its epoch is told again, not trained again
            return saved
        return None

    def _fence(self, request: TrialRequest) -> FencingToken:
        return FencingToken(request.path, Attempt(self._invocation, request.attempt + request.losses))

    def _report(
        self, request: TrialRequest, session: Session, metrics: Mapping[str, float], seconds: float
    ) -> EpochReport:
        if self._metric not in metrics:
            raise StudyError(
                f"the trial reports no metric '{self._metric}'; it has {', '.join(sorted(metrics)) or 'none'}; "
                "set study.metric to one of them"
            )
        best_epoch = self._last.best_epoch if self._last else None
        best_value = self._last.best_value if self._last else None
        wrong = sorted(name for name, value in metrics.items() if not math.isfinite(value))
        if not wrong and better(metrics[self._metric], best_value, self._direction):
            best_epoch, best_value = session.epoch, float(metrics[self._metric])
        end: Outcome | None = Outcome.COMPLETE if session.epoch >= session.epochs else None
        reason = ""
        if wrong:
            end, reason = Outcome.DIVERGED, f"{', '.join(wrong)} became non-finite in epoch {session.epoch}"
        return EpochReport(
            number=request.number,
            epoch=session.epoch,
            epochs=session.epochs,
            metrics=finite_only(metrics),
            seconds=seconds,
            end=end,
            reason=reason,
            best_epoch=best_epoch,
            best_value=best_value,
            untrained=self._untrained if session.epoch == 1 else {},
        )

    def _end(self, request: TrialRequest, end: Outcome, reason: str, began: float) -> EpochReport:
        session, last = self._session, self._last
        return EpochReport(
            number=request.number,
            epoch=last.epoch if last else request.reported_epoch,
            epochs=session.epochs if session else 0,
            seconds=time.perf_counter() - began,
            end=end,
            reason=reason,
            best_epoch=last.best_epoch if last else None,
            best_value=last.best_value if last else None,
        )
