"""`splatsweep`: the command line. Wiring, errors and exit codes; the commands live in `study/commands/`."""

import errno
import os
import sys
from io import TextIOWrapper

import typer
from rich.text import Text

from ssl_core.errors import SplatsweepError
from study.commands import (
    champion_commands,
    data_commands,
    explain_commands,
    import_command,
    lineage_commands,
    model_commands,
    plan_command,
    service_commands,
    study_commands,
    submit_command,
    sweep_command,
    train_command,
    transfer_commands,
    watch_command,
)
from study.reports.console import errors, printable

app = typer.Typer(
    help="Self-supervised pretraining studies over 3D Gaussian splats and images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_PANELS = {
    "Data": (data_commands, transfer_commands),
    "Study": (sweep_command, plan_command, study_commands, explain_commands, train_command, submit_command),
    "Registry": (model_commands, champion_commands, watch_command, lineage_commands, import_command),
    "Service": (service_commands,),
}
for panel, parts in _PANELS.items():
    for part in parts:
        known = len(app.registered_commands), len(app.registered_groups)
        part.add_to(app)
        for command in app.registered_commands[known[0] :]:
            command.rich_help_panel = panel
        for group in app.registered_groups[known[1] :]:
            group.rich_help_panel = panel

_INTERRUPTED = 130
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main() -> None:
    """Entry point. A `SplatsweepError` is one line and its exit code; a traceback is a bug of ours."""
    _environment()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows no '·' gets a '?'
    try:
        try:
            app(standalone_mode=True)
        finally:
            if isinstance(sys.stdout, TextIOWrapper):  # none where the caller closed it
                sys.stdout.flush()  # here, where it may still be said that it cannot be
    except SplatsweepError as error:
        _complain(str(error))
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        _complain(f"the library '{error.name}' is not installed; run `make setup`")
        sys.exit(2)
    except OSError as error:
        if error.filename is not None or error.errno not in (*_NO_ROOM, errno.EPIPE):
            raise
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - what is left goes nowhere
        if error.errno == errno.EPIPE:
            sys.exit(1)  # whoever read has seen enough
        _complain(f"the output cannot be written: {error.strerror}; free some space or send it elsewhere")
        sys.exit(2)
    except KeyboardInterrupt:
        errors.print("interrupted; the same command continues where it stopped")
        sys.exit(_INTERRUPTED)


def _environment() -> None:
    """Read .env without overriding what is set; an empty variable counts as absent."""
    # read by torch at its first allocation: huge pages save a third of PointNet++'s time on CPUs, spent on page faults
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "SPLATSWEEP_HOME"):
        if os.environ.get(name) == "":
            del os.environ[name]
    try:
        from dotenv import load_dotenv
    except ModuleNotFoundError:
        return
    load_dotenv(".env", override=False)


def _complain(text: str) -> None:
    """One line. Names of files may hold what no terminal shows."""
    errors.print(Text.assemble(("error:", "bold red"), f" {printable(text)}"), soft_wrap=True)


if __name__ == "__main__":
    main()
