"""What commands share: options of the same words, and the registry's store."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from study.spec.home import home

if TYPE_CHECKING:
    from registry.versions.store import EncoderStore

SpaceFile = Annotated[Path, typer.Argument(help="search-space file")]
StudyName = Annotated[str | None, typer.Option("--name", help="study name; default from space and pack")]
TrialCount = Annotated[int | None, typer.Option("--trials", help="number of trials")]
Concurrency = Annotated[int | None, typer.Option("--concurrency", help="trials at a time; default: what fits")]
Assignments = Annotated[list[str] | None, typer.Option("--set", help="key=value, repeatable")]
PackPlace = Annotated[str, typer.Option("--pack", help="pack folder, or its address (s3://...)")]
Reference = Annotated[str, typer.Argument(help="NAME@ALIAS or NAME/VERSION")]
DropBadRows = Annotated[
    bool, typer.Option("--drop-bad-rows", help="leave single Gaussians out that are not finite or out of bounds")
]
SpzAxesOption = Annotated[
    str | None,
    typer.Option(
        "--spz-axes", help="axes of .spz files that do not name theirs: rub or ply; default: by a .ply beside, else rub"
    ),
]
FineTuning = Annotated[
    bool,
    typer.Option(
        "--fine-tuning/--no-fine-tuning",
        help="fine-tune each encoder after its evaluation, beside training from scratch; "
        "SPLATSWEEP_FINE_TUNING: off, or CPU seconds for each",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="print JSON for scripts")]


def assigned(assignments: list[str] | None) -> dict[str, Any]:
    """Values of `--set` by dotted key. Raises ConfigError."""
    from ssl_core.config import parse_assignment

    return dict(parse_assignment(text) for text in assignments or ())


@contextmanager
def opened_store(*, reading: bool = False) -> "Iterator[EncoderStore]":
    """The store of the registry at MLFLOW_TRACKING_URI, or of the one under the home folder.

    `reading`: nothing is made there, and the home folder may be one that may not be written.
    """
    from registry.tracking.run_log import open_run_log
    from registry.versions.store import EncoderStore

    with open_run_log(os.environ.get("MLFLOW_TRACKING_URI"), home(), reading=reading) as log:
        yield EncoderStore(log)
