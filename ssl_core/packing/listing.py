"""A data set's files by relative path, alike for a folder, a .zip archive and a folder of .zip archives.

An archive in a folder counts as unpacked where it lies. Three things people would do by hand are done for them:

    airplane.zip with train/..., test/...      counts as unpacked into airplane/ (so ModelNet_Splats comes)
    train.zip with objects                     counts as unpacked into train/
    any.zip with one folder around everything  counts as unpacked without that folder, unless it is a class or an object

A file on disk wins over an archived one of the same path: who unpacks need not delete the archives.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ssl_core.errors import LayoutError
from ssl_core.files.image_files import SUFFIXES as IMAGE_SUFFIXES
from ssl_core.files.source import FileSource, Source
from ssl_core.gaussians.gaussian_cloud import SUFFIXES
from ssl_core.packing.archive import Members, is_hidden, list_members, parents
from ssl_core.packing.objects import SPLITS, Problem, summed, unsafe_name

MAX_DEPTH = 16
"""Folders below this level are not looked into."""

_SAME_FILES = "its files are reached by another link already; remove one of the links"


@dataclass(frozen=True)
class Listing:
    """Files and folders by relative path with `/` between parts, and what was left out.

    Args:
        root: where it is, for texts.
        archive: whether the root itself is an archive.
        files: every file; order of names.
        folders: every folder below the root, the empty ones too.
        problems: links that lead out, names and members that cannot be trusted.
    """

    root: str
    archive: bool
    files: dict[str, Source]
    folders: set[str]
    problems: list[Problem]

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
    listing = _Walk(root).listing()
    return _with_archives(listing) if archives else listing


def _whole_archive(path: Path) -> Listing:
    members = list_members(path)
    mount, around = _mount(path.stem, "", members)
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
        mount, around = _mount(source.path.stem, folder, members)
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
        is_class = top in SPLITS or any(f"{top}/{split}" in folders for split in SPLITS)
        if is_class or f"{top}/point_cloud" in folders or any(_is_object_file(path, top) for path in files):
            return found
        found = f"{found}{top}/"


def _is_data(path: str) -> bool:
    return path.lower().endswith((*SUFFIXES, *IMAGE_SUFFIXES))


def _is_object_file(path: str, top: str) -> bool:
    """A picture or `point_cloud.ply`, where an object's folder has it."""
    folder, _, name = path.rpartition("/")
    if folder not in (top, f"{top}/images"):
        return False
    return name.lower().endswith(IMAGE_SUFFIXES) or (name.startswith("point_cloud.") and _is_data(name))


_Folder = tuple[str, str, tuple[str, ...]]  # relative path, path, the real folders above and including it


class _Walk:
    """One pass over a folder: links within it are followed, each linked folder once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._real = os.path.realpath(root)
        self._linked: set[str] = set()
        self._files: dict[str, Source] = {}
        self._folders: set[str] = set()
        self._problems: list[Problem] = []

    def listing(self) -> Listing:
        todo: list[_Folder] = [("", str(self._root), (self._real,))]
        while todo:
            relative, folder, above = todo.pop()
            todo += [*self._folder(relative, folder, above)][::-1]
        return Listing(
            str(self._root), False, dict(sorted(self._files.items())), self._folders, _printed(self._problems)
        )

    def _folder(self, relative: str, folder: str, above: tuple[str, ...]) -> Iterator[_Folder]:
        """Takes the files of a folder; yields its folders with the real folders above them."""
        for entry in self._entries(folder):
            name = entry.name
            path = f"{relative}/{name}" if relative else name
            if is_hidden(name):
                continue
            if not name.isprintable():
                self._problems.append(unsafe_name(folder, name))
            elif entry.is_symlink():
                yield from self._link(path, entry.path, above)
            elif entry.is_dir(follow_symlinks=False):
                yield from self._go_into(path, entry.path, (*above, f"{above[-1].rstrip('/')}/{name}"))
            elif entry.is_file(follow_symlinks=False):
                self._files[path] = FileSource(Path(entry.path))
            else:
                self._problem(entry.path, "is neither a file nor a folder; remove it")

    def _link(self, path: str, place: str, above: tuple[str, ...]) -> Iterator[_Folder]:
        """Follows a link that stays within the root and leads to no folder above itself."""
        real = os.path.realpath(place)
        try:
            mode = Path(real).stat().st_mode
        except OSError:
            self._problem(place, "is a link to nothing; remove it or mend it")
            return
        if real != self._real and not real.startswith(f"{self._real.rstrip('/')}/"):
            self._problem(place, "is a link that leads out of the data set; put the files themselves here")
        elif stat.S_ISREG(mode):
            self._files[path] = FileSource(Path(place))
        elif not stat.S_ISDIR(mode):
            self._problem(place, "is a link to what is neither a file nor a folder; remove it")
        elif real in above:
            self._problem(place, "is a link to a folder that it lies in; remove it")
        elif real in self._linked:
            self._problem(place, _SAME_FILES)
        else:
            self._linked.add(real)
            yield from self._go_into(path, place, (*above, real))

    def _go_into(self, path: str, place: str, above: tuple[str, ...]) -> Iterator[_Folder]:
        if len(above) > MAX_DEPTH:
            self._problem(place, f"lies more than {MAX_DEPTH} folders deep; move it up")
            return
        self._folders.add(path)
        yield path, place, above

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise LayoutError(
                f"{ascii(folder)[1:-1]}: cannot be listed: {error.strerror or error}; check its rights"
            ) from None

    def _problem(self, place: str, reason: str) -> None:
        self._problems.append(Problem(place, reason))


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
