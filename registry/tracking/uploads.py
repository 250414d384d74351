"""Artifacts of a study's runs on their way to the server: what it does not take waits, and holds up nothing else."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from registry.tracking.artifact_root import writing
from registry.tracking.connection import Connection, RefusedError, UnreachableError, UnreachableRootError, answers
from registry.tracking.cursor import Cursor

Files = Mapping[str, str | Path]


class Uploads:
    """Used on one thread, by one mirror.

    Args:
        cursor: of the mirror before this one: what has arrived, and what it had to leave.
    """

    def __init__(self, cursor: Cursor) -> None:
        self._arrived = {run: dict(marks) for run, marks in cursor.files.items()}
        self._owed, self._known_why = dict(cursor.waiting), cursor.waiting_why
        self._waiting: dict[str, dict[str, str | Path]] = {}
        # of what was refused: the digest, for each is tried once by each mirror, and the reason
        self._refused: dict[tuple[str, str], tuple[str | None, str]] = {}

    @property
    def noted(self) -> dict[str, Any]:
        """What the cursor keeps."""
        waiting = {**self._owed, **{run: tuple(sorted(files)) for run, files in self._waiting.items()}}
        whys = [why for (run, name), (_, why) in self._refused.items() if name in self._waiting.get(run, ())]
        why = (whys or [self._known_why])[-1] if waiting else ""
        return {
            "files": {run: dict(marks) for run, marks in self._arrived.items()},
            "waiting": waiting,
            "waiting_why": why,
        }

    def keep(self, runs: Iterable[str]) -> None:
        """Only these are still the runs that they were: the others have no artifacts yet."""
        kept = set(runs)
        self._arrived = {run: marks for run, marks in self._arrived.items() if run in kept}

    def want(self, run: str, files: Files) -> None:
        """These are all the artifacts that the run shall have. A file that is not there is left out."""
        known = self._arrived.setdefault(run, {})
        wanted = {name: content for name, content in files.items() if _mark(content) not in (None, known.get(name))}
        self._owed.pop(run, None)
        self._waiting.pop(run, None)
        if wanted:
            self._waiting[run] = wanted

    def send(self, server: Connection, runs: Mapping[str, str]) -> None:
        """Send what waits; `runs` are their ids by name. What is refused goes on waiting, for the next mirror.

        Raises:
            UnreachableError: not now; the text names the artifact.
        """
        for run, name in [(run, name) for run, files in self._waiting.items() if run in runs for name in files]:
            content = self._waiting[run][name]
            mark, before = _mark(content), self._refused.pop((run, name), None)
            if before is not None and before[0] == mark and mark is not None:
                self._refused[run, name] = before
                continue
            try:
                if mark is not None:  # else it is gone
                    _store(server, runs[run], name, content)
                    self._arrived.setdefault(run, {})[name] = mark
            except UnreachableRootError as error:  # as it is for all of them
                for each, files in self._waiting.items():
                    self._refused |= {(each, one): (_mark(there), str(error)) for one, there in files.items()}
                return
            except RefusedError as error:
                self._refused[run, name] = mark, f"run {run}, {name}: {error}"
                continue
            except UnreachableError as error:
                why = f"run {run}, {name}: {error}"
                self._refused[run, name] = None, why  # of no digest: the next round tries again
                raise UnreachableError(why) from None
            del self._waiting[run][name]
        self._waiting = {run: files for run, files in self._waiting.items() if files}


def _store(server: Connection, run_id: str, name: str, content: str | Path) -> None:
    """Raises UnreachableRootError, RefusedError, UnreachableError."""
    with answers(), writing(server, run_id):
        if isinstance(content, str):
            server.client.log_text(run_id, content, name)
        else:
            server.client.log_artifact(run_id, str(content), name.rpartition("/")[0] or None)


def _mark(content: str | Path) -> str | None:
    """Changes when the content does; None for a file that is not there."""
    if isinstance(content, Path):
        try:
            stat = content.stat()
        except OSError:
            return None
        content = f"{stat.st_size} {stat.st_mtime_ns}"
    return hashlib.sha256(content.encode()).hexdigest()[:12]
