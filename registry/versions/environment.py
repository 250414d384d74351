"""What an encoder was made with: interpreter, processor and the libraries that its numbers come from.

The same config, seed, data and code give the same bits only where these are the same too. A study puts those of the
process that starts it on its runs as tags (`facts`); their digest stands in the lineage of each encoder.
"""

import hashlib
import platform
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ssl_core.config import Config

LIBRARIES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn")
"""Those that compute. The lock's digest stands for all others."""


class Environment(Config):
    """Enough to say why two trainings of one config differ, and to build the first one's environment again."""

    python: str
    system: str
    """kernel and machine, for example `Linux x86_64`"""
    processor: str = ""
    """its model, as the system names it"""
    instructions: str = ""
    """the widest that torch computes with, for example `AVX512`"""
    libraries: dict[str, str]
    """version by name, build included (`2.10.0+cu128`)"""
    lock_digest: str = ""
    """16 hex digits of the sha256 of requirements.lock; empty without a checkout"""


@lru_cache(maxsize=1)
def environment_here() -> Environment:
    """This process's."""
    import torch

    return Environment(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        processor=_processor(),
        instructions=str(torch.backends.cpu.get_cpu_capability()),
        libraries={name: found for name in LIBRARIES if (found := _version(name))},
        lock_digest=_digest(Path(__file__).resolve().parents[2] / "requirements.lock"),
    )


def facts(threads: int) -> dict[str, str]:
    """For a study's runs: the environment, its digest, and the CPU threads of each trial."""
    here = environment_here()
    return {"environment": here.to_json(), "environment_digest": here.digest(), "threads": str(threads)}


def differences(then: Environment, now: Environment) -> tuple[str, ...]:
    """What is another now, one text each: `torch 2.9.0, now 2.10.0`. Empty: the same bits are to be expected."""
    libraries = sorted(then.libraries.keys() | now.libraries.keys())
    found = [(name, then.libraries.get(name, ""), now.libraries.get(name, "")) for name in libraries]
    others = ("python", "system", "processor", "instructions")
    found += [(name, getattr(then, name), getattr(now, name)) for name in others]
    found.append(("requirements.lock", then.lock_digest, now.lock_digest))
    return tuple(f"{name} {old or 'none'}, now {new or 'none'}" for name, old, new in found if old != new)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    except OSError:
        return ""
