"""The command line as a person uses it: in a folder, with a home of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

COMMAND = [str(Path(sys.executable).with_name("splatsweep"))]

SEVERAL = """
import io, json, sys
from contextlib import redirect_stdout
from study.commands.cli import main
for words in json.loads(sys.stdin.readline()):
    sys.argv, told = ["splatsweep", *words], io.StringIO()
    try:
        with redirect_stdout(told):
            main()
    except SystemExit as left:
        assert not left.code, (words, left.code)
    print(json.dumps(told.getvalue()))
"""


class Journey:
    """A home folder and the commands run in it.

    Args:
        folder: where commands run; the home lies below it.
        tree: with our packages, if not this checkout.
        home: the home's name.
    """

    def __init__(self, folder: Path, tree: Path | None = None, home: str = "runs") -> None:
        self.folder = folder
        self.environment = {**os.environ, "SPLATSWEEP_HOME": str(folder / home), "COLUMNS": "200"}
        for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
            self.environment.pop(name, None)
        if tree is not None:
            self.environment["PYTHONPATH"] = str(tree)
            self.environment.pop("PYTHONDONTWRITEBYTECODE", None)  # compiled once for all commands

    @property
    def home(self) -> Path:
        return Path(self.environment["SPLATSWEEP_HOME"])

    def run(self, *words: object, code: int = 0) -> str:
        done = subprocess.run(
            [*COMMAND, *map(str, words)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout if code == 0 else done.stderr

    def several(self, *commands: tuple[object, ...]) -> list[str]:
        """What each command prints; one after the other in one process, as starting one takes seconds."""
        given = json.dumps([list(map(str, words)) for words in commands])
        done = subprocess.run(
            [sys.executable, "-c", SEVERAL],
            cwd=self.folder, env=self.environment, input=given, capture_output=True, text=True, timeout=900,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def sweep(self, *words: object, code: int = 0) -> str:
        return self.run("sweep", "space.yaml", "--pack", "pack", "--name", "small", *words, code=code)
