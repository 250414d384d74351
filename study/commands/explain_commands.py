"""Questions about a finished or running study: why is a trial what it is, and can the search be repeated."""

from typing import Annotated

import typer

from study.reports.console import console, print_json
from study.spec.home import latest_study, study_folder

Json = Annotated[bool, typer.Option("--json", help="print JSON for scripts")]
Study = Annotated[str, typer.Argument(help="study")]
Latest = Annotated[str | None, typer.Argument(help="study; the latest when left out")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(why)
    app.command()(replay)


def why(
    study: Study,
    trial: Annotated[int, typer.Argument(help="trial number", min=0)],
    json: Json = False,
) -> None:
    """Where a trial's values came from, what was known then, and what ended it."""
    from study.engine.explain import explain
    from study.reports.explain_text import explanation_text

    found = explain(study_folder(study), trial)
    if json:
        print_json(found.model_dump(mode="json"))
    else:
        console.print(explanation_text(found), markup=True)


def replay(study: Latest = None, json: Json = False) -> None:
    """Work out every suggestion of a study again from its journal; exit code 1 when one differs."""
    from study.engine.replay import replay as replayed
    from study.reports.explain_text import replay_text

    found = replayed(study_folder(study or latest_study()))
    if json:
        print_json({**found.model_dump(mode="json"), "exact": found.exact})
    else:
        console.print(replay_text(found), markup=True)
    if found.differences:
        raise typer.Exit(1)
