"""The pictures that camera files name, found where they really are and never outside the scene's folder."""

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from PIL import Image

from ssl_core.errors import CameraError
from ssl_core.files.image_files import DECODING, FORMATS, SUFFIXES
from ssl_core.files.unicode_names import nfc

FOLDERS = ("", "images", "rgb", "input")
"""Where names may be meant from: the scene's folder itself, COLMAP's and INRIA's images/ and input/, rgb/."""
_ENDINGS = ("", *SUFFIXES, *(suffix.upper() for suffix in SUFFIXES))
_DRIVE = re.compile(r"[A-Za-z]:")


class SceneImages:
    """Looks names up under `root`. Each folder is listed once, so a hundred thousand names cost no disk.

    Names meet whatever Unicode normal form either side has them in; what is found has the name that the disk lists.
    `outside` counts names, and links, that lead out of the folder: they are kept as names and not opened.
    """

    def __init__(self, root: Path, folders: Sequence[str] = FOLDERS, endings: Sequence[str] = _ENDINGS) -> None:
        self.root = root
        self.endings = endings
        self.folders = [str(root / folder) for folder in folders]
        self.outside = 0
        self.missing = 0
        self._real_root = os.path.realpath(root).rstrip(os.sep) + os.sep
        self._listed: dict[tuple[str, bool], dict[str, str]] = {}

    def find(self, name: str, size: tuple[int, int] | None = None) -> Path | None:
        """The picture called `name`, with or without its ending, or None.

        Where several folders have one, that of `size` (width, height) is taken, else the first.
        """
        plain = PurePosixPath(nfc(name.replace("\\", "/")))
        if plain.is_absolute() or ".." in plain.parts or _DRIVE.match(name):
            self.outside += 1
            return None
        found = [place for folder in self.folders if (place := self._look(folder, str(plain))) is not None]
        inside = [Path(place) for place in found if self._is_inside(place)]
        if not inside:
            self.outside += bool(found)
            self.missing += not found
            return None
        if size is not None and len(inside) > 1:
            return next((place for place in inside if _fits(place, size)), inside[0])
        return inside[0]

    def find_beside(self, name: str) -> Path | None:
        """What belongs to the picture called `name`: of its name, or of that without its folder or its ending."""
        plain = PurePosixPath(nfc(name.replace("\\", "/")))
        inner = PurePosixPath(*plain.parts[1:]) if len(plain.parts) > 1 and plain.parts[0] in FOLDERS else plain
        names = dict.fromkeys(map(str, (plain, inner, plain.with_suffix(""), inner.with_suffix(""))))
        return next((found for each in names if (found := self.find(each)) is not None), None)

    def notes(self, views: int) -> tuple[str, ...]:
        """What was not found, for a person."""
        notes = []
        if self.missing:
            notes.append(f"{self.missing} of {views} images are not under {self.root}")
        if self.outside:
            notes.append(f"{self.outside} of {views} images are named outside {self.root} and were not opened")
        return tuple(notes)

    def _look(self, folder: str, plain: str) -> str | None:
        # plain strings: paths as objects took half of the reading time
        parent, _, name = f"{folder}/{plain}".rpartition("/")
        if not parent.isascii():
            parent = self._as_listed(folder, parent[len(folder) + 1 :])
        listing = self._listing(parent)
        if not listing:
            return None
        found = next((listing[name + ending] for ending in self.endings if name + ending in listing), None)
        return None if found is None else f"{parent}/{found}"

    def _as_listed(self, folder: str, inner: str) -> str:
        """The folder `inner` (NFC) of `folder` by the names that the disk has."""
        for part in filter(None, inner.split("/")):
            folder = f"{folder}/{self._listing(folder, files=False).get(part, part)}"
        return folder

    def _listing(self, folder: str, *, files: bool = True) -> dict[str, str]:
        """The files, or else the folders, of a folder: name in NFC -> name on the disk."""
        if (folder, files) not in self._listed:
            try:
                with os.scandir(folder) as entries:
                    names = sorted(entry.name for entry in entries if entry.is_file() == files)
            except (OSError, ValueError):
                names = []
            self._listed[folder, files] = {nfc(name): name for name in names}
        return self._listed[folder, files]

    def _is_inside(self, place: str) -> bool:
        return os.path.realpath(place).startswith(self._real_root)


def image_size(path: Path) -> tuple[int, int]:
    """Width and height from the file's header; no pixel is decoded. Raises CameraError: no readable image."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            return image.size
    except (*DECODING, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        reason = " ".join(str(error).replace(str(path), "file").split())[:120]
        raise CameraError(f"{path}: its size is needed and it is no readable image ({reason}); replace it") from None


def _fits(path: Path, size: tuple[int, int]) -> bool:
    try:
        return image_size(path) == size
    except CameraError:
        return False
