"""Frozen configuration: unknown keys refused, one canonical JSON, one digest.

Every config in the project derives from `Config`. A choice among kinds is a closed union discriminated by
`kind: Literal[...]`; there is no registry of names. `override` is the one door for `--set key=value` and for search
spaces: dotted keys, validated against the model, with the nearest key named when one is unknown.
"""

import difflib
import hashlib
import json
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Self, TypeVar, Union, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from ssl_core.errors import ConfigError
from ssl_core.yaml_text import parse_yaml

C = TypeVar("C", bound="Config")
_SHOWN = 200
"""letters of a wrong value that a message repeats"""


class Config(BaseModel):
    """Base of all configurations."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces. Equal configs give equal text."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def digest(self) -> str:
        """`short_digest` of `to_json()`."""
        return short_digest(self.to_json())

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Inverse of `to_json`. Raises ConfigError naming each wrong key, ValueError for what is no JSON."""
        values = parse_json(text)
        if not isinstance(values, dict):
            raise ConfigError(f"{cls.__name__}: expected keys and values, got {type(values).__name__}")
        return validated(cls, values)


def short_digest(text: str) -> str:
    """First 16 hex digits of the sha256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def parse_json(text: str | bytes, *, strict: bool = False) -> Any:
    """JSON that others wrote. Raises ValueError for all that cannot be read, lists within lists without end too.

    Args:
        text: the document.
        strict: refuse what two readers may read differently: a key given twice, NaN and infinity.
    """
    try:
        if strict:
            return json.loads(text, object_pairs_hook=_each_once, parse_constant=_no_number)
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def validated(kind: type[C], values: Mapping[str, Any]) -> C:
    """Build `kind` from plain values; pydantic's complaints become one ConfigError naming the dotted keys."""
    if truths := sorted(set(_truths(kind, dict(values), ""))):
        raise ConfigError(f"{kind.__name__}: '{truths[0]}' needs a number, not true or false")
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(f"{kind.__name__}: {explain(error, kind)}") from None


def explain(error: ValidationError, kind: type[BaseModel]) -> str:
    """One line per wrong key: the dotted key, what is wrong, the nearest key where one is unknown."""
    lines = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            lines.append(f"unknown key '{key}'{nearest(key, dotted_keys(kind))}")
        else:
            given = repr(item.get("input"))
            shown = given if len(given) <= _SHOWN else f"{given[:_SHOWN]}…"
            lines.append(f"'{key or kind.__name__}': {item['msg']} (got {shown})")
    return "; ".join(lines)


def nearest(key: str, known: Iterator[str] | list[str]) -> str:
    """`, did you mean 'x'?` or the empty string."""
    found = difflib.get_close_matches(str(key), list(known), n=1, cutoff=0.5)
    return f", did you mean '{found[0]}'?" if found else ""


def _truths(annotation: Any, value: Any, key: str) -> Iterator[str]:
    """Keys with true or false where a number is wanted; pydantic would take them for 1 and 0."""
    if isinstance(value, bool):
        kinds = list(_leaves(annotation))
        if {int, float}.intersection(kinds) and not {bool, Any}.intersection(kinds):
            yield key
    elif isinstance(value, Mapping):
        for model in _models_of(annotation):
            for name, field in model.model_fields.items():
                if name in value:
                    yield from _truths(field.annotation, value[name], f"{key}.{name}".lstrip("."))
    elif isinstance(value, (list, tuple)):
        for inner in (part for kind in _leaves(annotation) for part in get_args(kind) if part is not ...):
            for number, item in enumerate(value):
                yield from _truths(inner, item, f"{key}.{number}")


def _leaves(annotation: Any) -> Iterator[Any]:
    """What an annotation may be, through Optional, Union and Annotated."""
    if get_origin(annotation) is Annotated:
        yield from _leaves(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _leaves(part)
    else:
        yield annotation


def dotted_keys(kind: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """All settable dotted keys of a config class, through nested configs and every member of a union."""
    seen = set()
    for name, field in kind.model_fields.items():
        key = f"{prefix}{name}"
        if key not in seen:
            seen.add(key)
            yield key
        for model in _models_of(field.annotation):
            for inner in dotted_keys(model, f"{key}."):
                if inner not in seen:
                    seen.add(inner)
                    yield inner


def fields_along(kind: type[BaseModel], key: str) -> Iterator[FieldInfo]:
    """The fields on the way to a dotted key, the key's own last; of a union, those of every member that has it."""
    models = [kind]
    for part in key.split("."):
        fields = [model.model_fields[part] for model in models if part in model.model_fields]
        yield from fields
        models = [model for field in fields for model in _models_of(field.annotation)]


def _models_of(annotation: Any) -> list[type[BaseModel]]:
    """Config classes an annotation may hold (through Optional, Union and Annotated, not through containers)."""
    return [leaf for leaf in _leaves(annotation) if isinstance(leaf, type) and issubclass(leaf, BaseModel)]


def override(config: C, values: Mapping[str, Any]) -> C:
    """A copy of `config` with dotted keys replaced.

    Choosing another member of a union (`optimizer.kind=sgd`) keeps the fields that both members share and that were
    set to something else than the old member's default, and takes the new member's defaults for the rest, whatever the
    order of the keys. Raises ConfigError for an unknown key.
    """
    kind = type(config)
    _check_keys(kind, values)
    tree = _tree(config)
    for key, value in sorted(values.items(), key=lambda item: (not item[0].endswith("kind"), item[0])):
        parts = key.split(".")
        node: Any = tree
        model = cast(type[BaseModel], kind)
        for part in parts[:-1]:
            node = node.get(part)
            if not isinstance(node, dict):
                raise ConfigError(f"'{key}': '{part}' is {node!r} here and holds no such key; set '{part}' as a whole")
            models = _models_of(model.model_fields[part].annotation)
            if parts[-1] == "kind" and part == parts[-2]:
                _switch_kind(node, value, models)
            model = _member(models, node) or models[0]
        node[parts[-1]] = value
    return validated(kind, tree)


def _tree(config: BaseModel) -> dict[str, Any]:
    """Every field as plain values, those too that the text leaves out while they are unset."""
    return {name: _tree(value) if isinstance(value, BaseModel) else value for name, value in config}


def _check_keys(kind: type[Config], values: Mapping[str, Any]) -> None:
    """Raises ConfigError for a key that is unknown, or lies within another one that is given too."""
    known = list(dotted_keys(kind))
    for key in values:
        if key not in known:
            raise ConfigError(f"unknown key '{key}' for {kind.__name__}{nearest(key, known)}")
        if (outer := within(key, values)) is not None:
            raise ConfigError(f"'{key}' lies within '{outer}', and both are given; put it into '{outer}', or drop one")


def within(key: str, keys: Iterable[str]) -> str | None:
    """The one of `keys` whose value holds that of `key`: `loss` for `loss.beta`."""
    return next((other for other in keys if key.startswith(f"{other}.")), None)


def _member(models: list[type[BaseModel]], node: Mapping[str, Any]) -> Any:
    """The union member whose `kind` literal matches the node."""
    for model in models:
        field = model.model_fields.get("kind")
        if field is not None and node.get("kind") in get_args(field.annotation):
            return model
    return None


def _switch_kind(node: dict[str, Any], kind: Any, models: list[type[BaseModel]]) -> None:
    target = _member(models, {"kind": kind})
    if target is None:
        fields = [model.model_fields["kind"] for model in models if "kind" in model.model_fields]
        choices = sorted(str(choice) for field in fields for choice in get_args(field.annotation))
        raise ConfigError(f"unknown kind '{kind}'; choose one of {', '.join(choices)}")
    before = _member(models, node)
    for name in list(node):
        mine = None if before is None else before.model_fields.get(name)
        unset = mine is not None and name != "kind" and not mine.is_required() and node[name] == _default(mine)
        if name not in target.model_fields or unset:
            del node[name]


def _default(field: FieldInfo) -> Any:
    value = field.get_default(call_default_factory=True)
    return _tree(value) if isinstance(value, BaseModel) else value


def parse_assignment(text: str) -> tuple[str, Any]:
    """`key=value` with the value read as YAML: numbers, booleans, lists and strings look as in a space file.

    Raises ConfigError: no assignment, or a value that is no YAML; names the key.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"'{text}' is not an assignment; write key=value, for example training.epochs=20")
    try:
        return key.strip(), parse_yaml(value)
    except ConfigError as error:
        raise ConfigError(f"the value of '{key.strip()}' cannot be read: {error}") from None
