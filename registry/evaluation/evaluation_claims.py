"""Who evaluates a version at this moment: claims among the version's tags, so that each work is done by one.

MLflow can set a tag and read all tags of a version, but not "set it if it is not there". That is enough: every
contender writes a tag of its own, and Lamport's bakery (CACM 17(8), 1974) decides from what all of them wrote. A
contender draws a number larger than all it sees; the smallest wins, and nobody decides while another still draws.

    splatsweep.claim.<work>.<token>    {"number": 2, "beat": 17, "host": ..., "pid": ..., ...}

A claim whose owner died is found by its process where that can be asked (same machine), else by its beat: no clocks are
compared, the beat has to stand still under the reader's eyes. `work` names what is done, for example a protocol on a
pack (`work_key`); claims to different works do not meet.
"""

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from registry.connection import Client, explained, is_missing
from registry.versions.records import PREFIX, optional
from registry.versions.tag_writes import set_version_tag
from ssl_core.config import Config
from ssl_core.errors import RegistryError, StorageError

CLAIM = f"{PREFIX}claim."
BEAT_SECONDS = 10.0
DEAD_SECONDS = 60.0
"""A beat that stands still this long, seen by one reader, is a dead owner's."""
_LOOKS = 3
"""A pause between two looks counts at most for this part of it: the registry may have been out of reach for all."""
_DRAWING_SECONDS = 15.0
"""Drawing a number takes two requests; whoever takes longer makes the others give up, for now."""
_HELD: ContextVar[frozenset[tuple[str, str, str]]] = ContextVar("held", default=frozenset())


class Claim(Config):
    """One contender. `number` is 0 while it is drawn."""

    token: str
    number: int = Field(default=0, ge=0)
    beat: int = 0
    host: str = ""
    pid: int = 0
    machine: str = ""
    """differs between machines, and between containers of one machine: process ids mean something within it"""
    began: str = ""
    """when the process began, in the machine's own ticks: ids are used again"""
    since: str = ""


class ClaimLostError(RegistryError):
    """Another process was let in, because this one was not heard of for a while; its work must not be recorded."""


def work_key(pack_digest: str, config_digest: str) -> str:
    """Names one protocol on one pack, in tags."""
    return f"{pack_digest[:12]}.{config_digest[:12]}"


def claims_in(tags: Mapping[str, str], work: str) -> tuple[Claim, ...]:
    """The claims to `work` among a version's tags; what is no claim (edited by hand) is passed over."""
    front = f"{CLAIM}{work}."
    found = (optional(Claim, text) for key, text in tags.items() if key.startswith(front))
    return tuple(sorted((claim for claim in found if claim is not None), key=lambda claim: claim.token))


class ClaimWatch:
    """Tells the claims of the dead from those of the living, from one look to the next.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[Claim, float, float]] = {}

    def dead(self, claims: tuple[Claim, ...]) -> frozenset[str]:
        """Tokens of the claims whose owners are dead, as far as this process can tell now."""
        now = self._clock()
        gone = set()
        for claim in claims:
            before, last, still = self._seen.get(claim.token, (claim, now, 0.0))
            still = still + min(now - last, DEAD_SECONDS / _LOOKS) if before == claim else 0.0
            self._seen[claim.token] = (claim, now, still)
            if still >= DEAD_SECONDS or _process_gone(claim):
                gone.add(claim.token)
        return frozenset(gone)


class Held:
    """A claim that was won. As a context: it beats inside and is given back at the end."""

    def __init__(self, client: Client, name: str, version: str, work: str, claim: Claim) -> None:
        self._tags, self._claim = _Tags(client, name, version, work), claim
        self._place = (name, version, work)
        self._stop, self._lost = threading.Event(), False
        self._thread = threading.Thread(target=self._beats, name="claim-beat", daemon=True)

    def __enter__(self) -> "Held":
        self._before = _HELD.set(_HELD.get() | {self._place})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        _HELD.reset(self._before)
        self._stop.set()
        self._thread.join(timeout=BEAT_SECONDS)
        # a server that cannot be reached now will see the claim go stale
        with suppress(RegistryError, StorageError):
            self._tags.remove(self._claim.token)

    def check(self) -> None:
        """Ask whether the claim still stands. Raises ClaimLostError."""
        if self._lost or not self._stands():
            name, version, _ = self._place
            raise ClaimLostError(f"{name}/{version} is evaluated by another process now; nothing was recorded here")

    def _stands(self) -> bool:
        return any(claim.token == self._claim.token for claim in self._tags.read())

    def _beats(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            with suppress(RegistryError, StorageError):
                if not self._stands():  # to write now would bring it back beside its successor's
                    self._lost = True
                    return
                self._claim = self._claim.model_copy(update={"beat": self._claim.beat + 1})
                self._tags.write(self._claim)


def take(client: Client, name: str, version: int, work: str, dead: frozenset[str] = frozenset()) -> Held | None:
    """Contend for a work on a version, once; None if another has it or was as quick.

    Args:
        client: `MlflowClient`. name, version: of the registered model, which exists. work: see `work_key`.
        dead: tokens (`ClaimWatch.dead`) that count no more; their tags are removed.

    Raises:
        RegistryError: the registry does not answer or refuses; what was written is taken back if it can be.
    """
    tags = _Tags(client, name, str(version), work)
    claim = _mine()
    try:
        tags.write(claim)
        others = tags.living(claim.token, dead)
        claim = claim.model_copy(update={"number": 1 + max((other.number for other in others), default=0)})
        tags.write(claim)
        deadline = time.monotonic() + _DRAWING_SECONDS
        others = tags.living(claim.token, dead)
        while any(other.number == 0 for other in others) and time.monotonic() < deadline:
            time.sleep(0.05)
            others = tags.living(claim.token, dead)
        if all((other.number, other.token) > (claim.number, claim.token) for other in others):
            alive = {claim.token, *(other.token for other in others)}
            for left in tags.read():
                if left.token in dead or (left.token not in alive and _process_gone(left)):
                    tags.remove(left.token)
            return Held(client, name, str(version), work, claim)
        tags.remove(claim.token)
        return None
    except BaseException:
        with suppress(RegistryError, StorageError):
            tags.remove(claim.token)
        raise


@contextmanager
def holding(client: Client, name: str, version: int, work: str, *, seconds: float = 6 * 3600) -> Iterator[None]:
    """Be the only one at a work on a version; wait for whoever has it. Inside a held claim: nothing to do.

    Raises:
        RegistryError: another held it for longer than `seconds`, and as `take`.
    """
    if (name, str(version), work) in _HELD.get():
        yield
        return
    watch, deadline, pause = ClaimWatch(), time.monotonic() + seconds, 0.1
    tags = _Tags(client, name, str(version), work)
    while True:
        held = take(client, name, version, work, watch.dead(tags.read()))
        if held is not None:
            with held:
                yield
            return
        if time.monotonic() > deadline:
            raise RegistryError(f"{name}/{version} has been evaluated by another process for {seconds / 3600:g} hours")
        time.sleep(pause * (1 + secrets.randbelow(100) / 100))
        pause = min(2 * pause, 5.0)


class _Tags:
    """The claims to one work on one version, as they stand in the registry."""

    def __init__(self, client: Client, name: str, version: str, work: str) -> None:
        self._client, self._name, self._version, self._work = client, name, version, work

    def read(self) -> tuple[Claim, ...]:
        with explained(f"reading {self._name}/{self._version}"):
            return claims_in(self._client.get_model_version(self._name, self._version).tags, self._work)

    def living(self, mine: str, dead: frozenset[str]) -> list[Claim]:
        return [c for c in self.read() if c.token != mine and c.token not in dead and not _process_gone(c)]

    def write(self, claim: Claim) -> None:
        text = json.dumps(claim.model_dump(), sort_keys=True)
        with explained(f"claiming {self._name}/{self._version}"):
            set_version_tag(self._client, self._name, self._version, self._key(claim.token), text)

    def remove(self, token: str) -> None:
        try:
            with explained(f"releasing {self._name}/{self._version}"):
                self._client.delete_model_version_tag(self._name, self._version, self._key(token))
        except RegistryError as error:
            if not is_missing(error.__cause__ or error):
                raise

    def _key(self, token: str) -> str:
        return f"{CLAIM}{self._work}.{token}"


def _mine() -> Claim:
    return Claim(
        token=secrets.token_hex(8),
        host=socket.gethostname(),
        pid=os.getpid(),
        machine=_machine(),
        began=_began(os.getpid()) or "",
        since=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _process_gone(claim: Claim) -> bool:
    """Whether the owner ran on this machine and does not any more."""
    if not claim.machine or claim.machine != _machine():
        return False
    return _began(claim.pid) != claim.began


def _began(pid: int) -> str | None:
    """When a process of this machine began; None if there is none, or only what its parent has not taken note of."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return None if fields[0] in "ZX" else fields[19]


def _machine() -> str:
    """Of this boot and this space of process ids; empty where the system does not tell, and then only beats count."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""
