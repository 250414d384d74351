"""Many notes about many files as a few lines: those that differ in numbers alone are of one kind."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_NUMBER = re.compile(r"0x[0-9a-f]+|\d[\d,.]*")


@dataclass(frozen=True)
class NoteKind:
    """Notes of one kind."""

    text: str  # the one that most objects have
    texts: int  # different ones
    objects: int  # how many have one of them
    example: str  # an object that has `text`; empty where that is not known


def note_kinds(notes: Mapping[str, int], examples: Mapping[str, str]) -> list[NoteKind]:
    """Kinds in the order of their texts.

    Args:
        notes: text -> objects.
        examples: text -> an object, where one is known.
    """
    by_kind: dict[str, list[str]] = {}
    for text in sorted(notes):
        by_kind.setdefault(_NUMBER.sub("#", text), []).append(text)
    kinds = []
    for texts in by_kind.values():
        most = max(texts, key=lambda text: notes[text])
        kinds.append(NoteKind(most, len(texts), sum(notes[text] for text in texts), examples.get(most, "")))
    return kinds


def note_lines(notes: Mapping[str, int], examples: Mapping[str, str]) -> list[str]:
    """A line per kind for people: a text, how many objects have it or one that differs in numbers, and one of them."""
    lines = []
    for kind in note_kinds(notes, examples):
        other = f", with {kind.texts:,} different numbers: --json" if kind.texts > 1 else ""
        example = f"; such as {kind.example}" if kind.example else ""
        lines.append(f"{kind.text} ({kind.objects:,} objects{other}{example})")
    return lines
