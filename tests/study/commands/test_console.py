"""What commands print: names, paths and reasons that others wrote are text, whatever characters they hold."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from ssl_core.errors import RegistryError
from ssl_core.evaluation.report import EvaluationProgress
from study.commands import cli
from study.reports import console

HOSTILE = "see [/issue], [red]mine[/] :smile: \x1b[31m end"


@pytest.fixture
def told(monkeypatch):
    """Standard output's console, in a terminal of 80 columns that is remembered."""
    made = Console(
        width=80,
        record=True,
        highlight=False,
        markup=console.console._markup,
        emoji=console.console._emoji,
    )
    monkeypatch.setattr(console, "console", made)
    return made


def test_a_cell_is_text_and_no_markup(told):
    console.table(HOSTILE, ["[/column]"], [[HOSTILE], ["[bold]"]])
    text = told.export_text()
    assert "see [/issue], [red]mine[/] :smile: ?[31m end" in text
    assert "[/column]" in text
    assert "\x1b" not in text


def test_a_printed_line_is_text_and_no_markup(capsys):
    for printer in (console.console, console.errors):
        printer.print("pulled to [/x] :smile:", soft_wrap=True)
    found = capsys.readouterr()
    assert "pulled to [/x] :smile:" in found.out
    assert "pulled to [/x] :smile:" in found.err


@pytest.mark.parametrize("text", ["no [/x] here", "ends in a backslash \\", "\\[/x] \x1b[31m"])
def test_an_error_is_one_line_whatever_it_names(text, monkeypatch, capsys):
    def app(**_):
        raise RegistryError(text)

    monkeypatch.setattr(cli, "app", app)
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    assert capsys.readouterr().err.strip() == f"error: {text}".replace("\x1b", "?")


def test_what_is_no_number_in_json_is_a_word(capsys):
    def refuse(text):
        raise AssertionError(f"{text} is no JSON")

    values = {"a": [1.5, float("inf"), float("nan")], "b": {"c": float("-inf")}, "path": Path("here")}
    console.print_json(values)
    found = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert found == {"a": [1.5, "Infinity", "NaN"], "b": {"c": "-Infinity"}, "path": "here"}


def test_an_evaluation_says_a_line_now_and_then_where_there_is_no_terminal(monkeypatch, capsys):
    monkeypatch.setattr(console, "LINE_SECONDS", 0.0)
    with console.evaluation_progress() as tell:
        tell(EvaluationProgress("tiny/1", "features of the encoder", 0, 40))
        tell(EvaluationProgress("tiny/1", "probes", 10, 40))
        tell(EvaluationProgress("tiny/1", "probes", 40, 40))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("evaluating tiny/1, probes: 25 % after ")
    assert shown.err.endswith(" s left\n")
    assert shown.err.count("\n") == 1, "neither the first step nor the end"


def test_quick_evaluations_say_nothing(capsys):
    with console.evaluation_progress() as tell:
        for done in range(5):
            tell(EvaluationProgress("tiny/1", "probes", done, 5))
    assert capsys.readouterr().err == ""


def test_on_a_terminal_an_evaluation_shows_a_bar_with_its_share(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(console, "errors", Console(file=screen, force_terminal=True, width=100))
    with console.evaluation_progress() as tell:
        tell(EvaluationProgress("tiny/1", "probes", 10, 40))
        tell(EvaluationProgress("tiny/2 \x1b[31m", "retrieval", 1, 40))
        tell(EvaluationProgress("tiny/2 \x1b[31m", "retrieval", 39, 40))
    assert "evaluating tiny/2 ?[31m, retrieval" in screen.getvalue()
    assert " 98%" in screen.getvalue()
