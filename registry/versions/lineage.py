"""Lineage both ways: from an encoder to all that made it, and from a pack or a study to every encoder.

trace(store, reference)    version -> trial, study, seed, space, config, pack, code, environment
of_pack(store, digest)     pack -> encoders trained or evaluated on it, and the studies
of_study(store, name)      study -> its registered encoders
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field

from registry.tracking.connection import explained
from registry.versions.recorded import Recorded, read_recorded
from registry.versions.records import PREFIX, EncoderVersion
from registry.versions.store import EncoderStore
from ssl_core.config import Config, nearest
from ssl_core.errors import RegistryError

Use = Literal["trained", "evaluated"]
_DIGEST = re.compile(r"[0-9a-f]{4,64}")
REMOVED = "removed"


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
        return _trained(self.version)


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
        recorded=read_recorded(store, version.lineage) if _trained(version) else Recorded(source="no trial"),
        evaluations=tuple(_judged(run) for run in _runs(store, "evaluation", "encoder", version.reference)),
        source=source,
    )


def of_pack(store: EncoderStore, pack_digest: str) -> PackTrace:
    """Every encoder that was trained or evaluated on a pack, removed versions that were evaluated too.

    Raises:
        RegistryError: not a digest, or the server does not answer.
    """
    if not _DIGEST.fullmatch(pack_digest):
        raise RegistryError(f"{pack_digest!r} is no pack and no pack digest; give a pack's folder, address or digest")
    evaluations = _runs(store, "evaluation", "pack_digest", pack_digest)
    judged = {run.data.tags.get(f"{PREFIX}encoder", "") for run in evaluations}
    found, known = [], set[str]()
    for version in store.list():
        known.add(version.reference)
        summary = version.evaluation
        evaluated = version.reference in judged or (summary is not None and summary.pack_digest == pack_digest)
        trained = version.lineage.pack_digest == pack_digest
        uses: list[Use] = []
        if trained:
            uses.append("trained")
        if evaluated:
            uses.append("evaluated")
        if uses:
            found.append(_sighting(version, tuple(uses)))
    for reference in sorted(judged - known - {""}):
        found.append(Sighting(reference=reference, uses=("evaluated",), status=REMOVED))
    studies = {run.data.tags.get(f"{PREFIX}study", "") for run in _runs(store, "study", "pack_digest", pack_digest)}
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


def _trained(version: EncoderVersion) -> bool:
    return bool(version.lineage.study) and version.lineage.trial >= 0


def _sighting(version: EncoderVersion, uses: tuple[Use, ...]) -> Sighting:
    lineage, summary = version.lineage, version.evaluation
    return Sighting(
        reference=version.reference,
        uses=uses,
        status=version.status,
        study=lineage.study,
        trial=lineage.trial,
        headline=summary.headline if summary else "",
    )


def _judged(run: Any) -> Judged:
    tags = run.data.tags
    began = datetime.fromtimestamp(run.info.start_time / 1000, UTC).isoformat(timespec="seconds")
    return Judged(
        run_id=run.info.run_id,
        pack_digest=tags.get(f"{PREFIX}pack_digest", ""),
        protocol=tags.get(f"{PREFIX}protocol") or run.data.params.get("protocol.protocol", ""),
        time=began,
    )


def _runs(store: EncoderStore, kind: str, tag: str, value: str) -> Iterator[Any]:
    """Runs of a kind with this tag, oldest first. The value is a digest or a checked reference: no quotes in it."""
    query = f"tags.`{PREFIX}kind` = '{kind}' and tags.`{PREFIX}{tag}` = '{value}'"
    experiment, token = store.run_log.connection.experiment_id, None
    while True:
        with explained(f"looking for the {kind} runs of {value}"):
            page = store.client.search_runs(
                [experiment], query, max_results=500, order_by=["start_time ASC"], page_token=token
            )
        yield from page
        token = page.token
        if not token:
            return
