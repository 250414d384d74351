"""Where a promotion history lies in MLflow, and why nobody can write over it.

Each registered model has an experiment of its own (`<experiment>-ledger-<name>`, so that a server can let few write
to it) with one run; line n is the run's parameter `line.00000n`. MLflow lets a parameter be written once: a second
value is refused by the database itself. So of two gates on two machines that write the same line, one is told that it
came too late, reads on and thinks again. `done.00000n` is written when line n was applied.
"""

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from registry.champions.promotion_history import Line, PromotionHistory
from registry.tracking.connection import Client, explained, import_mlflow
from registry.tracking.names import KIND, PARAM_LIMIT, own_tags
from registry.versions.records import PREFIX, optional, safe_name
from registry.versions.store import EncoderStore
from ssl_core.errors import IntegrityError

_LINE, _DONE = "line.", "done."
FOUNDER_SECONDS = 10.0
"""How long the one who made the experiment may take to make its run before another does."""


class HistoryStore:
    """The promotion history of one registered model, which must exist before a line is written."""

    def __init__(self, store: EncoderStore, name: str) -> None:
        self._store, self.name = store, safe_name(name)
        self._run_id: str | None = None

    def read(self, *, strict: bool = True) -> PromotionHistory:
        """The history as it stands; empty if nothing was ever decided.

        Args:
            strict: raise for a line that is missing or cannot be read; else give those before it.

        Raises:
            IntegrityError: somebody changed the database.
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
        """Write `line` (numbered and dated here) after the last one of `history`.

        Returns:
            The history with it; None if somebody else has written that line: read again.
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

    # inside

    @property
    def _client(self) -> Client:
        return self._store.client

    @property
    def experiment(self) -> str:
        """Its experiment's name."""
        return f"{self._store.run_log.connection.experiment}-ledger-{self.name}"

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
        """The run, restored with its experiment where either was deleted; None if there never was one."""
        if self._run_id is None:
            found = self._client.get_experiment_by_name(self.experiment)
            if found is None:
                return None
            if found.lifecycle_stage == "deleted":
                self._client.restore_experiment(found.experiment_id)
            self._run_id = self._run_of(found.experiment_id)
        return self._run_id

    def _run_of(self, experiment_id: str) -> str | None:
        runs = self._client.search_runs(
            [experiment_id], f"tags.`{KIND}` = 'ledger'", run_view_type=3, order_by=["start_time ASC"]
        )  # 3: deleted ones too
        written = [run for run in runs if any(key.startswith(_LINE) for key in run.data.params)] or list(runs[:1])
        if len(written) > 1:
            raise IntegrityError(
                f"the promotion history of {self.name} was written in two runs of experiment {self.experiment} "
                f"({', '.join(run.info.run_id for run in written)}); delete the one that is not to count for good"
            )
        for run in written:
            if run.info.lifecycle_stage == "deleted":
                self._client.restore_run(run.info.run_id)
            return str(run.info.run_id)
        return None

    def _founded(self) -> str:
        """The run, made if need be. An experiment's name is unique, so one of many makes it, and its run."""
        mlflow = import_mlflow()
        with explained(f"opening the promotion history of {self.name}"):
            if run_id := self._find():
                return run_id
            mine = True
            try:
                self._client.create_experiment(self.experiment, self._place(), {KIND: "ledger"})
            except mlflow.MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                mine = False
            deadline = time.monotonic() + FOUNDER_SECONDS
            while not mine and time.monotonic() < deadline:
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
