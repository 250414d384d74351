"""A study as a Ray job: the working tree travels, the cluster runs `sweep`, this end shows the log and the exit code.

The driver then lives on the cluster, so a laptop that is closed loses nothing. Jobs are named after their study
(`splatsweep-NAME-1`, `-2`, ...): while one runs, submitting again follows it; when it has ended, submitting again
starts the next, which continues the study from its journal.
"""

import asyncio
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal
from urllib.parse import urlsplit

from search_spaces.space_file import read_space_file, recipe_at, recipes_written
from ssl_core.errors import MissingDependencyError, StudyError
from study.cluster.cluster import check_dashboard
from study.cluster.working_tree import CHECKED, LOCK, ROOT, SentTree, requirement_lines, sent_tree
from study.workers.revision import code_revision

DASHBOARD = "http://127.0.0.1:8265"
LOOK_SECONDS = 1.0
_PASSED = ("MLFLOW_", "AWS_", "SPLATSWEEP_FINE_TUNING")
_FOLDERS = ("SPLATSWEEP_HOME", "SPLATSWEEP_CACHE")
_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")

Environment = Literal["nodes", "lock"]
Client = Any
"""Ray's `JobSubmissionClient`."""


@dataclass(frozen=True)
class Submission:
    """What to run."""

    study: str  # its name
    space: Path  # file; sent along when it lies outside the checkout
    arguments: tuple[str, ...]  # of `sweep`, after the space file
    # `nodes` uses what the nodes have, after comparing it with the lock; `lock` lets Ray build it
    environment: Environment = "nodes"


@dataclass(frozen=True)
class SubmittedJob:
    """A job on the cluster."""

    id: str  # Ray's submission id
    joined: bool  # it ran already; nothing was sent
    same: bool = True  # its arguments are those of this submission
    sent: SentTree | None = None  # what was sent; None when joined


def dashboard_address() -> str:
    """RAY_API_SERVER_ADDRESS, or the dashboard on this machine's loopback, where a tunnel ends too."""
    return (os.environ.get("RAY_API_SERVER_ADDRESS") or DASHBOARD).rstrip("/")


def open_client(address: str) -> Client:
    """A client of the Jobs API.

    Raises:
        StudyError: nobody answers, or the token is missing or wrong.
        MissingDependencyError: Ray is not installed.
    """
    check_dashboard(address)
    try:
        from ray.job_submission import JobSubmissionClient
    except ModuleNotFoundError:
        raise MissingDependencyError("submit needs Ray, which is not installed; run `make setup`") from None
    with _explained(f"opening {address}"):
        # the log comes through another library, which does not look at the variable
        return JobSubmissionClient(address, verify=os.environ.get("REQUESTS_CA_BUNDLE") or True)


def submit(client: Client, submission: Submission, env: Mapping[str, str]) -> SubmittedJob:
    """Start the study's job, or join the one that runs.

    Args:
        client: from `open_client`.
        submission: what to run.
        env: variables for the job, from `passed_on`.

    Raises:
        StudyError: the working tree cannot be sent, or the cluster refuses the job.
    """
    for _ in range(3):
        found = _jobs(client, submission.study)
        latest = max(found, default=0)
        if latest and str(found[latest].status) not in _ENDED:
            same = (found[latest].metadata or {}).get("arguments") == shlex.join(submission.arguments)
            return SubmittedJob(_id(submission.study, latest), joined=True, same=same)
        job = _start(client, submission, env, _id(submission.study, latest + 1))
        if job is not None:
            return job
    raise StudyError(f"study '{submission.study}' is being submitted by somebody else at the same time; try again")


def follow(client: Client, job: str, write: Callable[[str], None]) -> int:
    """Write the job's log as it grows, until the job ends; its exit code.

    Raises:
        KeyboardInterrupt: Ctrl-C; the job goes on.
        StudyError: the cluster does not answer any more.
    """
    from aiohttp import ClientError

    log = _Log(write)
    while True:
        # a connection that breaks is opened again; what was shown already is skipped
        with suppress(RuntimeError, OSError, ClientError):
            asyncio.run(_tail(client, job, log))
        with _explained("following it"):
            details = client.get_job_info(job)
            if str(details.status) in _ENDED:
                log.begin()
                log.add(client.get_job_logs(job))
                return _exit_code(details)
        time.sleep(LOOK_SECONDS)


def passed_on(environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The variables that a job gets from here, and the names of those that mean something on this machine only.

    MLFLOW_*, AWS_*, SPLATSWEEP_FINE_TUNING and SPLATSWEEP_HOME, SPLATSWEEP_CACHE; not addresses on loopback and not
    relative folders: for these the nodes' own settings count.
    """
    chosen = {name: value for name, value in environment.items() if value and name.startswith(_PASSED)}
    chosen |= {name: environment[name] for name in _FOLDERS if environment.get(name)}
    local = [name for name, value in chosen.items() if _is_local(name, value)]
    return {name: value for name, value in chosen.items() if name not in local}, sorted(local)


def runtime_environment(folder: Path, submission: Submission, env: Mapping[str, str]) -> dict[str, Any]:
    """What Ray prepares on each node before the job's processes start there."""
    made: dict[str, Any] = {"working_dir": str(folder), "env_vars": {**env, "SPLATSWEEP_REVISION": code_revision()}}
    match submission.environment:
        case "nodes":
            pass
        case "lock":
            lines = requirement_lines((folder / LOCK).read_text())
            made["uv"] = {"packages": lines, "uv_pip_install_options": ["--require-hashes"]}
            made["env_vars"][CHECKED] = "lock"
    return made


def _start(client: Client, submission: Submission, env: Mapping[str, str], job: str) -> SubmittedJob | None:
    """None when another submission took this id just now."""
    with TemporaryDirectory(prefix="splatsweep-submit-") as scratch:
        sent = sent_tree(Path(scratch) / "tree")
        space = _space_inside(submission.space, sent.folder)
        words = ["python", "-m", "study.commands.submitted_job", "sweep", space, *submission.arguments]
        try:
            client.submit_job(
                entrypoint=shlex.join(words),
                submission_id=job,
                runtime_env=runtime_environment(sent.folder, submission, env),
                metadata={
                    "study": submission.study,
                    "arguments": shlex.join(submission.arguments),
                    "tree": sent.digest,
                },
            )
        except (RuntimeError, ValueError) as error:
            if "already" in str(error):
                return None
            raise StudyError(f"the cluster refuses the job: {_first_line(error)}") from None
    return SubmittedJob(job, joined=False, sent=sent)


def _space_inside(space: Path, tree: Path) -> str:
    """The space file's path in the tree; put there, with the recipes' files that it names, when one lies elsewhere.

    Raises:
        StudyError: the recipe's file is named by an absolute path, which means nothing on the cluster.
    """
    resolved = space.resolve()
    files = [resolved, *_recipe_files(resolved)]
    if all(file.is_relative_to(ROOT) and (tree / file.relative_to(ROOT)).is_file() for file in files):
        return str(resolved.relative_to(ROOT))
    above = Path(os.path.commonpath([file.parent for file in files]))
    for file in files:
        target = tree / "submitted" / file.relative_to(above)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    return str(Path("submitted") / resolved.relative_to(above))


def _recipe_files(space: Path) -> Iterator[Path]:
    for written in recipes_written(read_space_file(space)).values():
        if Path(written).is_absolute():
            raise StudyError(
                f"{space}: recipe {written} is named by a path of this machine; name it relative to the space file"
            )
        _, place = recipe_at(written, space)
        if place != written:  # else one of ours, or of an installed module
            yield Path(os.path.normpath(place.rpartition(":")[0]))


class _Log:
    """A text that is read from its beginning each time and written once."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write, self._shown, self._read = write, 0, 0

    def begin(self) -> None:
        """The text comes from its beginning again."""
        self._read = 0

    def add(self, text: str) -> None:
        """The next part of the text."""
        new = text[max(0, self._shown - self._read) :]
        self._read += len(text)
        if new:
            self._write(new)
            self._shown = self._read


async def _tail(client: Client, job: str, log: _Log) -> None:
    log.begin()
    async for text in client.tail_job_logs(job):
        log.add(text)


@contextmanager
def _explained(doing: str) -> Iterator[None]:
    """Errors of the Jobs API leave as one line."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        raise StudyError(f"{doing}: {_first_line(error)}; a job that runs goes on") from None


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__


def _jobs(client: Client, study: str) -> dict[int, Any]:
    """The study's jobs by number."""
    prefix = _id(study, 0)[:-1]
    with _explained("listing jobs"):
        ids = {details.submission_id: details for details in client.list_jobs() if details.submission_id}
    return {
        int(name.removeprefix(prefix)): details
        for name, details in ids.items()
        if name.startswith(prefix) and name.removeprefix(prefix).isdigit()
    }


def _id(study: str, number: int) -> str:
    return f"splatsweep-{study}-{number}"


def _exit_code(details: Any) -> int:
    if details.driver_exit_code is not None:
        code = int(details.driver_exit_code)
        return code if code >= 0 else 128 - code
    if str(details.status) == "SUCCEEDED":
        return 0
    print(f"error: the job ended {details.status}: {details.message}", file=sys.stderr)
    return 1


def _is_local(name: str, value: str) -> bool:
    if name in _FOLDERS:
        return not Path(value).is_absolute()
    return urlsplit(value).hostname in _LOOPBACK if "://" in value else False
