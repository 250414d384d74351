"""Who is champion of a registered model: the ledger decides, the alias and the events on versions follow it.

A change is one line of the ledger, written at once or not at all; then the alias moves, the versions get their events,
and the line is marked done. A program that dies in between leaves a line that is not done, and whoever comes next
carries it out. An alias that stands elsewhere than a done line says was moved by somebody else (MLflow's pages let
anybody with the right do so): that is written down, and counts.
"""

import json
import time
from collections.abc import Callable

from registry.judging.ledger import Champion, How, Ledger, Line, LineKind
from registry.judging.ledger_store import LedgerStore
from registry.judging.lock import shared_by_machines
from registry.tracking.names import own_tags
from registry.versions.records import CHAMPION, PREFIX, EncoderVersion, Event, EventKind, event_tag, printable
from registry.versions.store import EncoderStore
from ssl_core.errors import RegistryError

ATTEMPTS = 20
_LETTERS, _ROOM = 1999, 4000
GRACE = 2.0
"""Seconds that an alias may stand apart from the ledger before it is taken for a hand's work: another machine's gate
may be between its line and its alias."""


class Succession:
    """The champions of one model. Reading and changing are done under `judging_lock`."""

    def __init__(self, store: EncoderStore, name: str) -> None:
        self._store, self.name = store, name
        self._ledger = LedgerStore(store, name)

    def settle(self) -> Ledger:
        """The ledger, once what was left undone is done and what was done by hand is written down.

        Raises:
            IntegrityError: the ledger was changed.
            RegistryError: others change the champion all the time.
        """
        patient = shared_by_machines(self._store)
        for _ in range(ATTEMPTS):
            ledger, versions = self._ledger.read(), self._store.list(self.name)
            if ledger.unfinished is not None:
                self.carry_out()
                continue
            holder = next((version for version in versions if CHAMPION in version.aliases), None)
            if not ledger.lines and self._recall(ledger, versions):
                continue
            if ledger.champion == (Champion.of(holder) if holder is not None else None):
                return ledger
            if patient:
                patient = False
                time.sleep(GRACE)
                continue
            self._ledger.append(ledger, draft("observed", "hand", holder, _seen(ledger, versions, holder)))
        raise RegistryError(f"the champion of {self.name} is changed by others all the time; try again later")

    def change(self, ledger: Ledger, line: Line) -> Ledger | None:
        """Write a line and carry it out; None if another was written first: settle and think again."""
        written = self._ledger.append(ledger, line)
        if written is None or line.kind == "refused":
            return written
        return self.carry_out()

    def insist(self, think: Callable[[Ledger], Line]) -> tuple[Line, Ledger]:
        """Write the line that `think` makes of the ledger as it stands, however often another comes first.

        What `think` raises is raised. Returns the line as written, and the ledger with it.
        """
        for _ in range(ATTEMPTS):
            ledger = self.settle()
            if (written := self.change(ledger, think(ledger))) is not None:
                return written.lines[len(ledger.lines)], written
        raise RegistryError(f"the champion of {self.name} is changed by others all the time; try again later")

    def carry_out(self) -> Ledger:
        """Alias and events as the newest change says; one that came meanwhile goes before."""
        line = self._ledger.read().crowning
        assert line is not None, "there is a line to carry out"
        while True:
            versions = self._store.list(self.name)
            if line.kind != "observed":  # what was observed is so already
                for version in versions:
                    if Champion.of(version) == line.names:
                        self._store.set_alias(version, CHAMPION)
            for version in versions:
                self._tell(version, line)
            newest = (ledger := self._ledger.read()).crowning
            assert newest is not None
            if newest.sequence == line.sequence:
                self._ledger.finish(line)
                return Ledger(self.name, ledger.lines, ledger.done | {line.sequence})
            line = newest  # the alias just set is out of date

    def version_of(self, who: Champion | None) -> EncoderVersion | None:
        """The registered version; None for nobody."""
        return None if who is None else self._store.get(self.name, who.version)

    def there(self) -> dict[int, str]:
        """Digests of the registered versions."""
        return {version.version: version.bundle_digest for version in self._store.list(self.name)}

    def refused(self, version: EncoderVersion, line: Line) -> None:
        """The event that goes with a refusal; the same again changes nothing."""
        self._event(version, "refused", line)

    def _tell(self, version: EncoderVersion, line: Line) -> None:
        if Champion.of(version) == line.names:
            if version.status != "champion":
                self._event(version, "promoted", line)
        elif version.status == "champion":
            # the time of an event is that of its line, so two programs that carry it out write one event
            follower = f"followed by version {line.version}: " if line.version is not None else ""
            self._event(version, "demoted", line, follower)

    def _event(self, version: EncoderVersion, kind: EventKind, line: Line, preface: str = "") -> None:
        event = Event(kind=kind, time=line.time, reason=f"{preface}{line.reason}")
        told = self._store.tag(version, event_tag(event))
        self._store.tag(told, {f"{PREFIX}status": told.status})

    def _recall(self, ledger: Ledger, versions: tuple[EncoderVersion, ...]) -> bool:
        """Champions from before there was a ledger, from their events; whether there were any."""
        past = [(event, version) for version in versions for event in version.events if event.kind == "promoted"]
        now: Ledger | None = ledger
        for event, version in sorted(past, key=lambda found: found[0].time):
            reason = f"{event.reason} ({event.time[:10]})"
            now = self._ledger.append(now, draft("observed", "before the ledger", version, reason)) if now else None
        return bool(past)


def draft(
    kind: LineKind,
    how: How,
    version: EncoderVersion | None,
    reason: str,
    incumbent: EncoderVersion | None = None,
) -> Line:
    """A line without number, time and chain, which the ledger gives."""
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
    room = _ROOM
    for place, letter in enumerate(reason):
        room -= len(json.dumps(letter)) - 2
        if room < 0 or place >= _LETTERS:
            return f"{reason[:place]}…"
    return reason


def _seen(ledger: Ledger, versions: tuple[EncoderVersion, ...], holder: EncoderVersion | None) -> str:
    """What was done without us, for people."""
    before = ledger.champion
    if holder is None:
        assert before is not None
        if any(Champion.of(version) == before for version in versions):
            return f"the alias champion was taken away from version {before.version} by hand"
        return f"version {before.version} was deleted by hand, and the alias champion with it"
    if not ledger.lines:
        return f"version {holder.version} was champion when the ledger began"
    was = f"version {before.version}" if before is not None else "nobody"
    return f"the alias champion was moved to version {holder.version} by hand; by the ledger it was {was}"
