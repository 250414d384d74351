"""A registered encoder, ready to use: fetched, checked, built, with its preprocessing.

encoder = load("cross-modal-points@champion")        # from the registry
encoder = load("pulled")                             # from a folder, offline
features = encoder.encode_ply(["chair.ply", "lamp.ply"])
"""

import os
import tempfile
from pathlib import Path

import torch

from registry.tracking.run_log import open_run_log
from registry.versions.fetching import choose_bundle, fetch
from registry.versions.records import parse_reference
from registry.versions.store import EncoderStore
from ssl_core.encode.ready_encoder import LoadedModel
from ssl_core.errors import ConfigError, RegistryError
from ssl_core.models.bundle import load_bundle, read_card


def load(
    reference: str | Path,
    *,
    name: str | None = None,
    home: Path | None = None,
    tracking_uri: str | None = None,
    device: torch.device | str = "cpu",
) -> LoadedModel:
    """An encoder of the registry or of a folder, in evaluation mode on `device`.

    Args:
        reference: `NAME@ALIAS` or `NAME/VERSION`; anything else is a folder with a pulled encoder, or with several
            (each in a folder below it). A `Path` is always a folder.
        name: which of several in a folder: its folder's name, or the name it was registered under.
        home: of the embedded registry; `SPLATSWEEP_HOME`, or `runs`, when left out.
        tracking_uri: of an MLflow server; `MLFLOW_TRACKING_URI` when left out.
        device: where the encoder runs.

    Raises:
        RegistryError: no such encoder (the message says which there are), or it holds a pickle.
        IntegrityError: the bytes are not those that were registered.
        ConfigError: there is no such device here.
    """
    if not isinstance(reference, Path) and _is_reference(reference):
        if name is not None:
            raise RegistryError(f"{reference} names one encoder, and name={name!r} another; leave one of them out")
        home = home or Path(os.environ.get("SPLATSWEEP_HOME") or "runs").absolute()
        address = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        with open_run_log(address, home, reading=True) as log, tempfile.TemporaryDirectory() as scratch:
            store = EncoderStore(log)
            version = store.resolve(reference)
            return _loaded(fetch(store, version, Path(scratch)), device, version.reference)
    folder = choose_bundle(Path(reference), name)
    return _loaded(folder, device, str(folder))


def _loaded(bundle: Path, device: torch.device | str, called: str) -> LoadedModel:
    module = load_bundle(bundle)
    try:
        module.to(device)
    except (RuntimeError, AssertionError) as error:  # no driver, no such card, no such word, no memory
        reason = " ".join(str(error).split())[:160]
        raise ConfigError(f"device '{device}' cannot be used ({reason}); take device='cpu'") from None
    return LoadedModel(module, read_card(bundle), called)


def _is_reference(text: str) -> bool:
    try:
        parse_reference(text)
    except RegistryError:
        # a folder may have any name, but what cannot be one was meant as a reference
        if "@" in text and not os.path.exists(text):  # noqa: PTH110 - Path.exists raises for a name too long
            raise
        return False
    return True
