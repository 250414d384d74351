"""Files of weights that others wrote: read as data, never run, and checked before anything is built from them.

`.safetensors` files, and what `torch.load` reads with `weights_only=True`: tensors, numbers, texts and containers of
these, among them the command line of a training script. A file that holds more than that is refused, whatever it is.
"""

import argparse
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ssl_core.errors import ConfigError

_POINTER = b"version https://git-lfs"
_WRAPPED = ("_orig_mod.", "module.", "_orig_mod.")
"""What torch.compile and DataParallel put before every name, one around the other either way."""


def read_weights_file(file: Path) -> dict[str, Any]:
    """The dictionary that the file holds, its tensors on the CPU.

    Raises ConfigError: no such file, a Git LFS pointer in place of it, damaged, or holding more than plain values.
    """
    if not file.is_file():
        raise ConfigError(f"{file}: no such file; give a local file of weights (.pth, .pt or .safetensors)")
    try:
        with file.open("rb") as stream:
            if stream.read(len(_POINTER)) == _POINTER:
                raise ConfigError(f"{file}: a Git LFS pointer, not the weights; run `git lfs pull` where it came from")
        if file.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(file))
        # training scripts (timm's, torchvision's) keep their arguments: a class that has attributes and does nothing
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except (safetensors.SafetensorError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise ConfigError(
            f"{file}: cannot be read ({_first_line(error)}); expected .safetensors or what torch.save writes"
        ) from None
    except ConfigError:
        raise
    except Exception as error:  # pickle.UnpicklingError: weights_only refused what the file holds
        raise ConfigError(
            f"{file}: refused, it holds more than tensors and plain values ({_first_line(error)}); "
            "save the state dict alone"
        ) from None
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ConfigError(f"{file}: expected a dictionary by name, found {type(content).__name__}; save a state dict")
    return content


def is_state_dict(value: Any) -> bool:
    """Whether it is name -> tensor, with at least one."""
    return isinstance(value, Mapping) and bool(value) and all(isinstance(item, Tensor) for item in value.values())


def clean_state(value: Any, what: str) -> dict[str, Tensor]:
    """A state dict whose tensors can be trusted as numbers: dense, finite, floats as float32.

    The prefixes that DataParallel and torch.compile put before every name are taken off. `what` names the place in
    errors.

    Raises ConfigError: not name -> tensor, a tensor of another layout, or one that holds NaN or infinity.
    """
    if not is_state_dict(value):
        raise ConfigError(f"{what}: expected a state dict of name -> tensor; save model.state_dict() there")
    state: dict[str, Tensor] = dict(value)
    for prefix in _WRAPPED:
        if all(str(name).startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    clean = {}
    for name, tensor in state.items():
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_complex():
            raise ConfigError(f"{what}: '{name}' is not a dense tensor of real numbers; save the plain weights")
        if not tensor.is_floating_point():
            clean[name] = tensor
            continue
        # a slice of a larger tensor would drag the whole of it along
        clean[name] = tensor.detach().to(torch.float32).clone()
        if not torch.isfinite(clean[name]).all():
            raise ConfigError(f"{what}: '{name}' holds NaN or infinity; this training broke down, take an earlier file")
    return clean


def check_fits(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], what: str, remedy: str) -> None:
    """Every name of either side on the other, with the same shape.

    Raises ConfigError: naming the first few tensors that are missing, unknown or misshapen (theirs, then the
    expected).
    """
    missing, unknown = wanted.keys() - state.keys(), state.keys() - wanted.keys()
    misshapen = [
        f"{name} {list(state[name].shape)} for {list(wanted[name].shape)}"
        for name in wanted
        if name in state and state[name].shape != wanted[name].shape
    ]
    wrong = {"missing": sorted(missing), "unknown": sorted(unknown), "misshapen": misshapen}
    said = "; ".join(f"{kind}: {some(names)}" for kind, names in wrong.items() if names)
    if said:
        raise ConfigError(f"{what}: {said}; {remedy}")


def some(names: Iterable[str]) -> str:
    """The first three, and how many more."""
    listed = list(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")


def file_sha256(file: Path) -> str:
    """Hex digest of the file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
