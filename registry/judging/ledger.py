"""The ledger of a registered model: every decision about its champion, one line each, in order, none ever changed.

MLflow keeps no history of aliases; this does. Who is champion, who was before, and who may be gone back to, follow from
the lines alone (`Ledger`). Each line holds the sha256 of the one before, so an edited, removed or
inserted line is seen by whoever reads (`read_lines`). Where the lines lie is `registry.judging.ledger_store`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, ValidationError

from registry.versions.records import EncoderVersion
from ssl_core.config import Config, parse_json
from ssl_core.errors import IntegrityError

LineKind = Literal["promoted", "refused", "rolled back", "observed"]
How = Literal["gate", "hand", "before the ledger"]


@dataclass(frozen=True)
class Champion:
    """A version; the digest tells it from another of the same number in a model made anew."""

    version: int
    digest: str

    @classmethod
    def of(cls, version: EncoderVersion) -> "Champion":
        """A registered version as one that may be champion."""
        return cls(version.version, version.bundle_digest)


class Line(Config):
    """One entry. `promoted` and `rolled back` are decisions to be carried out; `refused` changes nothing; `observed` is
    what was found done without us: an alias moved, taken away, or set before the ledger began."""

    sequence: int = Field(ge=1)
    time: str
    """UTC, ISO 8601; later than that of the line before, whatever the clocks say"""
    kind: LineKind
    how: How
    by: str
    """the user whose program wrote it"""
    version: int | None
    """whom it is about; None: the alias was taken away"""
    bundle_digest: str = ""
    """of the version's weights and card"""
    incumbent: int | None = None
    """champion before; for a refusal, whom it was compared with"""
    reason: str = Field(min_length=1, max_length=2000)
    numbers: dict[str, float] = Field(default_factory=dict)
    pack_digest: str = ""
    protocol: str = ""
    """what was measured: `ssl_core.evaluation.report.TaskConfig.deciding_key`"""
    gate: str = ""
    """digest of the thresholds"""
    previous: str = ""
    """sha256 of the line before, as written; empty for the first"""

    @property
    def names(self) -> Champion | None:
        """The version it is about; None for nobody."""
        return None if self.version is None else Champion(self.version, self.bundle_digest)

    @property
    def weights(self) -> str:
        """What tells challengers apart: the same weights under two numbers are one."""
        return self.bundle_digest or f"version {self.version}"

    def sha256(self) -> str:
        """Hex; what the next line holds."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


class Head(Config):
    """The newest line as it was when last seen, kept apart from the lines: without it, lost last lines go unseen."""

    sequence: int
    sha256: str


@dataclass(frozen=True)
class Ledger:
    """The lines as they stand and what follows from them.

    done: sequence numbers of the lines that have been carried out (alias and events).
    """

    name: str
    lines: tuple[Line, ...]
    done: frozenset[int] = frozenset()

    @property
    def crowning(self) -> Line | None:
        """The last line that changed who is champion."""
        return next((line for line in reversed(self.lines) if line.kind != "refused"), None)

    @property
    def unfinished(self) -> Line | None:
        """A change that is decided and perhaps not carried out: its program died, or is at it."""
        line = self.crowning
        return line if line is not None and line.sequence not in self.done else None

    @property
    def champion(self) -> Champion | None:
        """Who holds the alias, by the ledger."""
        line = self.crowning
        return None if line is None else line.names

    @property
    def reigns(self) -> tuple[Champion | None, ...]:
        """Champions in order, None where the alias was taken away. Who was rolled back from is gone from it."""
        stack: list[Champion | None] = []
        for line in self.lines:
            who = line.names
            match line.kind:
                case "refused":
                    continue
                case "promoted" | "observed":
                    stack.append(who)
                case "rolled back":
                    while stack and stack[-1] != who:
                        stack.pop()
                    stack = stack or [who]
        return tuple(stack)

    def standing(self, there: Mapping[int, str]) -> Champion | None:
        """Who has to be beaten: the champion, or where the alias was taken away, the last who had it and still exists.

        Args:
            there: digests of the registered versions by number.
        """
        return next((who for who in reversed(self.reigns) if who and there.get(who.version) == who.digest), None)

    def predecessor(self, there: Mapping[int, str]) -> Champion | None:
        """Whom a rollback gives the alias to: the last champion before the present one that still exists."""
        earlier = self.reigns[:-1]
        present = self.champion
        for who in reversed(earlier):
            if who and who != present and there.get(who.version) == who.digest:
                return who
        return None

    def challengers(self, champion: Champion, family: tuple[str, str], without: Sequence[str] = ()) -> dict[str, float]:
        """p-values of those whom the champion withstood since it was crowned, by `Line.weights`.

        Args:
            family: pack digest and protocol; comparisons on other data are others' affair.
            without: those who stand before it again.
        """
        found: dict[str, float] = {}
        for line in reversed(self.lines):
            if line.kind != "refused":
                if line.version == champion.version:
                    break
                continue
            same = line.incumbent == champion.version and (line.pack_digest, line.protocol) == family
            if same and "p" in line.numbers and line.weights not in (*without, *found):
                found[line.weights] = line.numbers["p"]
        return found

    def head(self) -> Head | None:
        """Of the newest line."""
        return Head(sequence=self.lines[-1].sequence, sha256=self.lines[-1].sha256()) if self.lines else None


def read_lines(name: str, texts: Mapping[int, str], head: Head | None) -> tuple[Line, ...]:
    """Lines from their texts by number, checked.

    Raises:
        IntegrityError: one is missing, edited, or does not follow the one before. `sound_part` gives those before it.
    """
    lines, broken = _walk(texts)
    if broken is None and head is not None:
        if head.sequence > len(lines):
            broken = f"it ends at line {len(lines)}, but line {head.sequence} was written"
        elif head.sequence >= 1 and lines[head.sequence - 1].sha256() != head.sha256:
            broken = f"line {head.sequence} is not the one that was written"
    if broken is not None:
        raise IntegrityError(
            f"the ledger of {name} was changed: {broken}; nothing is promoted until the registry is restored from a "
            f"backup (`splatsweep history {name}` shows the lines that can be trusted)"
        )
    return lines


def sound_part(texts: Mapping[int, str]) -> tuple[Line, ...]:
    """The lines from the first to the last that follows from those before."""
    return _walk(texts)[0]


def _walk(texts: Mapping[int, str]) -> tuple[tuple[Line, ...], str | None]:
    lines: list[Line] = []
    previous = ""
    for number in range(1, max(texts, default=0) + 1):
        if number not in texts:
            return tuple(lines), f"line {number} is missing"
        try:
            line = Line.model_validate(parse_json(texts[number]))
        except (ValueError, ValidationError):
            return tuple(lines), f"line {number} cannot be read"
        if line.to_json() != texts[number] or line.sequence != number:
            return tuple(lines), f"line {number} is not as it was written"
        if line.previous != previous:
            return tuple(lines), f"line {number} does not follow line {number - 1}, or that one was edited"
        lines.append(line)
        previous = line.sha256()
    return tuple(lines), None
