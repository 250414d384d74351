"""The promotion history of a registered model: every decision about its champion, one line each, in order.

MLflow keeps no history of aliases; this does. Who is champion, and who was before, follow from the lines alone.

Each registered model has an experiment of its own (`<experiment>-ledger-<name>`, so that a server can let few write to
it) with one run; line n is the run's parameter `line.00000n`. MLflow lets a parameter be written once: the database
itself refuses a second value. So of two gates on two machines that write the same line, one is told that it came too
late, reads on and thinks again. `done.00000n` is written when line n was applied.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import Field

from registry.tracking.connection import explained, import_mlflow
from registry.tracking.names import KIND, PARAM_LIMIT, own_tags
from registry.versions.records import PREFIX, Decision, EncoderVersion, optional, safe_name
from registry.versions.store import EncoderStore
from ssl_core.config import Config
from ssl_core.errors import IntegrityError

LineKind = Literal["promoted", "refused", "rolled back", "observed"]
How = Literal["gate", "hand", "before the ledger"]
_LINE, _DONE = "line.", "done."
FOUNDER_SECONDS = 10.0
"""How long the one who made the experiment may take to make its run before another does."""


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
    kept: bool = False
    """`Decision.kept`"""

    @property
    def names(self) -> Champion | None:
        """The version it is about; None for nobody."""
        return None if self.version is None else Champion(self.version, self.bundle_digest)

    @property
    def decision(self) -> Decision:
        """What it says about its version."""
        return Decision(
            promoted=self.kind != "refused",
            reason=self.reason,
            numbers=self.numbers,
            incumbent=self.incumbent,
            entry=self.sequence,
            kept=self.kept,
        )

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
            if line.kind == "rolled back":
                while stack and stack[-1] != line.names:
                    stack.pop()
            if line.kind in ("promoted", "observed") or (line.kind == "rolled back" and not stack):
                stack.append(line.names)
        return tuple(stack)

    def standing(self, there: Mapping[int, str]) -> Champion | None:
        """Who has to be beaten: the champion, or where the alias was taken away, the last who had it and still exists.

        `there` holds the digests of the registered versions by number.
        """
        return next((who for who in reversed(self.champions) if who and there.get(who.version) == who.digest), None)

    def predecessor(self, there: Mapping[int, str]) -> Champion | None:
        """Whom a rollback gives the alias to: the last champion before the present one that still exists."""
        earlier = (who for who in reversed(self.champions[:-1]) if who and who != self.champion)
        return next((who for who in earlier if there.get(who.version) == who.digest), None)

    def refusal_like(self, wanted: Line) -> Line | None:
        """A refusal since the present champion is one: of the same version, on the same data, by the same rules."""
        same = ("version", "bundle_digest", "incumbent", "pack_digest", "protocol", "gate")
        for line in reversed(self.lines):
            if line.kind != "refused":
                return None
            if all(getattr(line, name) == getattr(wanted, name) for name in same):
                return line
        return None

    def challengers(self, champion: Champion, family: tuple[str, str], without: Sequence[str] = ()) -> dict[str, float]:
        """p-values of those whom the champion withstood since it became champion, by `Line.weights`.

        `family` is the pack digest and protocol of the comparison; `without` are those who stand before it again.
        """
        found: dict[str, float] = {}
        for line in reversed(self.lines):
            if line.kind != "refused" and line.version == champion.version:
                break
            same = (
                line.kind == "refused"
                and line.incumbent == champion.version
                and (line.pack_digest, line.protocol) == family
            )
            if same and "p" in line.numbers and line.weights not in (*without, *found):
                found[line.weights] = line.numbers["p"]
        return found


class HistoryStore:
    """The promotion history of one registered model, which must exist before a line is written."""

    def __init__(self, store: EncoderStore, name: str) -> None:
        self._store, self.name, self._client = store, safe_name(name), store.client
        self.experiment = f"{store.run_log.connection.experiment}-ledger-{name}"
        self._run_id: str | None = None
        self._restored = ""

    def read(self, *, strict: bool = True) -> PromotionHistory:
        """The history as it stands; empty if nothing was ever decided.

        Raises:
            IntegrityError: a line is missing or cannot be read; without `strict`, those before it are given.
        """
        with explained(f"reading the promotion history of {self.name}"):
            run_id = self._find()
            params: Mapping[str, str] = self._client.get_run(run_id).data.params if run_id else {}
        texts = {int(key[len(_LINE) :]): text for key, text in params.items() if _numbered(key, _LINE)}
        lines = list[Line]()
        while (line := optional(Line, texts.get(len(lines) + 1))) is not None:
            lines.append(line)
        if strict and len(lines) < len(texts):
            raise IntegrityError(
                f"the promotion history of {self.name} was changed in the database: line {len(lines) + 1} is missing, "
                "or cannot be read; nothing is promoted until the registry is restored from a backup "
                f"(`splatsweep history {self.name}` shows the lines before it)"
            )
        done = frozenset(int(key[len(_DONE) :]) for key in params if _numbered(key, _DONE))
        return PromotionHistory(self.name, tuple(lines), done)

    def append(self, history: PromotionHistory, line: Line) -> PromotionHistory | None:
        """Write `line`, numbered and dated here, after the last one of `history`; returns the history with it.

        None: somebody else has written that line; read again.
        """
        line = following(history, line)
        text = line.to_json()
        assert len(text) <= PARAM_LIMIT, "MLflow would cut it"
        run_id = self._founded()
        with explained(f"writing line {line.sequence} of the promotion history of {self.name}"):
            if not self._put(run_id, f"{_LINE}{line.sequence:06d}", text):
                return None
        return PromotionHistory(self.name, (*history.lines, line), history.done)

    def finish(self, line: Line) -> None:
        """Note that the line was applied."""
        with explained(f"finishing line {line.sequence} of the promotion history of {self.name}"):
            self._put(self._founded(), f"{_DONE}{line.sequence:06d}", "yes")

    def _put(self, run_id: str, key: str, value: str) -> bool:
        """Write a parameter; whether it now has this value. A lost answer does no harm: the same again is taken."""
        try:
            self._client.log_param(run_id, key, value)
        except import_mlflow().MlflowException as error:
            known = self._client.get_run(run_id).data.params.get(key)
            if known is None:
                raise error from None
            return bool(known == value)
        return True

    def _find(self) -> str | None:
        """The run, deleted or not; None if there never was one."""
        if self._run_id is None:
            found = self._client.get_experiment_by_name(self.experiment)
            self._run_id = None if found is None else self._run_of(found.experiment_id)
        return self._run_id

    def _run_of(self, experiment_id: str) -> str | None:
        from mlflow.entities import ViewType

        query, order = f"tags.`{KIND}` = 'ledger'", ["start_time ASC"]
        runs = self._client.search_runs([experiment_id], query, ViewType.ALL, order_by=order)
        written = [run for run in runs if any(key.startswith(_LINE) for key in run.data.params)] or list(runs[:1])
        if not written:
            return None
        if len(written) > 1:
            raise IntegrityError(
                f"the promotion history of {self.name} was written in two runs of experiment {self.experiment} "
                f"({', '.join(run.info.run_id for run in written)}); delete the one that is not to count for good"
            )
        return str(written[0].info.run_id)

    def _restore(self, run_id: str) -> str:
        """The run, brought back with its experiment where either was deleted: before a line is written, not to read."""
        if run_id != self._restored:
            found = self._client.get_run(run_id).info
            if self._client.get_experiment(found.experiment_id).lifecycle_stage == "deleted":
                self._client.restore_experiment(found.experiment_id)
            if self._client.get_run(run_id).info.lifecycle_stage == "deleted":
                self._client.restore_run(run_id)
            self._restored = run_id
        return run_id

    def _founded(self) -> str:
        """The run, made if need be. An experiment's name is unique, so one of many makes it, and its run."""
        mlflow = import_mlflow()
        with explained(f"opening the promotion history of {self.name}"):
            if run_id := self._find():
                return self._restore(run_id)
            try:
                self._client.create_experiment(self.experiment, self._place(), {KIND: "ledger"})
                deadline = 0.0
            except mlflow.MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                deadline = time.monotonic() + FOUNDER_SECONDS
            while time.monotonic() < deadline:
                if run_id := self._find():
                    return run_id
                time.sleep(0.2)
            experiment_id = self._client.get_experiment_by_name(self.experiment).experiment_id
            tags = {**own_tags(), KIND: "ledger", f"{PREFIX}ledger_of": self.name}
            run = self._client.create_run(experiment_id, tags=tags, run_name=f"ledger of {self.name}")
            self._client.set_terminated(run.info.run_id)
            self._run_id = self._run_of(experiment_id)
        assert self._run_id is not None
        return self._run_id

    def _place(self) -> str | None:
        """Of artifacts, of which there are none; without it, an embedded MLflow makes a folder where we stand."""
        if self._store.run_log.tracking_uri.startswith("http"):
            return None
        own: Any = self._client.get_experiment(self._store.run_log.connection.experiment_id)
        return str(own.artifact_location)


def following(history: PromotionHistory, line: Line) -> Line:
    """`line` as the next of `history`. Its time is later than the last line's even if this clock is behind."""
    moment = datetime.now(UTC)
    if history.lines:
        moment = max(moment, datetime.fromisoformat(history.lines[-1].time) + timedelta(microseconds=1))
    found = {"sequence": len(history.lines) + 1, "time": moment.isoformat(timespec="microseconds")}
    return line.model_copy(update=found)


def _numbered(key: str, prefix: str) -> bool:
    return key.startswith(prefix) and key[len(prefix) :].isdecimal()
