"""Ray's workers import our packages, whatever a working directory, PYTHONPATH or user's site-packages hold.

Ray puts the driver's working directory first on the path of its workers, when their first task comes. So a file
`study.py` there would be imported in place of ours. What was imported before stays: a Ray that we start imports our
packages as its workers start (they start ahead of trials, so this takes no time), one that we join has them do so in
the job's setup hook.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ssl_core.own_packages import ROOT

_MODULE = "ssl_core.own_packages"
PRELOAD = "RAY_preload_python_modules"


@contextmanager
def preloaded() -> Iterator[None]:
    """Within, a Ray that starts has its workers import our packages before they take work."""
    wanted = {PRELOAD: [os.environ.get(PRELOAD), _MODULE]}
    if (ROOT / "pyproject.toml").is_file():  # a checkout, which a notebook may have put on its own path alone
        wanted["PYTHONPATH"] = [os.environ.get("PYTHONPATH"), str(ROOT)]
    before = {name: os.environ.get(name) for name in wanted}
    for name, parts in wanted.items():
        os.environ[name] = ("," if name == PRELOAD else os.pathsep).join(filter(None, parts))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def joining_environment() -> dict[str, Any] | None:
    """The runtime environment of a driver that joins a cluster; None where its working directory is our checkout."""
    return None if Path.cwd() == ROOT else {"worker_process_setup_hook": _setup(str(ROOT), _MODULE)}


def _setup(root: str, module: str) -> Callable[[], None]:
    """A function that travels as its code: to be imported it would have to be found first."""

    def set_up() -> None:
        import importlib
        import os
        import sys

        here = os.path.isdir(os.path.join(root, "ssl_core"))  # noqa: PTH112, PTH118 - not what is imported at its top
        if here:
            sys.path.insert(0, root)
        try:
            importlib.import_module(module)
        except ImportError:
            pass  # a node without our code, or with an older revision: what is run there says so
        finally:
            if here:
                sys.path.remove(root)

    return set_up
