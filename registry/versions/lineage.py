"""Lineage both ways: from an encoder to all that made it, and from a pack or a study to every encoder.

trace(store, reference)           version -> trial, study, seed, space, config, pack, code, environment
read_recorded(store, lineage)     what the runs still say about the trial: its config, its space, its environment
of_pack(store, digest)            pack -> encoders trained or evaluated on it, and the studies
of_study(store, name)             study -> its registered encoders

Runs can be deleted and artifacts edited: what is missing or does not match the digests of the lineage becomes a gap
with its reason, and everything else is still told.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field

from registry.tracking.connection import explained
from registry.tracking.names import PARENT
from registry.versions.environment import Environment
from registry.versions.records import PREFIX, EncoderVersion, Lineage, optional
from registry.versions.store import EncoderStore
from ssl_core.config import Config, nearest
from ssl_core.errors import RegistryError, StorageError

Use = Literal["trained", "evaluated"]
_DIGEST = re.compile(r"[0-9a-f]{4,64}")
REMOVED = "removed"
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


class Judged(Config):
    """One evaluation of a version: its run, the pack and protocol, and when."""

    run_id: str
    pack_digest: str
    protocol: str = ""
    time: str = ""


class Trace(Config):
    """Where one encoder came from. What could not be found is in `recorded.gaps`."""

    version: EncoderVersion
    recorded: Recorded
    """of its trial; empty for an imported encoder"""
    evaluations: tuple[Judged, ...] = ()
    source: dict[str, str] = Field(default_factory=dict)
    """of an imported encoder: the version's tags about the file it came from"""

    @property
    def trained_here(self) -> bool:
        """Whether a trial of a study made it; an imported encoder has no trial."""
        return self.version.lineage.from_trial


class Sighting(Config):
    """An encoder that saw a pack."""

    reference: str
    uses: tuple[Use, ...]
    status: str
    """of the version; `removed` when only its evaluation is left"""
    study: str = ""
    trial: int = -1
    headline: str = ""


class PackTrace(Config):
    """Everything that saw one pack."""

    pack_digest: str
    encoders: tuple[Sighting, ...]
    studies: tuple[str, ...]
    """that trained on it, whether an encoder was registered or not"""


def trace(store: EncoderStore, reference: str) -> Trace:
    """All that is known about where `NAME@ALIAS` or `NAME/VERSION` came from.

    Raises:
        RegistryError: no such encoder, or the server does not answer.
    """
    version = store.resolve(reference)
    with explained(f"reading {version.reference}"):
        tags = dict(store.client.get_model_version(version.name, str(version.version)).tags)
    source = {key.removeprefix(PREFIX): value for key, value in tags.items() if key.startswith(f"{PREFIX}source")}
    return Trace(
        version=version,
        recorded=read_recorded(store, version.lineage) if version.lineage.from_trial else Recorded(source="no trial"),
        evaluations=tuple(_judged(run) for run in _runs(store, "evaluation", encoder=version.reference)),
        source=source,
    )


def of_pack(store: EncoderStore, pack_digest: str) -> PackTrace:
    """Every encoder that was trained or evaluated on a pack, removed versions that were evaluated too.

    Raises:
        RegistryError: not a digest, or the server does not answer.
    """
    if not _DIGEST.fullmatch(pack_digest):
        raise RegistryError(f"{pack_digest!r} is no pack and no pack digest; give a pack's folder, address or digest")
    evaluations = _runs(store, "evaluation", pack_digest=pack_digest)
    judged = {run.data.tags.get(f"{PREFIX}encoder", "") for run in evaluations}
    found, versions = [], store.list()
    for version in versions:
        lineage, summary = version.lineage, version.evaluation
        evaluated = version.reference in judged or (summary is not None and summary.pack_digest == pack_digest)
        seen: dict[Use, bool] = {"trained": lineage.pack_digest == pack_digest, "evaluated": evaluated}
        if any(seen.values()):
            sighting = Sighting(
                reference=version.reference,
                uses=tuple(use for use, so in seen.items() if so),
                status=version.status,
                study=lineage.study,
                trial=lineage.trial,
                headline=summary.headline if summary else "",
            )
            found.append(sighting)
    for reference in sorted(judged - {version.reference for version in versions} - {""}):
        found.append(Sighting(reference=reference, uses=("evaluated",), status=REMOVED))
    studies = {run.data.tags.get(f"{PREFIX}study", "") for run in _runs(store, "study", pack_digest=pack_digest)}
    return PackTrace(pack_digest=pack_digest, encoders=tuple(found), studies=tuple(sorted(studies - {""})))


def of_study(store: EncoderStore, study: str) -> tuple[EncoderVersion, ...]:
    """The registered encoders of a study, by name and version.

    Raises:
        RegistryError: none comes from it (the text names the nearest study), or the server does not answer.
    """
    versions = store.list()
    found = tuple(version for version in versions if study and version.lineage.study == study)
    if not found:
        names = sorted({version.lineage.study for version in versions} - {""})
        there = f"they come from {', '.join(names[:10])}" if names else "none comes from a study"
        raise RegistryError(f"no registered encoder comes from study '{study}'{nearest(study, names)}; {there}")
    return found


def _judged(run: Any) -> Judged:
    tags = run.data.tags
    began = datetime.fromtimestamp(run.info.start_time / 1000, UTC).isoformat(timespec="seconds")
    return Judged(
        run_id=run.info.run_id,
        pack_digest=tags.get(f"{PREFIX}pack_digest", ""),
        protocol=tags.get(f"{PREFIX}protocol") or run.data.params.get("protocol.protocol", ""),
        time=began,
    )


def _runs(store: EncoderStore, kind: str, **tags: str) -> list[Any]:
    """Runs of a kind with these tags, oldest first."""
    return store.run_log.find_runs({f"{PREFIX}{name}": value for name, value in {"kind": kind, **tags}.items()})


def read_recorded(store: EncoderStore, lineage: Lineage) -> Recorded:
    """What MLflow has about the trial of a lineage.

    Raises:
        RegistryError: the server does not answer. What is merely not there is a gap.
    """
    source = f"run {lineage.run_id}"
    run = store.run_log.find_run(lineage.run_id)
    if run is None:
        return Recorded(source=source, gaps=(_absent("trial", lineage.run_id),))
    tags = dict(run.data.tags)
    gaps: list[str] = []
    config = _document(store, lineage.run_id, "config.json", lineage.config_digest, gaps)
    parent = tags.get(PARENT, "")
    study = store.run_log.find_run(parent)
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
    run = store.run_log.find_run(run_id)
    names = [] if run is None else sorted(set(run.data.metrics) - {OBJECTIVE})
    return {name: _history(store, run_id, name) for name in names}


def plain_digest(document: Mapping[str, Any]) -> str:
    """Of a config or space from its plain values: what `digest` gives for the one that was written."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _absent(whose: str, run_id: str) -> str:
    return f"the {whose}'s run {run_id} is not in MLflow" if run_id else f"no run of the {whose} is named"


def _document(store: EncoderStore, run_id: str, name: str, digest: str, gaps: list[str]) -> dict[str, Any] | None:
    """A JSON artifact of a run whose digest is the expected one (any, where none is known)."""
    try:
        document = json.loads(store.run_log.read_file(run_id, name))
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
