"""The project installed beside this environment's libraries, and folders whose files have the names of our packages."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_BUILD = "import sys; from setuptools.build_meta import build_editable; print(build_editable(sys.argv[1]))"
_SCRIPT = "#!{python}\nimport sys\nfrom {module} import {name}\nif __name__ == '__main__':\n    sys.exit({name}())\n"


def installed(folder: Path) -> Path:
    """`bin` of a virtual environment with this checkout, as `pip install --editable .` puts it, and our libraries.

    Users' site-packages count in it, as in a Python without one.
    """
    venv.create(folder / ".venv", system_site_packages=True, symlinks=True)
    binaries = folder / ".venv/bin"
    packages = folder / f".venv/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    (packages / "libraries.pth").write_text(f"import sys; sys.path.append({sysconfig.get_paths()['purelib']!r})\n")
    done = subprocess.run(
        [sys.executable, "-c", _BUILD, str(folder)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(folder / done.stdout.split()[-1]) as wheel:
        wheel.extractall(packages)
    entries = ConfigParser()
    entries.read(next(packages.glob("splatsweep-*.dist-info/entry_points.txt")))
    module, _, name = entries["console_scripts"]["splatsweep"].partition(":")
    script = binaries / "splatsweep"
    script.write_text(_SCRIPT.format(python=binaries / "python", module=module, name=name))
    script.chmod(0o755)
    return binaries


def shadows(folder: Path, marks: Path) -> Path:
    """A user's own study.py, registry/ and search_spaces/; each leaves a line in `marks` when it is run."""
    text = f"open({str(marks)!r}, 'a').write(__file__ + '\\n')\nraise SystemExit('run by mistake: ' + __file__)\n"
    for name in ("study.py", "registry/__init__.py", "search_spaces/__init__.py"):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def environment(home: Path, **given: str) -> dict[str, str]:
    """Of a person who starts the installed program: nothing that leads to this checkout."""
    left = ("PYTHONPATH", "VIRTUAL_ENV", "MLFLOW_TRACKING_URI", "RAY_ADDRESS")
    kept = {name: value for name, value in os.environ.items() if name not in left}
    return {**kept, "SPLATSWEEP_HOME": str(home), "COLUMNS": "200", **given}
