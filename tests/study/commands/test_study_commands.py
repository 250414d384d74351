"""`status`, `why`, `replay` and `report` where nobody looks: odd names, half studies, narrow terminals, full disks."""

import io
import random
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from rich.console import Console
from search_kit import WIDE, act, on_disk, space_of, spec_of

from ssl_core.errors import ConfigError, StorageError
from study.cluster.driver_lock import hold_study
from study.commands.cli import app, main
from study.engine.ledger import JOURNAL
from study.reports.status import read_status
from study.reports.study_text import format_status
from study.reports.text_rows import NARROW
from study.spec.home import checked_name, study_name


@pytest.fixture
def studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study `s`, and neighbours that are none."""
    monkeypatch.setenv("SPLATSWEEP_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "studies"
    space = space_of(WIDE)
    ledger, rng = on_disk(folder / "s", space, spec_of("tpe")), random.Random(1)
    for _ in range(60):
        act(ledger, space, rng)
    for name, content in (("half", (folder / "s" / JOURNAL).read_bytes()[:200]), ("zero", b"")):
        (folder / name).mkdir()
        (folder / name / JOURNAL).write_bytes(content)
    (folder / "empty").mkdir()
    (folder / "file").write_text("")
    (folder / "place" / JOURNAL).mkdir(parents=True)
    return folder


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["splatsweep", *words])
    with pytest.raises(SystemExit) as left:
        main()
    captured = capsys.readouterr()
    return int(left.value.code or 0), " ".join((captured.out + captured.err).split())


@pytest.mark.parametrize("command", [("status",), ("why", "0"), ("replay",), ("report",)])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("half", "was never started completely; start it again"),
        ("zero", "was never started completely"),
        ("empty", "no study 'empty' in"),
        ("file", "no study 'file' in"),
        ("place", "no study 'place' in"),
        ("..", "name '..' is not usable"),
        ("a/b", "name 'a/b' is not usable"),
        ("x" * 300, "at most 100 bytes"),
    ],
)
def test_what_is_no_study_is_said_in_a_sentence(
    studies: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: tuple[str, ...],
    name: str,
    message: str,
) -> None:
    code, text = said(monkeypatch, capsys, command[0], name, *command[1:])
    assert code == 2
    assert text.startswith("error: ")
    assert message in text


def test_a_trial_that_is_not_there(
    studies: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = said(monkeypatch, capsys, "why", "s", "999")
    assert (code, "study 's' has no trial 999; it has 0 .." in text) == (2, True)


def test_a_report_is_not_written_below_a_file(
    studies: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = said(monkeypatch, capsys, "report", "s", "--out", str(studies / "file" / "x.html"))
    assert code == 2
    assert "x.html: cannot be written" in text


@pytest.mark.parametrize("words", [("status", "s"), ("status", "s", "--json"), ("why", "s", "0")])
def test_an_output_that_is_full_is_no_bug(
    studies: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    with suppress(OSError), open("/dev/full", "w") as full:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", full)
        code, text = said(monkeypatch, capsys, *words)
    assert code == 2
    assert text.startswith("error: the output cannot be written: No space left on device")


def test_a_terminal_that_knows_few_letters(studies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    plain = io.TextIOWrapper(written, encoding="ascii")
    monkeypatch.setattr(sys, "stdout", plain)
    monkeypatch.setattr(sys, "argv", ["splatsweep", "why", "s", "0"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    plain.flush()
    assert b"trial 0 of study s ? " in written.getvalue()


@pytest.mark.parametrize("width", [12, 40, NARROW - 1, NARROW, 120])
def test_no_terminal_is_too_narrow_for_a_number(studies: Path, width: int) -> None:
    status = read_status(studies / "s")
    console = Console(width=width, record=True, file=io.StringIO(), color_system=None)
    console.print(format_status(status))
    shown = "".join(console.export_text().split())
    for trial in status.trials:
        if trial.best is not None and width >= 40:
            assert f"{trial.best:.4g}" in shown
        if width < NARROW:
            assert "".join(trial.reason.split()) in shown


def test_a_folder_in_the_journals_place_is_to_be_moved_away(studies: Path) -> None:
    with pytest.raises(StorageError, match=rf"place/{JOURNAL}: Is a directory; .*move that away"):
        on_disk(studies / "place", space_of(WIDE), spec_of("tpe"))
    (studies / "q" / "driver.json").mkdir(parents=True)
    with (
        pytest.raises(StorageError, match=r"q/driver.json: Is a directory; .*move that away"),
        hold_study(studies / "q", "q"),
    ):
        pass
    with pytest.raises(StorageError, match=r"file/x: Not a directory; .*move that away"):
        on_disk(studies / "file" / "x", space_of(WIDE), spec_of("tpe"))
    with pytest.raises(StorageError, match=r"No such file or directory; .*SPLATSWEEP_HOME"):
        on_disk(Path("/proc/none"), space_of(WIDE), spec_of("tpe"))


@pytest.mark.parametrize("words", [(), ("--trials", "0")])
def test_a_sweep_looks_at_its_space_before_its_data(
    studies: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    (studies / "space.yaml").write_text("recipe: cross_modal\npreset: quick\nspace: {loss.beta: {log: [1, 2]}}\n")
    space = studies / ("space.yaml" if words else "nope.yaml")
    code, text = said(monkeypatch, capsys, "sweep", str(space), "--data", str(studies), *words)
    assert code == 2
    assert ("at least one trial" if words else "nope.yaml: cannot be read as a search space") in text


def test_a_name_made_of_others_says_how_to_give_another() -> None:
    assert study_name(None, Path("a.yaml"), "pack") == "a-pack"
    assert study_name("mine", Path("a b.yaml"), "pack") == "mine"
    with pytest.raises(ConfigError, match=r"'a b-pack' is not usable.* give another with --name"):
        study_name(None, Path("a b.yaml"), "pack")


@pytest.mark.parametrize("name", ["a", "Ä9", "a-b_c.d", "_x", "x" * 100])
def test_names_that_are_usable(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", ".a", "-a", "--name", "a b", "a\nb", "a\0", "\udc80", "𠀀" * 30, "/"])
def test_names_that_are_not(name: str) -> None:
    with pytest.raises(ConfigError, match="is not usable; use letters"):
        checked_name(name)


def test_help_lists_the_commands_by_what_they_are_about(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        app(["--help"])
    text = capsys.readouterr().out
    places = [text.index(f"─ {panel} ─") for panel in ("Data", "Study", "Registry", "Service")]
    assert places == sorted(places)
    for command, panel in (("pack", 0), ("sweep", 1), ("pull", 2), ("backup", 3)):
        after = text.index(f"│ {command} ")
        assert places[panel] < after < (places[panel + 1] if panel < 3 else len(text))


def test_a_dry_run_without_data_makes_none(studies: Path, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SPLATSWEEP_HOME", str(studies / "home"))
    code, text = said(monkeypatch, capsys, "sweep", "--dry-run")
    assert code == 0
    assert '"pack": null' in text
    assert not (studies / "home").exists()
    code, text = said(monkeypatch, capsys, "sweep", "--pack", "p", "--data", "d")
    assert code == 2
    assert "give --pack, or --data or --meshes to make one" in text
