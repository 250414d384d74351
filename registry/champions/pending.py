"""Every version in the registry as any client left it, and what the watcher noted on it: judged, unfit, or neither.

Tags are read as they are: a client of another make may have written anything. Two notes are ours and final:

    splatsweep.judged.<work>    {"outcome": ..., "reason": ..., "time": ...}: this protocol on this pack is done
    splatsweep.unfit            why a version cannot be evaluated under any; remove the tag to have it looked at again
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from registry.tracking.connection import Client, every_page, explained
from registry.tracking.names import KIND
from registry.versions.records import CHAMPION, PREFIX, event_tag, optional
from registry.versions.store import EncoderStore, new_event, set_version_tags
from ssl_core.config import Config

JUDGED, UNFIT = f"{PREFIX}judged.", f"{PREFIX}unfit"
Outcome = Literal["promoted", "refused", "evaluated"]
_REASON = 1000


class Judgement(Config):
    """What became of a version under one protocol on one pack."""

    outcome: Outcome
    reason: str
    time: str = ""


@dataclass(frozen=True)
class PendingVersion:
    """A version as it stands in the registry, unchecked: names and tags are whatever a client wrote."""

    name: str
    version: int
    tags: Mapping[str, str] = field(default_factory=dict)
    model_tags: Mapping[str, str] = field(default_factory=dict)
    run_id: str = ""
    model_id: str = ""
    champion: bool = False

    @property
    def reference(self) -> str:
        """`name/version`."""
        return f"{self.name}/{self.version}"

    @property
    def ours(self) -> bool:
        """Whether the version, or the registered model it is of, says that it is an encoder of this project's kind."""
        return "encoder" in (self.tags.get(KIND), self.model_tags.get(KIND))

    @property
    def pack_digest(self) -> str:
        """Of the pack that the version names as its own; empty if it names none."""
        return self.tags.get(f"{PREFIX}pack_digest", "")

    def judgement(self, work: str) -> Judgement | None:
        """Of this protocol on this pack; None if it is still to come."""
        found: Judgement | None = optional(Judgement, self.tags.get(JUDGED + work))
        return found


def all_versions(store: EncoderStore) -> list[PendingVersion]:
    """Every version of every registered model, by name and number. Raises RegistryError."""
    client = store.client
    with explained("listing registered models"):
        models = {model.name: model for model in every_page(client.search_registered_models, max_results=500)}
        # asked for all at once: a name may hold what would end a query by name
        versions = list(every_page(client.search_model_versions, max_results=500))
    found = [_found(version, models[version.name]) for version in versions if version.name in models]
    return sorted(found, key=lambda each: (each.name, each.version))


def one_version(store: EncoderStore, name: str, version: int) -> PendingVersion:
    """One version as it is now. Raises RegistryError."""
    with explained(f"reading version {version} of {name!r}"):
        return _found(store.client.get_model_version(name, str(version)), store.client.get_registered_model(name))


def note_judged(client: Client, found: PendingVersion, work: str, outcome: Outcome, reason: str) -> None:
    """Write the final note on one protocol and pack. Again: the same."""
    event = new_event("evaluated", reason or outcome)
    judgement = Judgement(outcome=outcome, reason=reason[:_REASON], time=event.time)
    set_version_tags(client, found.name, found.version, {JUDGED + work: json.dumps(judgement.model_dump())})


def refuse(client: Client, found: PendingVersion, reason: str, work: str | None = None) -> None:
    """Refuse a version that the gate cannot be asked about: an event, then the final note.

    With `work`: as far as this protocol and pack are concerned; without, under any. Again: nothing.
    """
    there = found.judgement(work) if work is not None else found.tags.get(UNFIT)
    if there:
        return
    status = {} if found.champion else {f"{PREFIX}status": "refused"}
    set_version_tags(client, found.name, found.version, {**event_tag(new_event("refused", reason[:_REASON])), **status})
    if work is None:
        set_version_tags(client, found.name, found.version, {UNFIT: reason[:_REASON]})
    else:
        note_judged(client, found, work, "refused", reason)


def _found(version: Any, model: Any) -> PendingVersion:
    return PendingVersion(
        name=version.name,
        version=int(version.version),
        tags=dict(version.tags),
        model_tags=dict(model.tags or {}),
        run_id=version.run_id or "",
        model_id=getattr(version, "model_id", None) or "",
        champion=str(dict(model.aliases or {}).get(CHAMPION, "")) == str(version.version),
    )
