"""A study on a cluster: submit."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from study.commands.options import Assignments, Concurrency, SpaceFile, StudyName, TrialCount
from study.reports.console import console, errors, print_json

if TYPE_CHECKING:
    from study.cluster.submission import Environment, SubmittedJob

Json = Annotated[bool, typer.Option("--json", help="print JSON for scripts; the log goes to standard error")]


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(submit)


def submit(
    space: SpaceFile,
    pack: Annotated[str, typer.Option(help="a folder that all nodes see, or an address (s3://...)")],
    name: StudyName = None,
    trials: TrialCount = None,
    concurrency: Concurrency = None,
    assignments: Assignments = None,
    environment: Annotated[
        str, typer.Option(help="nodes: what they have; lock: built from requirements.lock")
    ] = "nodes",
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="show the log until the job ends")] = True,
    json: Json = False,
) -> None:
    """Run a study as a job of the Ray cluster at RAY_API_SERVER_ADDRESS, with this working tree.

    The same command follows a job that runs, and continues a study whose job has ended.
    """
    import os

    from study.cluster.submission import Submission, dashboard_address, open_client, passed_on
    from study.cluster.submission import submit as start

    study = _checked(space, pack, name, trials, concurrency, assignments or [])
    arguments = ["--pack", pack, "--name", study]
    for option, value in (("--trials", trials), ("--concurrency", concurrency)):
        arguments += [option, str(value)] if value is not None else []
    for text in assignments or []:
        arguments += ["--set", text]
    submission = Submission(study, space, tuple(arguments), _environment(environment))
    address = dashboard_address()
    client = open_client(address)
    env, local = passed_on(os.environ)
    job = start(client, submission, env)
    _say(job, study, address, sorted(env), local)
    code = _follow(client, job.id, address, json) if follow else None
    if json:
        sent = {"files": job.sent.files, "bytes": job.sent.bytes, "digest": job.sent.digest} if job.sent else None
        facts = {"study": study, "job": job.id, "dashboard": address, "joined": job.joined, "sent": sent}
        print_json({**facts, "exit_code": code})
    if code:
        raise typer.Exit(code)


def _checked(
    space: Path, pack: str, name: str | None, trials: int | None, concurrency: int | None, assignments: list[str]
) -> str:
    """The study's name, after all that can be refused without the cluster. Raises SpaceError, ConfigError."""
    from search_spaces.presets import preset_at
    from search_spaces.space import load_space
    from ssl_core.config import parse_assignment
    from ssl_core.errors import ConfigError
    from study.datasets.pack_storage import place_name
    from study.spec.home import study_name
    from study.spec.study_spec import study_spec

    loaded = load_space(space, preset_at, dict(parse_assignment(text) for text in assignments))
    study_spec(loaded.study, {"trials": trials, "concurrency": concurrency}, space)
    if "://" not in pack and not Path(pack).is_absolute():
        raise ConfigError(
            f"--pack {pack} is a path of this machine; give an absolute path that all nodes see, or push it: "
            f"splatsweep push {pack} s3://bucket/{Path(pack).name}"
        )
    return study_name(name, space, place_name(pack))


def _environment(text: str) -> "Environment":
    from ssl_core.errors import ConfigError

    match text:
        case "nodes" | "lock":
            return text
        case _:
            raise ConfigError(f"--environment {text}: choose nodes or lock")


def _say(job: "SubmittedJob", study: str, address: str, passed: list[str], local: list[str]) -> None:
    say = lambda text: errors.print(text, soft_wrap=True, markup=False)  # noqa: E731
    if job.joined:
        other = "" if job.same else " with other arguments, which count until it ends"
        say(f"study {study} is run by job {job.id}{other}; nothing was sent")
        return
    assert job.sent is not None
    say(f"job {job.id} at {address}: {job.sent.files} files, {job.sent.bytes / 1e6:.1f} MB, tree {job.sent.digest}")
    if passed:
        say(f"passed on: {', '.join(passed)}")
    if local:
        say(f"of this machine only, not passed on: {', '.join(local)}")


def _follow(client: object, job: str, address: str, json: bool) -> int:
    """Show the log; Ctrl-C leaves the job running."""
    import sys

    from study.cluster.submission import follow

    stream = sys.stderr if json else sys.stdout

    def write(text: str) -> None:
        stream.write(text)
        stream.flush()

    try:
        return follow(client, job, write)
    except KeyboardInterrupt:
        ray = ".venv/bin/ray" if Path(".venv/bin/ray").exists() else "ray"
        stop = shlex.join([ray, "job", "stop", job, "--address", address])
        say = errors if json else console
        say.print(
            f"\ndetached; job {job} goes on. Follow it: the same command. Stop it (the study can be continued): {stop}",
            soft_wrap=True,
            markup=False,
        )
        return 130
