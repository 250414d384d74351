"""Where a ledger lies in MLflow, and why nobody can write over it.

Each registered model has an experiment of its own (`<experiment>-ledger-<name>`, so that a server can let few write
to it) with one run; line n is the run's parameter `line.00000n`. MLflow lets a parameter be written once: a second
value is refused by the database itself. So of two gates on two machines that write the same line, one is told that it
came too late, reads on and thinks again. `done.00000n` is written when line n was carried out. The model's tag
`splatsweep.ledger_head` holds the newest line's digest.
"""

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from registry.connection import Client, explained, import_mlflow, is_missing
from registry.judging.ledger import Head, Ledger, Line, read_lines, sound_part
from registry.tracking.names import KIND, PARAM_LIMIT, own_tags
from registry.versions.records import PREFIX, optional, safe_name
from registry.versions.store import EncoderStore
from registry.versions.tag_writes import set_model_tag
from ssl_core.errors import IntegrityError, RegistryError

HEAD_TAG = f"{PREFIX}ledger_head"
_LINE, _DONE = "line.", "done."
FOUNDER_SECONDS = 10.0
"""How long the one who made the experiment may take to make its run before another does."""


class LedgerStore:
    """The ledger of one registered model, which must exist before a line is written."""

    def __init__(self, store: EncoderStore, name: str) -> None:
        self._store, self.name = store, safe_name(name)
        self._run_id: str | None = None

    def read(self) -> Ledger:
        """The ledger as it stands; empty if nothing was ever decided.

        Raises:
            IntegrityError: a line is missing or was edited.
        """
        texts, done = self._texts()
        return Ledger(self.name, read_lines(self.name, texts, self._head()), done)

    def read_sound(self) -> Ledger:
        """The lines that can be trusted, from the first on, even if later ones cannot."""
        texts, done = self._texts()
        return Ledger(self.name, sound_part(texts), done)

    def append(self, ledger: Ledger, line: Line) -> Ledger | None:
        """Write `line` (numbered, dated and chained here) after the last one of `ledger`.

        Returns:
            The ledger with it; None if somebody else has written that line: read again.
        """
        line = chained(ledger, line)
        text = line.to_json()
        assert len(text) <= PARAM_LIMIT, "MLflow would cut it"
        run_id = self._founded()
        with explained(f"writing line {line.sequence} of the ledger of {self.name}"):
            if not self._put(run_id, f"{_LINE}{line.sequence:06d}", text):
                return None
            head = Head(sequence=line.sequence, sha256=line.sha256())
            set_model_tag(self._client, self.name, HEAD_TAG, head.to_json())
        return Ledger(self.name, (*ledger.lines, line), ledger.done)

    def finish(self, line: Line) -> None:
        """Note that the line was carried out."""
        with explained(f"finishing line {line.sequence} of the ledger of {self.name}"):
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

    def _texts(self) -> tuple[dict[int, str], frozenset[int]]:
        with explained(f"reading the ledger of {self.name}"):
            run_id = self._find()
            params: Mapping[str, str] = self._client.get_run(run_id).data.params if run_id else {}
        texts = {int(key[len(_LINE) :]): text for key, text in params.items() if _numbered(key, _LINE)}
        return texts, frozenset(int(key[len(_DONE) :]) for key in params if _numbered(key, _DONE))

    def _head(self) -> Head | None:
        try:
            with explained(f"reading the registered model {self.name}"):
                tags = self._client.get_registered_model(self.name).tags
        except RegistryError as error:
            if is_missing(error.__cause__ or error):
                return None
            raise
        head: Head | None = optional(Head, tags.get(HEAD_TAG))
        if head is None and HEAD_TAG in tags:
            raise IntegrityError(f"tag {HEAD_TAG} of {self.name} was edited; delete it if the ledger can be trusted")
        return head

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
                f"the ledger of {self.name} was written in two runs of experiment {self.experiment} "
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
        with explained(f"opening the ledger of {self.name}"):
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


def chained(ledger: Ledger, line: Line) -> Line:
    """`line` as the next of `ledger`. Its time is later than the last line's even if this clock is behind."""
    moment = datetime.now(UTC)
    if ledger.lines:
        moment = max(moment, datetime.fromisoformat(ledger.lines[-1].time) + timedelta(microseconds=1))
    found = {
        "sequence": len(ledger.lines) + 1,
        "time": moment.isoformat(timespec="microseconds"),
        "previous": ledger.lines[-1].sha256() if ledger.lines else "",
    }
    return line.model_copy(update=found)


def _numbered(key: str, prefix: str) -> bool:
    return key.startswith(prefix) and key[len(prefix) :].isdecimal()
