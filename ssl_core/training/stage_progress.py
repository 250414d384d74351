"""How far the making of a stage is, for whoever waits for it: a small file beside its folder while it is made.

    <root>/<address>.progress.json     a `StageProgress`; gone when the stage is there

A stage's `make` calls `tell_stage` as often as it likes; outside the making of a stage that does nothing.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

from ssl_core.config import Config
from ssl_core.errors import ConfigError

ENDING = ".progress.json"
BETWEEN_SECONDS = 0.25
"""between two writes"""
STALE_SECONDS = 120.0
"""A file that nobody wrote to for so long is of a process that died."""


class StageProgress(Config):
    """`done` of `total` units; total 0: not known yet. left: an estimate of the seconds that remain."""

    stage: str
    data_digest: str
    done: int = 0
    total: int = 0
    unit: str = ""
    left: float | None = None

    @property
    def text(self) -> str:
        """`teacher: 120 of 240 objects, about 9 s left`."""
        if not self.total:
            return f"{self.stage}: is being made"
        left = "" if self.left is None else f", about {max(1, round(self.left))} s left"
        return f"{self.stage}: {self.done} of {self.total} {self.unit}{left}"


class _First(NamedTuple):
    at: float
    done: int


class _Teller:
    """Writes at most every `BETWEEN_SECONDS`; a disk that refuses hinders nobody."""

    def __init__(self, file: Path, start: StageProgress) -> None:
        self._file, self._start = file, start
        self._first: _First | None = None
        self._written = float("-inf")
        self._write(start)

    def tell(self, done: int, total: int, unit: str) -> None:
        now = time.monotonic()
        first = self._first = self._first or _First(now, done)
        if now - self._written < BETWEEN_SECONDS:
            return
        self._written, new = now, done - first.done
        left = (now - first.at) * (total - done) / new if new > 0 else None
        told = {"done": done, "total": total, "unit": unit, "left": left}
        self._write(self._start.model_copy(update=told))

    def _write(self, progress: StageProgress) -> None:
        part = self._file.with_name(f".{self._file.name}.{os.getpid()}.tmp")
        with suppress(OSError):
            part.write_text(progress.to_json())
            part.replace(self._file)


_TELLER: ContextVar[_Teller | None] = ContextVar("stage", default=None)


def tell_stage(done: int, total: int, unit: str = "objects") -> None:
    """Called by a stage's `make`: so many of `total` are done."""
    if (teller := _TELLER.get()) is not None:
        teller.tell(done, total, unit)


@contextmanager
def telling(root: Path, address: str, stage: str, data_digest: str) -> Iterator[None]:
    """For the duration of the block `tell_stage` tells of the stage at `root/address`."""
    file = root / f"{address}{ENDING}"
    token = _TELLER.set(_Teller(file, StageProgress(stage=stage, data_digest=data_digest)))
    try:
        yield
    finally:
        _TELLER.reset(token)
        with suppress(OSError):
            file.unlink(missing_ok=True)


def stages_in_progress(root: Path, data_digest: str) -> list[StageProgress]:
    """What is being made of this data under `root` now, by any process."""
    found, now = [], time.time()
    for file in sorted(root.glob(f"*{ENDING}")):
        with suppress(OSError, ValueError, ConfigError):  # made whole just now, or of another version
            if now - file.stat().st_mtime < STALE_SECONDS:
                found.append(StageProgress.from_json(file.read_text()))
    return [progress for progress in found if progress.data_digest == data_digest]
