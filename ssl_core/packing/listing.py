"""A data set's files by relative path, alike for a folder, a .zip archive and a folder of .zip archives.

An archive in a folder counts as unpacked where it lies. Three things people would do by hand are done for them:

    airplane.zip with train/..., test/...      counts as unpacked into airplane/ (so ModelNet_Splats comes)
    train.zip with objects                     counts as unpacked into train/
    any.zip with one folder around everything  counts as unpacked without that folder, unless it is a class or an object

A file on disk wins over an archived one of the same path: who unpacks need not delete the archives. Relative paths are
in Unicode form NFC; sources keep the names that disk and archive have.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ssl_core.clouds.point_cloud import POINT_SUFFIXES
from ssl_core.errors import LayoutError
from ssl_core.files.image_files import SUFFIXES as IMAGE_SUFFIXES
from ssl_core.files.source import FileSource, Source
from ssl_core.files.unicode_names import nfc
from ssl_core.packing.archive import Members, is_hidden, list_members, parents
from ssl_core.packing.objects import SPLITS, Problem, summed, unsafe_name

_SYNSET = re.compile(r"[0-9]{8}")

MAX_DEPTH = 16
"""Folders below this level are not looked into."""


@dataclass(frozen=True)
class Listing:
    """Files and folders by relative path (NFC) with `/` between parts, and what was left out."""

    root: str  # where it is, for texts
    archive: bool  # whether the root itself is an archive
    files: dict[str, Source]  # every file; order of names
    folders: set[str]  # every folder below the root, the empty ones too
    problems: list[Problem]  # links that lead out, names and members that cannot be trusted

    def place(self, path: str) -> str:
        """A relative path as a person looks for it."""
        return f"{self.root}/{path}" if path else self.root

    def inside(self, folder: str) -> "Listing":
        """The part below one of its folders."""
        start = len(folder) + 1
        files = {path[start:]: source for path, source in self.files.items() if path.startswith(f"{folder}/")}
        folders = {path[start:] for path in self.folders if path.startswith(f"{folder}/")}
        return Listing(self.place(folder), self.archive, files, folders, self.problems)


def list_tree(root: Path, *, archives: bool = True) -> Listing:
    """All files of a data set. Hidden files are passed over; nothing is opened but archives' directories.

    Args:
        root: a folder or a .zip archive.
        archives: read the archives that lie in the folder.

    Raises:
        LayoutError: no such folder, one that may not be listed, or a damaged archive. Names it.
    """
    root = Path(root)
    if os.path.isfile(root) and root.suffix.lower() == ".zip":  # noqa: PTH113 - Path's raises on a NUL
        return _whole_archive(root)
    if not os.path.isdir(root):  # noqa: PTH112 - Path's raises on a NUL
        raise LayoutError(f"{ascii(str(root))[1:-1]}: is not a folder or a .zip archive; check the path")
    listing = _walk(root)
    return _with_archives(listing) if archives else listing


def _whole_archive(path: Path) -> Listing:
    members = list_members(path)
    mount, around = _mount(nfc(path.stem), "", members)
    files, folders = _placed(members, mount, around)
    folders |= parents([*files, *folders])
    root = f"{path}/{around}".rstrip("/")
    return Listing(root, True, dict(sorted(files.items())), folders, members.problems)


def _with_archives(listing: Listing) -> Listing:
    """The listing with the members of its archives in their places."""
    archives = [path for path in listing.files if path.lower().endswith(".zip")]
    if not archives:
        return listing
    files, folders, problems = dict(listing.files), set(listing.folders), list(listing.problems)
    clashes: dict[str, None] = {}
    for name in archives:
        source = files.pop(name)
        assert isinstance(source, FileSource)
        members = list_members(source.path)
        problems += members.problems
        folder = name.rpartition("/")[0]
        mount, around = _mount(nfc(source.path.stem), folder, members)
        inner, inner_folders = _placed(members, f"{folder}/{mount}" if folder else mount, around)
        clashes |= {path: None for path, found in inner.items() if not _agree(files.setdefault(path, found), found)}
        folders |= inner_folders
    for path in clashes:
        del files[path]
    places = [listing.place(path) for path in clashes]
    problems += summed(places, listing.root, "two archives hold different files of this name; leave one of them out")
    folders |= parents([*files, *folders])
    return Listing(listing.root, False, dict(sorted(files.items())), folders, problems)


def _placed(members: Members, start: str, around: str) -> tuple[dict[str, Source], set[str]]:
    """Members below `start`, without the folder `around` them."""
    files: dict[str, Source] = {f"{start}{name.removeprefix(around)}": source for name, source in members.files.items()}
    return files, {
        f"{start}{name.removeprefix(around)}" for name in members.folders if not around.startswith(f"{name}/")
    }


def _agree(kept: Source, found: Source) -> bool:
    """Whether a file that is there already makes the archived one superfluous."""
    return isinstance(kept, FileSource) or kept.stamp == found.stamp


def _mount(stem: str, folder: str, members: Members) -> tuple[str, str]:
    """Where an archive's members belong, relative to its folder, and the folder around them that is left out."""
    tops = {path for path in members.folders if "/" not in path}
    below = {path.partition("/")[2] for path in members.folders}
    if stem in SPLITS and not tops.intersection(SPLITS) and not below.intersection(SPLITS):
        return f"{stem}/", ""
    if tops.intersection(SPLITS):
        return ("", "") if folder else (f"{stem}/", "")
    return "", _around(members)


def _around(members: Members) -> str:
    """The folder(s) around everything, as `a/b/`; a class or an object is none."""
    found = ""
    while True:
        folders = {path[len(found) :] for path in members.folders if path.startswith(found)}
        files = [path[len(found) :] for path in members.files if path.startswith(found)]
        tops = [path for path in folders if "/" not in path]
        if len(tops) != 1 or any("/" not in path and _is_data(path) for path in files):
            return found
        (top,) = tops
        is_class = top in SPLITS or any(f"{top}/{split}" in folders for split in SPLITS) or _is_synset(top, files)
        if is_class or f"{top}/point_cloud" in folders or any(_is_object_file(path, top) for path in files):
            return found
        found = f"{found}{top}/"


def _is_data(path: str) -> bool:
    endings = (ending for ending in (*POINT_SUFFIXES, ".h5", *IMAGE_SUFFIXES) if ending != ".txt")
    return path.lower().endswith(tuple(endings))


def _is_synset(top: str, files: list[str]) -> bool:
    """Whether a folder is a class of ShapeNet with a folder for each model."""
    return _SYNSET.fullmatch(top) is not None and any(path.count("/") == 2 for path in files)


def _is_object_file(path: str, top: str) -> bool:
    """A picture or `point_cloud.ply`, where an object's folder has it."""
    folder, _, name = path.rpartition("/")
    if folder not in (top, f"{top}/images"):
        return False
    return name.lower().endswith(IMAGE_SUFFIXES) or (name.startswith("point_cloud.") and _is_data(name))


def _walk(root: Path) -> Listing:
    """One pass over a folder: links within it are followed, each linked folder once."""
    top = os.path.realpath(root)
    files: dict[str, Source] = {}
    folders, linked, problems = set[str](), set[str](), list[Problem]()
    # relative path, path, the real folders above and including it
    todo: list[tuple[str, str, tuple[str, ...]]] = [("", str(root), (top,))]
    while todo:
        relative, folder, above = todo.pop()
        inside = []
        for entry in _entries(folder):
            if is_hidden(entry.name):
                continue
            if not entry.name.isprintable():
                problems.append(unsafe_name(folder, entry.name))
                continue
            path = f"{relative}/{nfc(entry.name)}" if relative else nfc(entry.name)
            is_link = entry.is_symlink()
            real = os.path.realpath(entry.path) if is_link else f"{above[-1].rstrip('/')}/{entry.name}"
            reason = _refused_link(real, top, above, linked) if is_link else None
            if reason is not None:
                problems.append(Problem(entry.path, reason))
            elif entry.is_file():
                if path in files:
                    problems.append(Problem(entry.path, "another file's name differs in Unicode form only; rename one"))
                files.setdefault(path, FileSource(Path(entry.path)))
            elif not entry.is_dir():
                problems.append(Problem(entry.path, "is neither a file nor a folder; remove it"))
            elif len(above) >= MAX_DEPTH:
                problems.append(Problem(entry.path, f"lies more than {MAX_DEPTH} folders deep; move it up"))
            else:
                folders.add(path)
                linked |= {real} if is_link else set()
                inside.append((path, entry.path, (*above, real)))
        todo += inside[::-1]
    return Listing(str(root), False, dict(sorted(files.items())), folders, _printed(problems))


def _refused_link(real: str, top: str, above: tuple[str, ...], linked: set[str]) -> str | None:
    """Why a link to `real` is not followed."""
    if not os.path.exists(real):  # noqa: PTH110 - Path's raises on a NUL
        return "is a link to nothing; remove it or mend it"
    if real != top and not real.startswith(f"{top.rstrip('/')}/"):
        return "is a link that leads out of the data set; put the files themselves here"
    if Path(real).is_file():
        return None
    if not Path(real).is_dir():
        return "is a link to what is neither a file nor a folder; remove it"
    if real in above:
        return "is a link to a folder that it lies in; remove it"
    return "its files are reached by another link already; remove one of the links" if real in linked else None


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise LayoutError(
            f"{ascii(folder)[1:-1]}: cannot be listed: {error.strerror or error}; check its rights"
        ) from None


def _printed(problems: list[Problem]) -> list[Problem]:
    """Many links of one kind are summed up: a folder of links would fill a screen for hours."""
    by_reason: dict[str, list[str]] = {}
    for problem in problems:
        by_reason.setdefault(problem.reason, []).append(problem.path)
    return [
        found
        for reason, places in by_reason.items()
        for found in summed(places, os.path.commonpath(places) if len(places) > 1 else places[0], reason)
    ]
