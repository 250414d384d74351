"""Who evaluates a version at this moment: a tag on the version, so that two rarely do the same work.

    splatsweep.claim.<work>    {"who": "HOST PROCESS THREAD BEGAN", "until": "2026-11-30T15:10:00Z"}

The tag advises and guards nothing. MLflow cannot set a tag "if it is not there", so a writer reads again a moment later
and yields to whoever wrote after it; in a rare race two go on, the slower finds the other's report
(`registry.champions.promote.evaluate_version`), and the gate decides once. A claim ends at `until`, or with its process
where that can be asked.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import AwareDatetime

from registry.tracking.connection import Client, explained
from registry.versions.records import PREFIX, optional
from registry.versions.store import set_version_tags
from ssl_core.config import Config
from ssl_core.errors import RegistryError, StorageError

CLAIM = f"{PREFIX}claim."
LEASE = timedelta(minutes=10)
"""Longer than clocks differ by. Its owner renews it five times meanwhile."""
SETTLE_SECONDS = 0.1


class Claim(Config):
    """An owner, until a moment."""

    who: str
    until: AwareDatetime

    @property
    def stands(self) -> bool:
        """Whether the owner is to be waited for."""
        host, process, _, began, *_ = [*self.who.split(), "", "", "", ""]
        ended = host == socket.gethostname() and process.isdecimal() and _began(process) != began
        return datetime.now(UTC) < self.until and not ended


def work_key(pack_digest: str, config_digest: str) -> str:
    """Names one protocol on one pack, in tags."""
    return f"{pack_digest[:12]}.{config_digest[:12]}"


def claim_in(tags: Mapping[str, str], work: str) -> Claim | None:
    """The claim to `work` that stands among a version's tags. One that was edited by hand is none."""
    found: Claim | None = optional(Claim, tags.get(CLAIM + work))
    return found if found is not None and found.stands else None


@contextmanager
def claimed(client: Client, name: str, version: int, work: str, *, wait_seconds: float = 0.0) -> Iterator[bool]:
    """Claim a work on a version while the block runs; False if another has it. Within one's own claim: nothing to do.

    Waits for another owner up to `wait_seconds`. `work` is a `work_key`. Raises RegistryError.
    """
    tag, deadline, pause = _ClaimTag(client, name, str(version), work), time.monotonic() + wait_seconds, 0.1
    if tag.owner() == tag.me:
        yield True
        return
    while not tag.won():
        if time.monotonic() >= deadline:
            yield False
            return
        time.sleep(pause)
        pause = min(2 * pause, 5.0)
    done = threading.Event()
    renewing = threading.Thread(target=tag.renew_until, args=(done,), name="claim", daemon=True)
    renewing.start()
    try:
        yield True
    finally:
        done.set()
        renewing.join()
        with suppress(RegistryError, StorageError):  # a server that is out of reach will see the claim end by itself
            tag.remove()


class _ClaimTag:
    """This thread's claim to a work, as it stands in the registry."""

    def __init__(self, client: Client, name: str, version: str, work: str) -> None:
        self.me = f"{socket.gethostname()} {os.getpid()} {threading.get_ident()} {_began('self')}"
        self._client, self._name, self._version, self._work = client, name, version, work

    def owner(self) -> str | None:
        with explained(f"reading {self._name}/{self._version}"):
            claim = claim_in(self._client.get_model_version(self._name, self._version).tags, self._work)
        return None if claim is None else claim.who

    def won(self) -> bool:
        if self.owner() is not None:
            return False
        self._write()
        time.sleep(SETTLE_SECONDS)
        return self.owner() == self.me

    def renew_until(self, done: threading.Event) -> None:
        while not done.wait(LEASE.total_seconds() / 5):
            with suppress(RegistryError, StorageError):
                if self.owner() == self.me:
                    self._write()

    def remove(self) -> None:
        if self.owner() == self.me:
            with explained(f"releasing {self._name}/{self._version}"):
                self._client.delete_model_version_tag(self._name, self._version, CLAIM + self._work)

    def _write(self) -> None:
        claim = Claim(who=self.me, until=datetime.now(UTC) + LEASE)
        set_version_tags(self._client, self._name, int(self._version), {CLAIM + self._work: claim.to_json()})


def _began(process: str) -> str:
    """When a process of this machine began, in its own ticks: ids are used again. Empty for one that has ended, and on
    systems that do not tell, where only `until` counts."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
