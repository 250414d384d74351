"""What commands print: names, paths and reasons that others wrote are text, whatever characters they hold."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from ssl_core.errors import RegistryError
from study import cli, console

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
