"""Cameras of pictures by an installed COLMAP (Schönberger and Frahm 2016), in the steps of INRIA's convert.py.

<out>/input/           the pictures
<out>/distorted/       COLMAP's database and its models as found; colmap.log
<out>/images/          the pictures without their lens's distortion
<out>/sparse/0/        cameras of these: a scene that `read_scene` reads
"""

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ssl_core.errors import CameraError, LayoutError, MissingDependencyError
from ssl_core.files.image_files import SUFFIXES
from ssl_core.files.whole import storage_errors

Matcher = Literal["exhaustive", "sequential"]
Say = Callable[[str], None]

INSTALL = (
    "install it: `apt install colmap`, `brew install colmap` or `conda install -c conda-forge colmap`, or see "
    "https://colmap.github.io/install.html; or name it with --colmap"
)
_SHOWN = 300
_GPU_OPTION = re.compile(r"--(Sift|Feature)(Extraction|Matching)\.use_gpu")


@dataclass(frozen=True)
class Reconstruction:
    """What is asked of COLMAP."""

    images: Path
    out: Path
    camera_model: str = "OPENCV"
    matcher: Matcher = "exhaustive"
    colmap: str = "colmap"


def reconstruct_cameras(asked: Reconstruction, say: Say = lambda text: None) -> Path:
    """Find the cameras of a folder of pictures taken by one camera, and write a scene. A finished one is left as it is.

    Args:
        asked: pictures, place and settings.
        say: told each step as it begins.

    Returns:
        The scene, `asked.out`.

    Raises:
        MissingDependencyError: COLMAP is not installed; says how to install it.
        LayoutError: there are fewer than two pictures, or `out` holds something else.
        CameraError: a step fails, or no two pictures could be registered; shows COLMAP's last words.
        StorageError: the disk is full or not writable.
    """
    program = shutil.which(asked.colmap)
    if program is None:
        raise MissingDependencyError(f"COLMAP ({asked.colmap}) is not installed; {INSTALL}")
    out = asked.out
    if (out / "sparse/0/cameras.bin").is_file():
        return out
    if out.exists() and any(entry.name not in ("input", "distorted") for entry in out.iterdir()):
        raise LayoutError(f"{out}: exists and is no unfinished reconstruction; choose another --out")
    with storage_errors(out):
        _copy_pictures(asked.images, out / "input")
        shutil.rmtree(out / "distorted", ignore_errors=True)  # half a database is no database
        (out / "distorted/sparse").mkdir(parents=True)
    run = _Colmap(program, out / "distorted/colmap.log", say)
    database, pictures = str(out / "distorted/database.db"), str(out / "input")
    run("feature_extractor", "--database_path", database, "--image_path", pictures,
        "--ImageReader.single_camera", "1", "--ImageReader.camera_model", asked.camera_model,
        *run.device_option("feature_extractor"))  # fmt: skip
    matcher = f"{asked.matcher}_matcher"
    run(matcher, "--database_path", database, *run.device_option(matcher))
    run("mapper", "--database_path", database, "--image_path", pictures, "--output_path", str(out / "distorted/sparse"))
    run("image_undistorter", "--image_path", pictures, "--input_path", str(_largest(out, run)),
        "--output_path", str(out / "distorted/pinhole"), "--output_type", "COLMAP")  # fmt: skip
    with storage_errors(out):
        (out / "sparse").mkdir(exist_ok=True)
        pinhole = out / "distorted/pinhole"
        shutil.move(pinhole / "images", out / "images")
        shutil.move(pinhole / "sparse", out / "sparse/0")  # last: what has it is whole
        shutil.rmtree(pinhole)
    return out


def _copy_pictures(images: Path, folder: Path) -> None:
    if not images.is_dir():
        raise LayoutError(f"{images}: there is no such folder of pictures; check the path")
    files = sorted(file for file in images.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
    if len(files) < 2:
        raise LayoutError(f"{images}: holds {len(files)} pictures ({', '.join(SUFFIXES)}); give at least two")
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        if not (folder / file.name).exists():
            shutil.copyfile(file, folder / file.name)


class _Colmap:
    """The program; all that it says goes into a log."""

    def __init__(self, program: str, log: Path, say: Say) -> None:
        self.program, self.log, self.say = program, log, say

    def __call__(self, step: str, *arguments: str) -> None:
        """Raises CameraError: the step fails."""
        self.say(f"colmap {step}")
        command = [self.program, step, *arguments]
        with self.log.open("ab") as log:
            log.write(f"$ {' '.join(command)}\n".encode())
            log.flush()
            try:
                code = subprocess.run(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, check=False
                ).returncode
            except OSError as error:
                raise MissingDependencyError(f"{self.program}: cannot be run ({error.strerror}); {INSTALL}") from None
        if code:
            raise CameraError(f"colmap {step} ended with {code}: {self.last_words()} (all of it: {self.log})")

    def device_option(self, step: str) -> Sequence[str]:
        """Where there is no NVIDIA GPU the CPU must be asked for: the default wants a display. Versions before 3.13
        call the option otherwise."""
        if shutil.which("nvidia-smi"):
            return ()
        told = subprocess.run([self.program, step, "-h"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
        found = _GPU_OPTION.search((told.stdout + told.stderr).decode(errors="replace"))
        return (found[0], "0") if found else ()

    def last_words(self) -> str:
        """The end of the log on one line."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return ascii(" / ".join(_last(lines)))[1:-1][-_SHOWN:]


def _last(lines: Sequence[str]) -> Sequence[str]:
    return lines[-3:]


def _largest(out: Path, run: _Colmap) -> Path:
    """The model with the largest table of images: COLMAP writes several where the pictures fall apart."""
    models = list((out / "distorted/sparse").glob("*/images.bin"))
    if not models:
        raise CameraError(
            f"COLMAP registered no pictures of {out / 'input'}: {run.last_words()}; take more pictures that overlap by "
            f"two thirds (log: {run.log})"
        )
    return max(models, key=lambda file: file.stat().st_size).parent
