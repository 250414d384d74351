"""`splatsweep`: the command line. Wiring, errors and exit codes; the commands live in `study/commands/`."""

import errno
import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from registry.tracking.network import keep_loopback_direct
from ssl_core.errors import ConfigError, SplatsweepError, StorageError
from ssl_core.files.user_folders import supply_folders
from ssl_core.interrupt import Interrupt, watch_signals
from study.commands.champion_commands import compare, history, promote, rollback, watch
from study.commands.data_commands import fetch, pack, push, sample, splat
from study.commands.inspect_command import inspect
from study.commands.lineage_commands import lineage, rerun
from study.commands.model_commands import evaluate, import_checkpoint, models, pull, ui
from study.commands.reconstruct_command import reconstruct
from study.commands.render_command import render
from study.commands.scene_commands import part_scenes, rooms, scene_from
from study.commands.service_commands import backup, restore, serve, users_app
from study.commands.study_commands import plan, replay, report, status, train, why
from study.commands.sweep_command import submit, sweep
from study.reports.console import aside, complain

_INTERRUPTED = 130
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class _Commands(TyperGroup):
    """Typer leaves without a word when it is interrupted."""

    def invoke(self, ctx: Any) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            aside("interrupted; the same command continues where it stopped")
            raise typer.Exit(_INTERRUPTED) from None


app = typer.Typer(
    cls=_Commands,
    help="Self-supervised pretraining studies over 3D Gaussian splats and images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
PANELS = {
    "Data": (sample, rooms, part_scenes, splat, scene_from, pack, inspect, push, fetch),
    "Study": (sweep, plan, status, report, why, replay, train, submit),
    "Registry": (
        models, evaluate, pull, reconstruct, render, ui, promote, rollback, history, compare, watch, lineage, rerun,
        import_checkpoint,
    ),
    "Service": (serve, backup, restore),
}  # fmt: skip
for panel, commands in PANELS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)
app.add_typer(users_app, name="users", rich_help_panel="Service")


def main() -> None:
    """Entry point. A `SplatsweepError` is one line and its exit code; a traceback is a bug of ours."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows no '·' gets a '?'
    try:
        try:
            with watch_signals(Interrupt(at_once=True)):
                _environment()
                app(standalone_mode=True)
        finally:
            if isinstance(sys.stdout, TextIOWrapper):  # none where the caller closed it
                sys.stdout.flush()  # here, where it may still be said that it cannot be
    except SplatsweepError as error:
        complain(str(error))
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        complain(f"the library '{error.name}' is not installed; run `make setup`")
        sys.exit(2)
    except OSError as error:
        if error.filename is not None or error.errno not in (*_NO_ROOM, errno.EPIPE):
            raise
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - what is left goes nowhere
        if error.errno == errno.EPIPE:
            sys.exit(1)  # whoever read has seen enough
        complain(f"the output cannot be written: {error.strerror}; free some space or send it elsewhere")
        sys.exit(2)


def _environment() -> None:
    """Read .env without overriding what is set; an empty variable counts as absent. Supply what libraries
    miss; loopback needs no proxy.

    Raises ConfigError: that file cannot be read. StorageError: there is no working directory any more, or no place for
    temporary files.
    """
    supply_folders()
    try:
        Path.cwd()
    except OSError:
        raise StorageError("the working directory is gone; change to a folder that is there") from None
    # read by torch at its first allocation: huge pages save a third of PointNet++'s time on CPUs, spent on page faults
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "SPLATSWEEP_HOME"):
        if os.environ.get(name) == "":
            del os.environ[name]
    with suppress(ModuleNotFoundError):
        from dotenv import load_dotenv

        try:
            load_dotenv(".env", override=False)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConfigError(f".env in {Path.cwd()}: {reason}; make it readable, or move it away") from None
    keep_loopback_direct()


if __name__ == "__main__":
    main()
