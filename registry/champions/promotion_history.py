"""The promotion history of a registered model: every decision about its champion, one line each, in order.

MLflow keeps no history of aliases; this does. Who is champion, who was before, and who may be gone back to, follow from
the lines alone. MLflow's database refuses to change a line (`registry.champions.history_store`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from registry.versions.records import EncoderVersion
from ssl_core.config import Config

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


class Line(Config, extra="ignore"):
    """One entry. `promoted` and `rolled back` are decisions to be carried out; `refused` changes nothing; `observed` is
    what was found done without us: an alias moved, taken away, or set before the history began. Lines of earlier
    revisions hold the sha256 of the one before, too, which is passed over."""

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

    @property
    def names(self) -> Champion | None:
        """The version it is about; None for nobody."""
        return None if self.version is None else Champion(self.version, self.bundle_digest)

    @property
    def weights(self) -> str:
        """What tells challengers apart: the same weights under two numbers are one."""
        return self.bundle_digest or f"version {self.version}"


@dataclass(frozen=True)
class PromotionHistory:
    """The lines as they stand and what follows from them.

    done: sequence numbers of the lines that have been carried out (alias and events).
    """

    name: str
    lines: tuple[Line, ...]
    done: frozenset[int] = frozenset()

    @property
    def last_promotion(self) -> Line | None:
        """The last line that changed who is champion."""
        return next((line for line in reversed(self.lines) if line.kind != "refused"), None)

    @property
    def unfinished(self) -> Line | None:
        """A change that is decided and perhaps not carried out: its program died, or is at it."""
        line = self.last_promotion
        return line if line is not None and line.sequence not in self.done else None

    @property
    def champion(self) -> Champion | None:
        """Who holds the alias, by the history."""
        line = self.last_promotion
        return None if line is None else line.names

    @property
    def champions(self) -> tuple[Champion | None, ...]:
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
        return next((who for who in reversed(self.champions) if who and there.get(who.version) == who.digest), None)

    def predecessor(self, there: Mapping[int, str]) -> Champion | None:
        """Whom a rollback gives the alias to: the last champion before the present one that still exists."""
        earlier = self.champions[:-1]
        present = self.champion
        for who in reversed(earlier):
            if who and who != present and there.get(who.version) == who.digest:
                return who
        return None

    def challengers(self, champion: Champion, family: tuple[str, str], without: Sequence[str] = ()) -> dict[str, float]:
        """p-values of those whom the champion withstood since it became champion, by `Line.weights`.

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
