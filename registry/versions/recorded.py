"""What the runs of a study still say about one trial: its config, the space it was drawn from, its curves.

Runs can be deleted and artifacts edited, so nothing here is taken for granted: what is missing or does not match the
digests of the lineage becomes a gap with its reason, and everything else is still told.
"""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import Field

from registry.tracking.connection import explained, import_mlflow, is_missing
from registry.tracking.names import PARENT
from registry.versions.environment import Environment
from registry.versions.records import PREFIX, Lineage, optional
from registry.versions.store import EncoderStore
from ssl_core.config import Config
from ssl_core.errors import RegistryError, StorageError

Curves = dict[str, dict[int, float]]
"""metric -> epoch -> value"""

OBJECTIVE = "objective"
"""A metric of the run that no trial reports: the best value, at the best epoch."""


class Recorded(Config):
    """One trial as its runs tell it."""

    source: str
    """where this was read, for people"""
    study_run: str = ""
    outcome: str = ""
    reason: str = ""
    values: dict[str, str] = Field(default_factory=dict)
    """what the search chose, as the run shows it"""
    config: dict[str, Any] | None = None
    """all settings, checked against the lineage's digest"""
    space: dict[str, Any] | None = None
    """recipe, base and domains, checked likewise"""
    best_epoch: int | None = None
    """whose checkpoint was registered"""
    pack: str = ""
    """where the pack lay"""
    threads: int | None = None
    """CPU threads that the trial computed on"""
    environment: Environment | None = None
    gaps: tuple[str, ...] = ()
    """what could not be found, and why"""


def read_recorded(store: EncoderStore, lineage: Lineage) -> Recorded:
    """What MLflow has about the trial of a lineage.

    Raises:
        RegistryError: the server does not answer. What is merely not there is a gap.
    """
    source = f"run {lineage.run_id}"
    run = _run(store, lineage.run_id)
    if run is None:
        return Recorded(source=source, gaps=(_absent("trial", lineage.run_id),))
    tags = dict(run.data.tags)
    gaps: list[str] = []
    config = _document(store, lineage.run_id, "config.json", lineage.config_digest, gaps)
    parent = tags.get(PARENT, "")
    study = _run(store, parent)
    if study is None:
        gaps.append(_absent("study", parent))
    space = None if study is None else _document(store, parent, "space.json", lineage.space_digest, gaps)
    environment = optional(Environment, tags.get(f"{PREFIX}environment"))
    if environment is None:
        gaps.append("the environment was not recorded")
    elif lineage.environment_digest not in ("", environment.digest()):
        environment = None
        gaps.append("the environment of the run is not the one that the encoder was registered with")
    best = _history(store, lineage.run_id, OBJECTIVE) if OBJECTIVE in run.data.metrics else {}
    return Recorded(
        source=source,
        study_run=parent,
        outcome=tags.get(f"{PREFIX}outcome", ""),
        reason=tags.get(f"{PREFIX}reason", ""),
        values=dict(run.data.params),
        config=config,
        space=space,
        best_epoch=max(best, default=None),
        pack=tags.get(f"{PREFIX}pack", ""),
        threads=_threads(tags, {} if study is None else study.data.params),
        environment=environment,
        gaps=tuple(gaps),
    )


def read_curves(store: EncoderStore, run_id: str) -> Curves:
    """Every metric that the trial reported, by epoch; empty when there is no such run. Raises RegistryError."""
    run = _run(store, run_id)
    names = [] if run is None else sorted(set(run.data.metrics) - {OBJECTIVE})
    return {name: _history(store, run_id, name) for name in names}


def plain_digest(document: Mapping[str, Any]) -> str:
    """Of a config or space from its plain values: what `digest` gives for the one that was written."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _run(store: EncoderStore, run_id: str) -> Any:
    """A run, or None where there is none (any more)."""
    if not run_id:
        return None
    try:
        with explained(f"reading run {run_id}"):
            return store.client.get_run(run_id)
    except RegistryError as error:
        # a text that is no run id at all is refused with another code
        if is_missing(error.__cause__ or error) or "INVALID_PARAMETER" in getattr(error.__cause__, "error_code", ""):
            return None
        raise


def _absent(whose: str, run_id: str) -> str:
    return f"the {whose}'s run {run_id} is not in MLflow" if run_id else f"no run of the {whose} is named"


def _document(store: EncoderStore, run_id: str, name: str, digest: str, gaps: list[str]) -> dict[str, Any] | None:
    """A JSON artifact of a run whose digest is the expected one (any, where none is known)."""
    artifacts = import_mlflow().artifacts
    try:
        with explained(f"reading {name} of run {run_id}"), tempfile.TemporaryDirectory() as scratch:
            uri = store.run_log.tracking_uri
            file = artifacts.download_artifacts(run_id=run_id, artifact_path=name, dst_path=scratch, tracking_uri=uri)
            document = json.loads(Path(file).read_text(encoding="utf-8"))
    except (RegistryError, StorageError, ValueError):
        gaps.append(f"{name} of run {run_id} is gone or cannot be read")
        return None
    if not isinstance(document, dict) or digest not in ("", plain_digest(document)):
        gaps.append(f"{name} of run {run_id} is not the one that the encoder was registered with")
        return None
    return document


def _history(store: EncoderStore, run_id: str, name: str) -> dict[int, float]:
    """The last value told of each epoch."""
    with explained(f"reading {name} of run {run_id}"):
        points = store.client.get_metric_history(run_id, name)
    return {int(p.step): float(p.value) for p in sorted(points, key=lambda point: (point.step, point.timestamp))}


def _threads(tags: Mapping[str, str], params: Mapping[str, str]) -> int | None:
    """As tagged; of older studies, from the settings that decided it."""
    for text in (tags.get(f"{PREFIX}threads"), params.get("study.threads_per_trial")):
        with suppress(TypeError, ValueError):
            return max(1, int(text or ""))
    with suppress(KeyError, ValueError):
        return max(1, int(float(params["study.cpus_per_trial"])))
    return None
