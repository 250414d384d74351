"""What several commands ask for alike, by the same words."""

from pathlib import Path
from typing import Annotated

import typer

SpaceFile = Annotated[Path, typer.Argument(help="search-space file")]
StudyName = Annotated[str | None, typer.Option("--name", help="study name; default from space and pack")]
TrialCount = Annotated[int | None, typer.Option("--trials", help="number of trials")]
Concurrency = Annotated[int | None, typer.Option("--concurrency", help="trials at a time; default: what fits")]
Assignments = Annotated[list[str] | None, typer.Option("--set", help="key=value, repeatable")]
PackPlace = Annotated[str, typer.Option("--pack", help="pack folder, or its address (s3://...)")]
Json = Annotated[bool, typer.Option("--json", help="print JSON for scripts")]
