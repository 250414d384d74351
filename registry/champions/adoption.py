"""A version that any client may have registered: looked at with suspicion, then made complete.

`check_listing` reads names and sizes before a byte is fetched, `examine` the files themselves: checksums, weights that
are numbers, a contract that is true (`ssl_core.models.bundle`). `adopt` adds what `EncoderStore.register` would have
written and the client left out.
"""

import json
import math
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from registry.champions.pending import PendingVersion, one_version
from registry.tracking.artifact_root import reading
from registry.tracking.connection import explained, is_gone, is_missing, write_again
from registry.tracking.names import KIND
from registry.versions.records import (
    CARD_KIND,
    MODALITY,
    PREFIX,
    EncoderVersion,
    event_tag,
    events_of,
    kind_of,
    safe_name,
)
from registry.versions.store import EncoderStore, content_tags, new_event, set_version_tags
from registry.versions.upload import BUNDLE_FILES
from ssl_core.config import parse_json
from ssl_core.errors import NewerVersionError, RegistryError, SplatsweepError
from ssl_core.files.unicode_names import nfc
from ssl_core.models.bundle import CARD, PICKLED, BundleCard, check_sound, read_card

CLASSES = f"{PREFIX}classes"
_VERDICTS = ("evaluation", "fine_tuning", "decision")
MOST_FILES, MOST_BYTES, MOST_DEPTH = 200, 8 * 2**30, 4
MOST_INPUTS = 2**24
"""Numbers in one input (points × columns, or pixels × 3): more is not an object."""


class UnfitError(RegistryError):
    """What was registered is no encoder that this project can evaluate; the text says why."""


def adopted(store: EncoderStore, found: PendingVersion) -> tuple[EncoderVersion, BundleCard]:
    """The version, complete, if it is an encoder at all: looked at from its names to its bytes, and adopted.

    Raises:
        UnfitError: it is none. RegistryError: the registry does not answer.
    """
    check_listing(store, found)
    with tempfile.TemporaryDirectory() as scratch:
        folder = store.download(found.name, found.version, Path(scratch))
        card = examine(folder, found)
        return adopt(store, found, folder, card), card


def completed(store: EncoderStore, version: EncoderVersion) -> EncoderVersion:
    """The version; one that another client registered and nobody has looked at is adopted first. Raises as that."""
    if version.bundle_digest and version.model_id:
        return version
    return adopted(store, one_version(store, version.name, version.version))[0]


def check_listing(store: EncoderStore, found: PendingVersion) -> None:
    """Judge a version by its name and the names and sizes of its files.

    Raises:
        UnfitError: the name or a file's is not safe, the bundle is incomplete, there is a pickle, or it is too much.
        RegistryError: the registry does not answer.
    """
    try:
        safe_name(found.name)
    except RegistryError as error:
        raise UnfitError(str(error)) from None
    files = dict(_listing(store, found))
    missing = [name for name in BUNDLE_FILES if name not in files]
    if len(missing) == len(BUNDLE_FILES):
        raise UnfitError(f"not an encoder: none of {', '.join(BUNDLE_FILES)} is among its {len(files)} files")
    if missing:
        raise UnfitError(f"incomplete: it lacks {', '.join(missing)}")
    pickles = sorted(name for name in files if name.lower().endswith(PICKLED))
    if pickles:
        raise UnfitError(f"it holds {pickles[0]!r}, a pickle by its name, which can run code; register it without")
    if sum(files.values()) > MOST_BYTES:
        size = sum(files.values()) / 2**30
        raise UnfitError(f"its files are {size:.1f} GiB; at most {MOST_BYTES / 2**30:g} are read")


def examine(folder: Path, found: PendingVersion) -> BundleCard:
    """Judge a downloaded bundle by its bytes; returns its card.

    Raises:
        UnfitError: a file was changed or is a pickle, weights do not fit or are not finite, or the contract, the card
        or the version's tags say what the encoder does not do. NewerVersionError: it is not for this installation.
    """
    try:
        card = read_card(folder)
        asked = math.prod(card.card.input_shape)
        if asked > MOST_INPUTS:  # before anything of that size is made
            raise UnfitError(f"its contract asks for {asked:,} numbers per object; at most {MOST_INPUTS:,} are given")
        check_sound(folder)
        _check_tags(folder, card, found.tags)
    except (UnfitError, NewerVersionError):  # what a newer installation registered is not for this one to refuse
        raise
    except SplatsweepError as error:  # all of it is about local files: to read them again says the same
        raise UnfitError(str(error).replace(f"{folder}/", "").replace(f"{folder}: ", "")) from None
    except Exception as error:  # whatever a malformed description leads to inside torch
        reason = " ".join(str(error).split())[:200]
        raise UnfitError(f"the encoder that {CARD} describes does not run ({type(error).__name__}: {reason})") from None
    return card


def declared_classes(card: BundleCard, tags: Mapping[str, str]) -> tuple[str, ...]:
    """Class names that the version says its data has (tag `splatsweep.classes` or the card), empty if it says nothing.

    A JSON list or names with commas between.
    """
    text = tags.get(CLASSES) or card.lineage.get("classes", "")
    try:
        names = parse_json(text) if text.lstrip().startswith("[") else text.split(",")
    except ValueError:
        names = text.split(",")
    return tuple(nfc(str(name).strip()) for name in names if str(name).strip())


def adopt(store: EncoderStore, found: PendingVersion, bundle: Path, card: BundleCard) -> EncoderVersion:
    """Add what the registering client left out: digests, contract facts, a run and a logged model to hang results on.

    What is there stays, but for verdicts that came along. Again: nothing. From here on changed bytes are noticed
    (`registry.versions.fetching.fetch`).

    Raises:
        UnfitError: it names a logged model that is not there.
        RegistryError: the registry does not answer.
    """
    tags, client, version = content_tags(bundle, card.card), store.client, str(found.version)
    _check_model_id(store, found)
    with explained(f"completing {found.reference}"):
        if KIND not in found.model_tags:
            write_again(client.set_registered_model_tag, found.name, KIND, "encoder")
            write_again(client.set_registered_model_tag, found.name, CARD_KIND, card.card.kind)
        run_id = found.tags.get(f"{PREFIX}run_id") or found.run_id or _run(store, found)
        tags[f"{PREFIX}run_id"] = run_id
        if f"{PREFIX}model_id" not in found.tags:
            tags[f"{PREFIX}model_id"] = found.model_id or _logged_model(store, found, card, run_id)
        if not events_of(found.tags):
            event = new_event("registered", "by another client")
            tags |= {**event_tag(event), f"{PREFIX}status": "registered"}
        for name in _VERDICTS if f"{PREFIX}digest" not in found.tags else ():
            if PREFIX + name in found.tags:  # of a report that may be anything: it is measured and judged here
                client.delete_model_version_tag(found.name, version, PREFIX + name)
    missing = {key: value for key, value in tags.items() if key not in found.tags}
    set_version_tags(client, found.name, found.version, missing)
    return store.get(found.name, found.version)


def _check_model_id(store: EncoderStore, found: PendingVersion) -> None:
    """Accuracies and the card go to the logged model that a version names: asked before hours are spent on them."""
    model_id = found.tags.get(f"{PREFIX}model_id") or found.model_id
    if not model_id:
        return
    try:
        with explained(f"reading the logged model of {found.reference}"):
            store.client.get_logged_model(model_id)
    except RegistryError as error:
        if is_gone(error):
            raise UnfitError(f"it names the logged model {model_id[:80]!r}, which is not there") from None
        raise


def _listing(store: EncoderStore, found: PendingVersion) -> Iterator[tuple[str, int]]:
    """(path below the version's folder, bytes) of every file."""
    opened, count = store.run_log.connection, 0
    try:
        with explained(f"listing the files of {found.reference}"):
            root = store.client.get_model_version_download_uri(found.name, str(found.version))
            with reading(store.run_log.connection, root):
                _refuse_links(root)
                folders: list[tuple[str, str]] = [(root, "")]
                while folders:
                    uri, below = folders.pop()
                    for item in opened.artifacts.list_artifacts(artifact_uri=uri, tracking_uri=opened.tracking_uri):
                        name = _plain(item.path)
                        path, count = f"{below}{name}", count + 1
                        if count > MOST_FILES or path.count("/") > MOST_DEPTH:
                            raise UnfitError(f"it has more than {MOST_FILES} files, or folders {MOST_DEPTH} deep")
                        if item.is_dir:
                            folders.append((f"{uri.rstrip('/')}/{name}", f"{path}/"))
                        else:
                            yield path, int(item.file_size or 0)
    except RegistryError as error:
        if is_gone(error):  # and will be however often it is asked
            what = "are not there" if is_missing(error) else "cannot be read"
            raise UnfitError(f"its files {what}: {error}") from None
        raise


def _refuse_links(root: str) -> None:
    """Refuse anything in a folder of this machine but files and folders.

    MLflow follows links and copies what they lead to: files of others, or a device without an end.
    """
    address = urlsplit(root)
    if address.scheme not in ("", "file"):
        return
    seen = 0
    for place, folders, files in os.walk(unquote(address.path) if address.scheme else root):
        for name in (*folders, *files):
            mode = os.lstat(f"{place}/{name}").st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise UnfitError(f"it holds {name!r}, which is a link or a device and no file; register a copy")
        seen += len(folders) + len(files)
        if seen > MOST_FILES:
            return  # the listing refuses it


def _plain(path: str) -> str:
    """The last part of a listed path, if the path is one that leads down."""
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or path.startswith("/") or "\\" in path or not path.isprintable():
        raise UnfitError(f"a file is called {path!r}, which is not a plain name")
    return parts[-1]


def _check_tags(folder: Path, card: BundleCard, tags: Mapping[str, str]) -> None:
    older = {CARD_KIND: kind_of(tags)} if MODALITY in tags else {}
    said = {**older, **tags}
    for name, value in content_tags(folder, card.card).items():
        if said.get(name, value) != value:
            raise UnfitError(f"its tag {name} says {said[name][:80]!r}, its files {value!r}")
    if f"{PREFIX}digest" in tags:
        return
    # nobody has looked at it yet, so what says that it was champion came along with it
    brought = [event.kind for event in events_of(tags) if event.kind in ("promoted", "demoted")]
    if brought:
        raise UnfitError(f"it brings along a verdict of its own ({brought[0]}); register it without a judge's tags")


def _run(store: EncoderStore, found: PendingVersion) -> str:
    """A run for a version that came without one; the same one again after an interruption."""
    tags = {KIND: "registered elsewhere", f"{PREFIX}encoder": found.reference}
    for run in store.run_log.find_runs(tags):
        return str(run.info.run_id)
    run_id = store.run_log.start_run(f"{found.name} v{found.version}, registered elsewhere", tags, {})
    store.run_log.finish(run_id, "FINISHED")
    return run_id


def _logged_model(store: EncoderStore, found: PendingVersion, card: BundleCard, run_id: str) -> str:
    """MLflow's page for parameters and accuracies; the files stay where the client put them."""
    model: Any = store.client.create_logged_model(
        store.run_log.connection.experiment_id,
        name=found.name,
        source_run_id=run_id,
        tags={KIND: "encoder", "mlflow.modelVersions": json.dumps([{"name": found.name, "version": found.version}])},
        params=dict(card.card.settings()),
        model_type="encoder",
    )
    store.client.finalize_logged_model(model.model_id, "READY")
    return str(model.model_id)
