"""The report's first card: what pretraining bought, and the verdict on every registered model of the study."""

from collections.abc import Sequence
from html import escape

from ssl_core.inspect.html_page import Html, badge, note, section, table, tiles, warning
from study.reports.verdicts import EncoderVerdict, best_of_each_kind

COLOUR = {
    "champion": "#009E73",
    "former champion": "#56B4E9",
    "evaluated": "#0072B2",
    "candidate": "#0072B2",
    "refused": "#D55E00",
    "registered": "#6b7280",
}
"""Of what the registry calls a version's status."""


def bought_section(verdicts: Sequence[EncoderVerdict], trouble: str) -> str:
    """Large numbers for each kind's champion or best candidate, then every model; nothing where none is registered.

    Args:
        trouble: where training did not help.
    """
    if not verdicts:
        return warning(trouble)
    best = [(one, one.gain) for one in best_of_each_kind(verdicts) if one.gain is not None]
    numbers = [
        (gain.text, f"over the strongest baseline ({gain.baseline}): {one.reference}, {one.status}")
        for one, gain in best
    ]
    doubts = [warning(f"{one.reference}: {gain.doubt} ({gain.text})") for one, gain in best if gain.doubt]
    about = (
        "Differences of the deciding score on the test split, paired; their 95 % intervals are the gate's, over label "
        "draws and test objects, and so wider than those of the scores beside them, over label draws alone. "
        "Of each kind the champion, or the best candidate of this study."
    )
    return section(
        "What pretraining bought",
        tiles(numbers) if numbers else "",
        *doubts,
        warning(trouble),
        _table(verdicts),
        note(about),
    )


def _table(verdicts: Sequence[EncoderVerdict]) -> str:
    columns = [("model", False), ("trial", True), ("", False), ("gain", True), ("found, and the gate's reason", False)]
    rows = [
        [
            one.reference,
            str(one.trial) if one.trial >= 0 else "",
            badge(one.status, COLOUR.get(one.status, "#6b7280")),
            "–" if one.gain is None else one.gain.text,
            _found(one),
        ]
        for one in verdicts
    ]
    return table(columns, rows)


def _found(one: EncoderVerdict) -> Html:
    doubt = one.gain.doubt if one.gain is not None else ""
    lines = [escape(one.headline or "not evaluated yet")]
    lines += [f"<b>{escape(doubt)}</b>"] if doubt else []
    lines += [f"<div class=why>{escape(text)}</div>" for text in (*one.fine_tuning, one.decision) if text]
    return Html("".join(f"<div>{line}</div>" if not line.startswith("<div") else line for line in lines))
