"""Verdicts on a terminal: what pretraining bought, and a row for each registered model."""

from collections.abc import Sequence

from rich.markup import escape

from study.reports.console import printable
from study.reports.text_rows import TextRows
from study.reports.verdicts import EncoderVerdict, best_of_each_kind

SENTENCE = 60
"""Columns for what was found."""


def bought_lines(verdicts: Sequence[EncoderVerdict]) -> list[str]:
    """What pretraining bought, a line for the champion or best candidate of each name; nothing where none has a gain.

    `multiview-contrast-points/3 (champion): +10.3 ± 2.1 points over the strongest baseline (random twin)`
    """
    return [
        f"{one.reference} ({one.status}): {one.gain.sentence}"
        for one in best_of_each_kind(verdicts)
        if one.gain is not None
    ]


def verdict_rows(title: str, verdicts: Sequence[EncoderVerdict], *, decisions: bool = True) -> TextRows:
    """Model, status, and what was found: gain, score, fine-tuning, the gate's reason where `decisions`, origin."""
    cells = [
        [escape(printable(one.reference)), escape(one.status), _found(one, decisions=decisions)] for one in verdicts
    ]
    return TextRows(title=title, columns=("model", "status", "found on the test split"), cells=cells, text=SENTENCE)


def _found(one: EncoderVerdict, *, decisions: bool) -> str:
    """Markup."""
    first = escape(one.gain.sentence) if one.gain is not None else ""
    origin = f"study {one.study}, trial {one.trial}" if one.study else ""
    aliases = ", ".join(f"@{alias}" for alias in one.aliases)
    lines = [
        one.headline or "not evaluated",
        *one.fine_tuning,
        one.decision if decisions else "",
        " · ".join(part for part in (origin, aliases) if part),
    ]
    below = [f"[dim]{escape(printable(line))}[/]" for line in lines if line]
    return "\n".join([f"[bold]{first}[/]", *below] if first else below)
