"""What every reader of files owes: content that is damaged is refused in one line that names the file, or read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssl_core.errors import SplatsweepError


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """The content with a few bytes changed, cut out, doubled or cut off."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 6))):
        at, length = int(rng.integers(0, len(data) + 1)), int(rng.integers(1, 9))
        match int(rng.integers(0, 4)):
            case 0:
                data[at : at + length] = rng.bytes(min(length, len(data) - at))
            case 1:
                del data[at : at + length]
            case 2:
                data[at:at] = data[at : at + length]
            case _:
                data[at : at + 1] = rng.choice(list(b"0123456789- \n/,.enaif")).astype("u1").tobytes()
    return bytes(data[: int(rng.integers(0, len(data) + 1))] if rng.random() < 0.2 else data)


def found_damaged(path: Path, read: Callable[[Path], Any], error: type[SplatsweepError], seed: int) -> list[Any]:
    """What `read` finds in 120 damaged versions of a file. Anything but `error`, in one line about the file, fails."""
    whole, rng, found, refusals = path.read_bytes(), np.random.default_rng(seed), [], []
    for _ in range(120):
        path.write_bytes(damaged(whole, rng))
        try:
            found.append(read(path))
        except error as refusal:
            refusals.append(str(refusal))
    assert refusals
    assert all(refusal.startswith(f"{path}: ") and refusal.isprintable() for refusal in refusals)
    return found


def check_refusal(path: Path, content: bytes, read: Callable[[Path], Any], error: type[SplatsweepError], said: str):
    """Such content is refused in one line that names the file and says so."""
    path.write_bytes(content)
    with pytest.raises(error) as caught:
        read(path)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
