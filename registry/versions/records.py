"""What the registry remembers of an encoder: where it came from, what happened to it, how it scored.

State derives from events: a version is the champion because the last thing that happened to it is a promotion.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError

from registry.versions.gain import Gain
from ssl_core.config import Config, parse_json
from ssl_core.errors import NewerVersionError, RegistryError
from ssl_core.models.cards import Card, CardKind

PREFIX = "splatsweep."
CARD_KIND, MODALITY = f"{PREFIX}card", f"{PREFIX}modality"
"""Tags that say what a version is: its card's kind; what older revisions wrote instead."""
FINE_TUNING = f"{PREFIX}fine_tuning"
"""Tag: what fine-tuning gave, in words."""
CANDIDATE, CHAMPION = "candidate", "champion"
EventKind = Literal["registered", "evaluated", "refused", "promoted", "demoted"]
Status = Literal["registered", "evaluated", "candidate", "refused", "champion", "former champion"]
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Lineage(Config):
    """Where an encoder came from: enough to make it again. Digests are the configs' `digest()`."""

    study: str
    trial: int
    run_id: str
    """the trial's MLflow run"""
    seed: int
    recipe: str = ""
    config_digest: str = ""
    space_digest: str = ""
    pack_digest: str = ""
    code_revision: str = ""
    environment_digest: str = ""
    """`registry.versions.environment.Environment.digest()` of the process that ran the study"""
    source: str = ""
    """what it was made of where no study trained it: `imported pointnet_cls weights`"""
    supervision: str = ""
    """whose labels it learnt from all the same: `an ImageNet-supervised teacher`"""

    @property
    def origin(self) -> str:
        """For sentences: `study household, trial 4`, or what was imported."""
        return f"study {self.study}, trial {self.trial}" if self.study or not self.source else self.source

    @property
    def from_trial(self) -> bool:
        """Whether a trial of a study made it."""
        return bool(self.study) and self.trial >= 0

    def tags(self) -> dict[str, str]:
        """As version tags `splatsweep.<field>`."""
        return {PREFIX + name: str(value) for name, value in self.model_dump().items() if value != ""}

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> "Lineage":
        """Inverse of `tags`; other tags are passed over."""
        known = {name: tags[PREFIX + name] for name in cls.model_fields if PREFIX + name in tags}
        unknown = {"study": "", "trial": -1, "run_id": "", "seed": 0}
        try:
            return cls.model_validate({**unknown, **known})
        except ValidationError:  # written by another client
            return cls.model_validate(unknown)


class Event(Config):
    """One thing that happened to a version. Never edited, never removed."""

    kind: EventKind
    time: str
    """UTC, ISO 8601"""
    reason: str = Field(min_length=1)


class Decision(Config):
    """The gate's answer; the reason is for people, the numbers are what it rests on."""

    promoted: bool
    reason: str = Field(min_length=1)
    numbers: dict[str, float] = Field(default_factory=dict)
    incumbent: int | None = None
    """version of the champion it was compared with"""
    entry: int | None = None
    """its line in the model's ledger"""
    kept: bool = False
    """sound, but not shown to be better than its baseline, where there was no champion: it stays a candidate"""


class EvaluationSummary(Config):
    """The part of a report that stands on the version: which protocol on which pack, and the headline."""

    run_id: str
    pack_digest: str
    config_digest: str
    headline: str
    """for people, for example `72.0 ± 1.8 % (twin 66.8 ± 1.6, +5.2 ± 1.4)`"""


class EncoderVersion(Config):
    """One registered encoder."""

    name: str
    version: int
    kind: str
    """of its card (`ssl_core.models.cards`); of a newer installation it may be one that is not known here; empty: the
    client that registered it did not say"""
    feature_dim: int
    """channels of its output"""
    bundle_digest: str
    """of weights and card: `registry.versions.store.bundle_digest`"""
    checksums: str = ""
    """sha256 of checksums.json, which holds those of the other files"""
    lineage: Lineage
    created: str
    aliases: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    evaluation: EvaluationSummary | None = None
    fine_tuning: str = ""
    """what fine-tuning gave, for people; empty before it was measured"""
    decision: Decision | None = None
    run_id: str = ""
    """MLflow run it was registered from"""
    model_id: str = ""
    """MLflow's logged model, which holds the files"""
    receipt: dict[str, float] | None = None
    """what the trial it came from cost: slot-seconds `useful`, `stopped`, `failed`, `overhead`, and GPUs per slot"""
    gain: Gain | None = None
    """of its last evaluation; None where there is no baseline, or an older revision evaluated it"""

    @property
    def reference(self) -> str:
        """`name/version`, as `pull` and `resolve` take it."""
        return f"{self.name}/{self.version}"

    @property
    def found(self) -> str:
        """What its evaluations found, for people."""
        headline = "not evaluated" if self.evaluation is None else self.evaluation.headline
        return f"{headline}; {self.fine_tuning}" if self.fine_tuning else headline

    def check_known(self) -> None:
        """Raises NewerVersionError where the card is of a kind that a newer installation wrote."""
        if self.kind and self.kind not in get_args(CardKind):
            raise NewerVersionError(
                f"{self.reference} is of a newer version: a '{self.kind[:80]}', which this installation does not know; "
                "upgrade splatsweep"
            )

    @property
    def status(self) -> Status:
        """What the events say: the last promotion or demotion, else a refusal, which later evaluations (fine-tuning) do
        not undo, else the last event. Whom the gate turned away before there was a champion stays a candidate."""
        kinds = [event.kind for event in self.events]
        promotions = [kind for kind in kinds if kind in ("promoted", "demoted")]
        refused = [kind for kind in kinds if kind == "refused"]
        telling = promotions or refused or kinds
        match telling[-1] if telling else "registered":
            case "promoted":
                return "champion"
            case "demoted":
                return "former champion"
            case "refused" if self.decision is not None and self.decision.kept:
                return "candidate"
            case kind:
                return kind


def card_tags(card: Card) -> dict[str, str]:
    """What a version's tags say of its card."""
    return {CARD_KIND: card.kind, f"{PREFIX}feature_dim": str(card.output_shape[0])}


def kind_of(tags: Mapping[str, str]) -> str:
    """Inverse of `card_tags`; `points` and `image` of older revisions are encoders. Nothing is guessed: what is not
    said is empty."""
    match tags.get(CARD_KIND), tags.get(MODALITY, ""):
        case None, "points":
            return "point_encoder"
        case None, "image":
            return "image_encoder"
        case None, other:
            return other
        case kind, _:
            return kind


def is_safe_name(name: str) -> bool:
    """Whether `safe_name` takes it."""
    return _SAFE_NAME.fullmatch(name) is not None


def safe_name(name: str) -> str:
    """The name itself, if it can serve as a registered model and as a folder.

    Raises:
        RegistryError: it holds a slash, a control character, or begins with a dot, and so on.
    """
    if not is_safe_name(name):
        raise RegistryError(
            f"{name!r} is not a usable model name; take letters, digits, '.', '_' and '-', "
            "beginning with a letter or digit, at most 100 characters"
        )
    return name


def parse_reference(text: str) -> tuple[str, str | int]:
    """`NAME@ALIAS` → (name, alias); `NAME/VERSION` → (name, version). `models:/` in front is allowed.

    Raises:
        RegistryError: neither form, or an unsafe name.
    """
    body = text.removeprefix("models:/")
    name, at, alias = body.partition("@")
    if at and _SAFE_NAME.fullmatch(alias):
        return safe_name(name), alias
    name, slash, version = body.partition("/")
    if slash and re.fullmatch(r"[1-9][0-9]{0,8}", version):
        return safe_name(name), int(version)
    raise RegistryError(f"{text!r} names no encoder; write NAME@ALIAS (cross-modal-points@champion) or NAME/VERSION")


def event_tag(event: Event) -> dict[str, str]:
    """The tag that appends an event: one tag per event, keyed by its time, so nothing is ever rewritten."""
    # MLflow takes no plus sign in a name, so the zone is left out of the key
    return {f"{PREFIX}event.{event.time.partition('+')[0]}": event.to_json()}


def events_of(tags: Mapping[str, str]) -> tuple[Event, ...]:
    """All events among the tags, oldest first."""
    keys = sorted(key for key in tags if key.startswith(f"{PREFIX}event."))
    found = (optional(Event, tags[key]) for key in keys)
    return tuple(event for event in found if event is not None)


def receipt_tag(receipt: Mapping[str, float] | None) -> dict[str, str]:
    """The tag that holds what a version cost."""
    return {} if receipt is None else {f"{PREFIX}receipt": json.dumps(dict(receipt), sort_keys=True)}


def receipt_of(tags: Mapping[str, str]) -> dict[str, float] | None:
    """Inverse of `receipt_tag`; None where the tag is missing or was edited into something else."""
    try:
        return {str(name): float(value) for name, value in parse_json(tags[f"{PREFIX}receipt"], strict=True).items()}
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError):
        return None


def printable(text: str) -> str:
    """Control characters, and bytes that were no text, as question marks: no terminal and no database minds them."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def optional(kind: type[Any], text: str | None) -> Any:
    """A record from a tag's JSON; None where the tag is missing or was edited by hand into something else."""
    try:
        return kind.model_validate(parse_json(text)) if text else None
    except ValueError:
        return None
