"""Lists that say of which split the models of a set are, and perhaps by which of its pictures each is seen.

    images_list_<synset>_train.npy, ..._val.npy, ..._test.npy    with "From Image Collections to Point Clouds" (2020)
    <synset>_train.txt, train/<synset>.json, train.txt, ...      the split and perhaps the class are words of the path
    splits.json                                                  {"train": [...], "val": [...], "test": [...]}

A list is text (a name a line, `#` begins a comment), JSON, or .npy. A name is `<model>`, `<synset>/<model>`, or either
followed by `_<number>`: then that picture alone is the model's. Lists without a word for a split, as the released
`images_list_<synset>.npy`, are passed over, and so are those of classes that are not there.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal, cast, get_args

from ssl_core.errors import CameraError, DataError, LayoutError
from ssl_core.files.npy_texts import npy_length, npy_texts
from ssl_core.files.source import Source, read_bytes
from ssl_core.files.unicode_names import nfc
from ssl_core.packing.objects import Problem, summed
from ssl_core.scenes.checked_values import parse_json_bytes

ListedSplit = Literal["train", "val", "test"]
LIST_SUFFIXES = (".txt", ".json", ".npy")

_MAX_LIST = 2**26
_SYNSET = re.compile(r"[0-9]{8}")
_VIEW = re.compile(r"(.+)_([0-9]{1,4})")
_REMEDY = "write it as text, a name a line"


@dataclass
class Listed:
    """What the lists say of one model."""

    split: ListedSplit
    views: set[int] = field(default_factory=set)  # numbers of its pictures; none: all of them


Key = tuple[str, str]
"""Class and model."""


def is_list(path: str) -> bool:
    """Whether a file may be a list: of its ending, with a split's name among the words of its path, or splits.json."""
    return PurePosixPath(path).suffix.lower() in LIST_SUFFIXES and (
        _split_of(path) is not None or PurePosixPath(path).name == "splits.json"
    )


def read_lists(
    files: Mapping[str, Source], models: Mapping[str, frozenset[str]], root: str
) -> tuple[dict[Key, Listed], list[Problem]]:
    """What the lists say of each model, and what cannot be used.

    Args:
        files: the lists by relative path.
        models: class -> its models.
        root: where the lists are, for texts.

    Raises LayoutError: a list cannot be read.
    """
    of_model: dict[str, list[str]] = {}
    for class_name, names in models.items():
        for name in names:
            of_model.setdefault(name, []).append(class_name)
    found: dict[Key, Listed] = {}
    both: dict[Key, None] = {}
    missing: dict[str, None] = {}
    for split, named, entry in _entries(files, models):
        key, view = _resolve(entry, named, models, of_model)
        if key is None:
            missing[entry] = None
            continue
        listed = found.setdefault(key, Listed(split))
        if listed.split != split:
            both[key] = None
        listed.views |= set() if view is None else {view}
    places, reason = ["/".join(key) for key in both], "model in the lists of several splits; take it out of all but one"
    problems = summed(places, root, reason)
    everyone = {(class_name, name) for class_name, names in models.items() for name in names}
    unlisted = ["/".join(key) for key in sorted(everyone - found.keys())]
    problems += summed(unlisted, root, "model in no split list; add it to one")
    reason = "listed model without pictures, or of several classes (write <class>/<model>); fetch it or take it off"
    problems += summed([*missing], root, reason)
    return {key: listed for key, listed in found.items() if key not in both}, problems


def _entries(
    files: Mapping[str, Source], models: Mapping[str, frozenset[str]]
) -> Iterator[tuple[ListedSplit, str | None, str]]:
    """(split, class or None, name) of every line of every list of classes that are there."""
    for path, source in files.items():
        words = _words(path)
        named = next((word for word in words if word in models), None)
        if named is None and any(_SYNSET.fullmatch(word) for word in words):
            continue
        for split, names in _read(source, _split_of(path)).items():
            yield from ((split, named, nfc(name)) for name in names)


def _resolve(
    entry: str, class_name: str | None, models: Mapping[str, frozenset[str]], of_model: Mapping[str, list[str]]
) -> tuple[Key | None, int | None]:
    """Class and model that a name means, and the number of a picture; None for a name that means none or several."""
    folder, _, last = entry.rpartition("/")
    asked = folder.rpartition("/")[2] or class_name
    match = _VIEW.fullmatch(last)
    for name, view in ((last, None), *(((match[1], int(match[2])),) if match else ())):
        classes = of_model.get(name, []) if asked is None else [asked] if name in models.get(asked, ()) else []
        if len(classes) == 1:
            return (classes[0], name), view
    return None, None


def _words(path: str) -> list[str]:
    return re.split(r"[/_.-]", path.rpartition(".")[0])


def _split_of(path: str) -> ListedSplit | None:
    found = {word for word in _words(path) if word in get_args(ListedSplit)}
    return cast(ListedSplit, found.pop()) if len(found) == 1 else None


def _read(source: Source, split: ListedSplit | None) -> dict[ListedSplit, list[str]]:
    """The names of a list by split. Raises LayoutError."""
    try:
        content = read_bytes(source, _MAX_LIST)
        match PurePosixPath(source.name).suffix.lower():
            case ".npy":
                found: Any = _npy_names(content)
            case ".json":
                found = parse_json_bytes(content, str(source))
            case _:
                found = [line.partition("#")[0].strip() for line in content.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError:
        raise LayoutError(f"{source}: is no UTF-8 text; {_REMEDY}") from None
    except CameraError as error:  # the JSON reader's, which names the file
        raise LayoutError(str(error)) from None
    except DataError as error:
        text = str(error)
        raise LayoutError(text if str(source) in text else f"{source}: {text}") from None
    by_split: dict[Any, Any] = found if isinstance(found, dict) else {split: found}
    if not set(by_split) <= set(get_args(ListedSplit)) or not all(map(_are_names, by_split.values())):
        raise LayoutError(
            f"{source}: is no list of names, nor lists by split ('train', 'val', 'test'), as its own name has no split "
            f"or it holds something else; {_REMEDY}"
        )
    return {each: [name for name in names if name] for each, names in by_split.items()}


def _are_names(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _npy_names(content: bytes) -> list[str]:
    """The names of a released list, whose array of objects is not unpickled: of its texts those that end in a number.

    Raises DataError: not one such text for each entry of the array.
    """
    names, expected = [text for text in npy_texts(content) if _VIEW.fullmatch(text)], npy_length(content)
    if len(names) != expected:
        raise DataError(
            f"{len(names)} names '<model>_<number>' where the array has {expected} entries; nothing is unpickled here: "
            f"{_REMEDY}"
        )
    return names
