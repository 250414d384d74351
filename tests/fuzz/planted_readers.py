"""Readers with planted faults, to see that the fuzzer finds each kind. Run by it in place of `fuzz_child.py`."""

import os
import sys
from pathlib import Path
from typing import Any

import fuzz_child
import numpy as np
from fuzz_twins import WrongAnswerError

from ssl_core.errors import ConfigError, DataError


def _read(folder: Path) -> Any:
    content = (folder / "file.bin").read_bytes()
    match content[:1]:
        case b"a":
            return len(content)
        case b"b":
            raise DataError(f"{folder / 'file.bin'}: is not good; mend it")
        case b"c":
            raise IndexError("planted")
        case b"d":
            while True:
                pass
        case b"e":
            return np.ones(3 * 2**30, dtype=np.uint8)
        case b"f":
            raise DataError("something is wrong with something")
        case b"g":
            raise ConfigError(f"{folder / 'file.bin'}: another kind of error")
        case b"h":
            raise DataError(f"{folder / 'file.bin'}: \x1b[31m is printed")
        case b"i":
            os.kill(os.getpid(), 11)
        case b"j":
            return -1
    return None


def _check(folder: Path, found: Any) -> None:
    if found == -1:
        raise WrongAnswerError("planted")


def _cases() -> list[dict[str, bytes]]:
    return [{"file.bin": letter.encode() + b"x"} for letter in "abcdefghij"]


if __name__ == "__main__":
    fuzz_child.SECONDS = 0.3
    fuzz_child.TARGETS["planted"] = fuzz_child.Target(_cases, _read, _check, (DataError,))
    fuzz_child.main(int(sys.argv[1]), sys.argv[2:])
