"""Who is champion of a registered model: the promotion history decides, alias and events on versions follow it.

A change is one line of the history, written at once or not at all; then the alias moves, the versions get their events,
and the line is marked done. A program that dies in between leaves a line that is not done, and whoever comes next
applies it. An alias that stands elsewhere than a done line says was moved by somebody else (MLflow's pages let
anybody with the right do so): that is written down, and counts.
"""

import json
import time
from collections.abc import Callable, Mapping
from itertools import accumulate

from registry.champions.promotion_history import Champion, HistoryStore, How, Line, LineKind, PromotionHistory
from registry.tracking.names import own_tags
from registry.versions.records import CHAMPION, PREFIX, EncoderVersion, Event, EventKind, event_tag, printable
from registry.versions.store import EncoderStore
from ssl_core.errors import RegistryError

ATTEMPTS = 20
_LETTERS, _ROOM = 1999, 4000
GRACE = 2.0
"""Seconds that an alias may stand apart from the history before it is taken for a hand's work: another gate may be
between its line and its alias."""


class ChampionAlias:
    """The champions of one model. Of two programs that change them at once, one learns so and reads again."""

    def __init__(self, store: EncoderStore, name: str) -> None:
        self._store, self.name = store, name
        self._history = HistoryStore(store, name)

    def reconcile(self) -> PromotionHistory:
        """The history, once what was left undone is done and what was done by hand is written down.

        Raises:
            IntegrityError: the history was changed.
            RegistryError: others change the champion all the time.
        """
        patient = True
        for _ in range(ATTEMPTS):
            history, versions = self._history.read(), self._store.list(self.name)
            if history.unfinished is not None:
                self.apply()
                continue
            holder = next((version for version in versions if CHAMPION in version.aliases), None)
            if not history.lines and self._recall(history, versions):
                continue
            if history.champion == (Champion.of(holder) if holder is not None else None):
                return history
            if patient:
                patient = False
                time.sleep(GRACE)
                continue
            self._history.append(history, draft("observed", "hand", holder, _seen(history, versions, holder)))
        raise RegistryError(f"the champion of {self.name} is changed by others all the time; try again later")

    def change(self, history: PromotionHistory, line: Line) -> PromotionHistory | None:
        """Write a line and apply it; None if another was written first: reconcile and think again."""
        written = self._history.append(history, line)
        if written is None or line.kind == "refused":
            return written
        return self.apply()

    def append_with_retry(self, think: Callable[[PromotionHistory], Line]) -> tuple[Line, PromotionHistory]:
        """Write the line that `think` makes of the history as it stands, however often another comes first.

        What `think` raises is raised. Returns the line as written, and the history with it.
        """
        for _ in range(ATTEMPTS):
            history = self.reconcile()
            if (written := self.change(history, think(history))) is not None:
                return written.lines[len(history.lines)], written
        raise RegistryError(f"the champion of {self.name} is changed by others all the time; try again later")

    def apply(self) -> PromotionHistory:
        """Alias and events as the newest change says; one that came meanwhile goes before."""
        line = self._history.read().last_promotion
        assert line is not None, "there is a line to apply"
        while True:
            versions = self._store.list(self.name)
            if line.kind != "observed":  # what was observed is so already
                for version in versions:
                    if Champion.of(version) == line.names:
                        self._store.set_alias(version, CHAMPION)
            for version in versions:
                chosen, is_champion = Champion.of(version) == line.names, version.status == "champion"
                if chosen and not is_champion:
                    self.add_event(version, "promoted", line)
                elif is_champion and not chosen:
                    follower = f"followed by version {line.version}: " if line.version is not None else ""
                    self.add_event(version, "demoted", line, follower)
            newest = (history := self._history.read()).last_promotion
            assert newest is not None
            if newest.sequence == line.sequence:
                self._history.finish(line)
                return PromotionHistory(self.name, history.lines, history.done | {line.sequence})
            line = newest  # the alias just set is out of date

    def rival(self, history: PromotionHistory) -> EncoderVersion | None:
        """Who has to be beaten (`PromotionHistory.standing`); None if nobody."""
        return self._registered(history.standing)

    def predecessor(self, history: PromotionHistory) -> EncoderVersion | None:
        """Whom a rollback gives the alias to; None if nobody."""
        return self._registered(history.predecessor)

    def _registered(self, choose: Callable[[Mapping[int, str]], Champion | None]) -> EncoderVersion | None:
        versions = {version.version: version for version in self._store.list(self.name)}
        who = choose({number: version.bundle_digest for number, version in versions.items()})
        return None if who is None else versions[who.version]

    def add_event(self, version: EncoderVersion, kind: EventKind, line: Line, preface: str = "") -> None:
        """The event that goes with a line. Its time is that of the line: written again, it is the same event."""
        event = Event(kind=kind, time=line.time, reason=f"{preface}{line.reason}")
        told = self._store.tag(version, event_tag(event))
        self._store.tag(told, {f"{PREFIX}status": told.status})

    def _recall(self, history: PromotionHistory, versions: tuple[EncoderVersion, ...]) -> bool:
        """Champions from before there was a history, from their events; whether there were any."""
        past = [(event, version) for version in versions for event in version.events if event.kind == "promoted"]
        now: PromotionHistory | None = history
        for event, version in sorted(past, key=lambda found: found[0].time):
            reason = f"{event.reason} ({event.time[:10]})"
            now = self._history.append(now, draft("observed", "before the ledger", version, reason)) if now else None
        return bool(past)


def draft(
    kind: LineKind,
    how: How,
    version: EncoderVersion | None,
    reason: str,
    incumbent: EncoderVersion | None = None,
) -> Line:
    """A line without number and time, which the history gives."""
    return Line(
        sequence=1,
        time="",
        kind=kind,
        how=how,
        by=printable(own_tags()["mlflow.user"])[:100],
        version=version.version if version is not None else None,
        bundle_digest=version.bundle_digest if version is not None else "",
        incumbent=incumbent.version if incumbent is not None else None,
        reason=fitting(reason),
    )


def fitting(reason: str) -> str:
    """The reason, or as much of it as a line has room for: there a letter beyond ASCII takes six or twelve places."""
    sizes = accumulate(len(json.dumps(letter)) - 2 for letter in reason)
    kept = min(sum(size <= _ROOM for size in sizes), _LETTERS)
    return reason if kept == len(reason) else f"{reason[:kept]}…"


def _seen(history: PromotionHistory, versions: tuple[EncoderVersion, ...], holder: EncoderVersion | None) -> str:
    """What was done without us, for people."""
    before = history.champion
    if holder is None:
        assert before is not None
        if any(Champion.of(version) == before for version in versions):
            return f"the alias champion was taken away from version {before.version} by hand"
        return f"version {before.version} was deleted by hand, and the alias champion with it"
    if not history.lines:
        return f"version {holder.version} was champion when the history began"
    was = f"version {before.version}" if before is not None else "nobody"
    return f"the alias champion was moved to version {holder.version} by hand; by the history it was {was}"
