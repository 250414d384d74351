"""Our four packages, whatever else has their names where Python looks for modules.

Names such as `study` and `registry` are what a user's own file or folder may be called, and a working directory,
PYTHONPATH and a user's site-packages come before an installed package. Importing this module imports the four, which
are empty, from where it lies: what they hold is found by them from then on. Ray's workers import it first of all
(`study/cluster/worker_imports.py`), and child processes are started through it: `python -P own_packages.py MODULE`.
"""

import importlib
import runpy
import sys
from pathlib import Path

PACKAGES = ("ssl_core", "search_spaces", "registry", "study")
ROOT = Path(__file__).resolve().parents[1]


def bind() -> None:
    """Import the packages from this module's folder.

    Raises:
        ImportError: another module of such a name was imported before; the text names its file.
    """
    sys.path.insert(0, str(ROOT))
    try:
        for name in PACKAGES:
            file = getattr(importlib.import_module(name), "__file__", None)
            if file is None or Path(file).resolve().parent != ROOT / name:
                raise ImportError(
                    f"'{name}' is {file or 'a folder without __init__.py'} here, imported before Splatsweep's own "
                    f"package of that name; start again and `import splatsweep` first, or rename yours"
                )
    finally:
        sys.path.remove(str(ROOT))


def module_command(module: str) -> list[str]:
    """The command that runs one of our modules in a child process, wherever that starts."""
    return [sys.executable, "-P", str(Path(__file__).resolve()), module]


bind()

if __name__ == "__main__":
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
