"""Registered encoders in MLflow's model registry: put in once, found by name and alias, described by tags.

A version's files live in an MLflow logged model (its page shows signature, parameters and metrics); its
state lives in version tags, one tag per event. Registering is idempotent: the same weights and card from
the same trial are one version, however often a study is resumed.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from registry.tracking.artifact_root import reading, writing
from registry.tracking.connection import Client, every_page, explained, import_mlflow, is_missing, write_again
from registry.tracking.database import NoRegistryError
from registry.tracking.run_log import RunLog
from registry.versions.gain import Gain
from registry.versions.model_card import describe_version
from registry.versions.records import (
    CANDIDATE,
    CARD_KIND,
    CHAMPION,
    FINE_TUNING,
    PREFIX,
    Decision,
    EncoderVersion,
    EvaluationSummary,
    Event,
    EventKind,
    Lineage,
    card_tags,
    event_tag,
    events_of,
    is_safe_name,
    kind_of,
    optional,
    parse_reference,
    receipt_of,
    receipt_tag,
    safe_name,
)
from registry.versions.upload import BUNDLE_FILES, SERVING_FILES, upload
from ssl_core.config import parse_json
from ssl_core.errors import RegistryError
from ssl_core.models.bundle import check_sound, read_card, verify_checksums
from ssl_core.models.cards import Card
from ssl_core.models.weights_file import file_sha256

SERVING = f"{PREFIX}serving"
"""Version tag: sha256 of each file that MLflow needs to serve the version, as JSON."""


class EncoderStore:
    """The registry at a run log's address."""

    def __init__(self, run_log: RunLog) -> None:
        self.run_log = run_log

    @property
    def client(self) -> Client:
        """The `MlflowClient`."""
        return self.run_log.client

    def register(
        self, bundle: Path, name: str, lineage: Lineage, run_id: str, receipt: Mapping[str, float] | None = None
    ) -> EncoderVersion:
        """Register a bundle folder (see `ssl_core.models.bundle`) under `name`, as a model of the run.

        The new version gets the alias `candidate`. The same weights and card from the same run give the existing
        version. `receipt` says what the trial cost (`EncoderVersion.receipt`); it is a tag and the file receipt.json.

        Raises:
            IntegrityError: the bundle's files do not match their checksums, or do not fit each other.
            RegistryError: an unusable name; a bundle that is not what it says (`ssl_core.models.bundle`): a pickle,
            weights that are not finite, other shapes than its contract's; or the registry refuses.
        """
        safe_name(name)
        verify_checksums(bundle)
        digest = bundle_digest(bundle)
        with explained(f"registering {name}"):
            there = self.list(name)
            for version in there:
                if version.bundle_digest == digest and version.run_id == run_id:
                    # a program that died before the alias was set is made good for
                    return self.set_alias(version, CANDIDATE) if version == there[-1] else version
            check_sound(bundle)
            card = read_card(bundle).card
            self._ensure_model(name, card)
            with writing(self.run_log.connection, run_id):
                model_id, location, serving = upload(self.run_log, bundle, name, lineage, run_id, receipt)
            version = self.client.create_model_version(
                name,
                # a server resolves the model id itself; in-process, MLflow would look it up at its global address
                source=f"models:/{model_id}" if self.run_log.tracking_uri.startswith("http") else location,
                run_id=run_id,
                tags={
                    **lineage.tags(),
                    **receipt_tag(receipt),
                    **event_tag(new_event("registered", f"from {lineage.origin}")),
                    f"{PREFIX}status": "registered",
                    **content_tags(bundle, card),
                    f"{PREFIX}model_id": model_id,
                    SERVING: json.dumps(serving, sort_keys=True),
                },
                description=describe_version(card, lineage),
                model_id=model_id,
            )
            # so that the logged model's page links to the version
            link = json.dumps([{"name": name, "version": version.version}])
            self.client.set_logged_model_tags(model_id, {"mlflow.modelVersions": link})
        return self.set_alias(self.get(name, int(version.version)), CANDIDATE)

    def list(self, name: str | None = None) -> tuple[EncoderVersion, ...]:
        """Registered encoders, by name and version; of one name (none such: empty), or of all."""
        with explained("listing registered encoders"):
            try:
                client = self.client
            except NoRegistryError:
                return ()
            models = every_page(client.search_registered_models, f"tags.`{PREFIX}kind` = 'encoder'")
            found = []
            for model in models:
                # a name that another client chose may be none that can be asked for
                if (name is None or model.name == name) and is_safe_name(model.name):
                    aliases = dict(model.aliases)
                    versions = every_page(client.search_model_versions, f"name = '{model.name}'")
                    found += [_read(version, aliases) for version in versions]
        return tuple(sorted(found, key=lambda version: (version.name, version.version)))

    def known(self, name: str) -> tuple[EncoderVersion, ...]:
        """The versions of a name, at least one. Raises RegistryError naming what exists where there are none."""
        return self.list(safe_name(name)) or (self.get(name, 1),)

    def get(self, name: str, version: int) -> EncoderVersion:
        """One version, as it is now. Raises RegistryError naming what exists."""
        safe_name(name)
        try:
            with explained(f"reading {name}/{version}"):
                aliases = dict(self.client.get_registered_model(name).aliases)
                return _read(self.client.get_model_version(name, str(version)), aliases)
        except RegistryError as error:
            if is_missing(error) or isinstance(error, NoRegistryError):
                raise self._not_found(name, f"version {version}") from None
            raise

    def resolve(self, reference: str) -> EncoderVersion:
        """`NAME@ALIAS` or `NAME/VERSION`. Raises RegistryError naming what exists."""
        name, wanted = parse_reference(reference)
        if isinstance(wanted, int):
            return self.get(name, wanted)
        for version in self.list(name):
            if wanted in version.aliases:
                return version
        raise self._not_found(name, f"alias '{wanted}'")

    def with_alias(self, name: str, alias: str) -> EncoderVersion | None:
        """The version an alias points to, None if it points nowhere."""
        return next((version for version in self.list(name) if alias in version.aliases), None)

    def set_alias(self, version: EncoderVersion, alias: str) -> EncoderVersion:
        """Point `alias` at this version (and away from any other)."""
        with explained(f"pointing {version.name}@{alias} to version {version.version}"):
            write_again(self.client.set_registered_model_alias, version.name, alias, str(version.version))
        return self.get(version.name, version.version)

    def tag(self, version: EncoderVersion, tags: Mapping[str, str]) -> EncoderVersion:
        """Set version tags; names are taken as given."""
        set_version_tags(self.client, version.name, version.version, tags)
        return self.get(version.name, version.version)

    def add_event(self, version: EncoderVersion, kind: EventKind, reason: str) -> EncoderVersion:
        """Append an event, now."""
        tagged = self.tag(version, event_tag(new_event(kind, reason)))
        return self.tag(tagged, {f"{PREFIX}status": tagged.status})

    def set_description(self, version: EncoderVersion, text: str) -> None:
        """Markdown shown on the version's page."""
        with explained(f"describing {version.reference}"):
            self.client.update_model_version(version.name, str(version.version), text)

    def put_file(self, version: EncoderVersion, path: Path) -> None:
        """Add (or replace) a file among the version's artifacts; not one of the checked ones."""
        assert path.name not in (*BUNDLE_FILES, *SERVING_FILES), "what a version is never changes"
        stored = writing(self.run_log.connection, version.run_id)
        with explained(f"storing {path.name} with {version.reference}"), stored:
            self.client.log_model_artifact(version.model_id, str(path))

    def download(self, name: str, version: int, folder: Path) -> Path:
        """Copy all files of a version into the existing `folder`, unchecked; returns where they lie.

        `registry.versions.fetching.pull` is the checked way.
        """
        with explained(f"downloading {name}/{version}"):
            uri = self.client.get_model_version_download_uri(name, str(version))
            opened = self.run_log.connection
            with reading(opened, uri):
                found = opened.artifacts.download_artifacts(
                    artifact_uri=uri, dst_path=str(folder), tracking_uri=opened.tracking_uri
                )
        return Path(found)

    def serving_digests(self, version: EncoderVersion) -> dict[str, str]:
        """sha256 of each of the version's `SERVING_FILES`; empty for one that was registered without them.

        Raises:
            RegistryError: the registry does not answer, or the tag that holds them was edited.
        """
        with explained(f"reading {version.reference}"):
            text = self.client.get_model_version(version.name, str(version.version)).tags.get(SERVING, "{}")
        try:
            found = {str(name): str(digest) for name, digest in parse_json(text).items()}
        except (ValueError, AttributeError):
            found = {"": ""}
        if not found.keys() <= set(SERVING_FILES):
            raise RegistryError(f"{version.reference}: its tag {SERVING} was edited; register the encoder again")
        return found

    # inside

    def _ensure_model(self, name: str, card: Card) -> None:
        """Create the registered model; one that is there must be of this project."""
        self_made = {f"{PREFIX}kind": "encoder", CARD_KIND: card.kind}
        title = card.describe().title
        text = f"{title}: `@champion` is the version to use, `@candidate` the newest."
        try:
            tags = self.client.get_registered_model(name).tags
        except import_mlflow().MlflowException as error:
            if not is_missing(error):
                raise
            self.client.create_registered_model(name, self_made, text)
            return
        if f"{PREFIX}kind" not in tags:
            raise RegistryError(f"registered model '{name}' exists and was not made by splatsweep; choose another name")

    def _not_found(self, name: str, what: str) -> RegistryError:
        versions = self.list(name)
        if versions:
            aliases = sorted(f"{alias} (version {v.version})" for v in versions for alias in v.aliases)
            numbers = ", ".join(str(v.version) for v in versions)
            known = f"its aliases are {', '.join(aliases)}" if aliases else "it has no aliases"
            return RegistryError(f"{name} has no {what}; {known}, its versions {numbers}{_why_no_champion(versions)}")
        names = sorted({v.name for v in self.list()})
        there = f"there are {', '.join(names)}" if names else "none are registered: run a study first (make sweep)"
        return RegistryError(f"no registered encoder '{name}' at {self.run_log.tracking_uri}; {there}")


def _why_no_champion(versions: Sequence[EncoderVersion]) -> str:
    """What the gate said of the newest candidate, and how to have it all the same; empty where it said nothing."""
    kept = [version for version in versions if version.status == "candidate" and version.decision is not None]
    if not kept or any(CHAMPION in version.aliases for version in versions):
        return ""
    last = kept[-1]
    reason = last.decision.reason if last.decision is not None else ""
    return f". Nobody is champion: version {last.version} was {reason}. Take it all the same as {last.reference}"


_DIGITS = 10
"""no width of features has as many"""


def bundle_digest(folder: Path) -> str:
    """16 hex digits over weights and card. Not the program: two exports have different bytes."""
    both = file_sha256(folder / "encoder.safetensors") + file_sha256(folder / "encoder.json")
    return hashlib.sha256(both.encode()).hexdigest()[:16]


def content_tags(folder: Path, card: Card) -> dict[str, str]:
    """What a version's tags say of the bundle in a folder and of its card."""
    checksums = file_sha256(folder / "checksums.json")
    return {f"{PREFIX}digest": bundle_digest(folder), f"{PREFIX}checksums": checksums, **card_tags(card)}


def set_version_tags(client: Client, name: str, version: int, tags: Mapping[str, str]) -> None:
    """Set tags of a version, in their order. Raises RegistryError."""
    with explained(f"tagging version {version} of {name!r}"):
        for key, value in tags.items():
            write_again(client.set_model_version_tag, name, str(version), key, value)


def new_event(kind: EventKind, reason: str) -> Event:
    """An event of this moment."""
    return Event(kind=kind, time=datetime.now(UTC).isoformat(timespec="microseconds"), reason=reason)


def _number(text: str) -> int:
    """0 for what another client wrote there instead."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < _DIGITS else 0


def _read(version: Any, aliases: Mapping[str, str]) -> EncoderVersion:
    tags = dict(version.tags)
    return EncoderVersion(
        name=version.name,
        version=int(version.version),
        kind=kind_of(tags),
        feature_dim=_number(tags.get(f"{PREFIX}feature_dim", "")),
        bundle_digest=tags.get(f"{PREFIX}digest", ""),
        checksums=tags.get(f"{PREFIX}checksums", ""),
        lineage=Lineage.from_tags(tags),
        created=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC).isoformat(timespec="seconds"),
        aliases=tuple(sorted(alias for alias, number in aliases.items() if int(number) == int(version.version))),
        events=events_of(tags),
        evaluation=optional(EvaluationSummary, tags.get(f"{PREFIX}evaluation")),
        gain=optional(Gain, tags.get(f"{PREFIX}gain")),
        fine_tuning=tags.get(FINE_TUNING, ""),
        decision=optional(Decision, tags.get(f"{PREFIX}decision")),
        run_id=version.run_id or "",
        model_id=tags.get(f"{PREFIX}model_id", ""),
        receipt=receipt_of(tags),
    )
