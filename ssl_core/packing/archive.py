"""Which members of a zip archive are files of a data set, which are passed over, and which are refused unread.

Source: PKWARE's APPNOTE 6.3.10 (flags and methods in 4.4.4 and 4.4.5, names in 4.4.17).
"""

import stat
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ssl_core.errors import LayoutError
from ssl_core.files.source import DAMAGED, ZipSource, open_archive
from ssl_core.files.unicode_names import nfc
from ssl_core.packing.objects import Problem, summed

MAX_MEMBER = 2**30
"""A member that claims more bytes is refused unread."""

MAX_RATIO, SMALL = 1000, 2**20
"""A member above SMALL bytes that claims to have shrunk further than this is refused unread. Deflate ends at 1032."""

_ENCRYPTED, _PATCH, _UTF8 = 0x1 | 0x40, 0x20, 0x800
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others may ask for gigabytes of dictionary


@dataclass(frozen=True)
class Members:
    """What an archive holds, by relative path (NFC) with `/` between parts."""

    files: dict[str, ZipSource]
    folders: set[str]
    problems: list[Problem]


def list_members(path: Path) -> Members:
    """The members of an archive. Hidden ones are passed over; those that cannot be trusted are problems.

    Raises:
        LayoutError: no archive, or damaged. Names the archive.
    """
    names = [(info, _relative(info)) for info in _directory(path)]
    times = Counter(name for _, name in names)
    files: dict[str, ZipSource] = {}
    folders: set[str] = set()
    refused: dict[str, dict[str, None]] = {}  # reason -> places, each once
    for info, name in names:
        if name is not None and _bad_name(name) is None and is_hidden(name):
            continue
        if (reason := _refusal(info, name, times[name])) is not None:
            refused.setdefault(reason, {})[f"{path}/{_printable(info.orig_filename)}"] = None
        elif name is not None and name.endswith("/"):
            folders.add(name.rstrip("/"))
        elif name:
            files[name] = ZipSource(path, info.filename, info.file_size, info.CRC)
    folders |= parents([*files, *folders])
    remedy = "make the archive again, or leave the member out"
    problems = [p for reason, places in refused.items() for p in summed([*places], str(path), f"{reason}; {remedy}")]
    return Members(files, folders, problems)


def is_hidden(name: str) -> bool:
    """Whether a relative path has a part that data sets never use: hidden files and what macOS leaves behind."""
    if name.startswith((".", "__MACOSX")) or "/." in name or "/__MACOSX" in name:
        return True
    return name == "Icon\r" or name.endswith("/Icon\r")


def parents(paths: list[str]) -> set[str]:
    """Every folder above these relative paths, the root left out."""
    found: set[str] = set()
    for path in paths:
        folder = path.rpartition("/")[0]
        while folder and folder not in found:
            found.add(folder)
            folder = folder.rpartition("/")[0]
    return found


def _directory(path: Path) -> list[zipfile.ZipInfo]:
    try:
        return open_archive(path).infolist()
    except UnicodeDecodeError:
        raise LayoutError(f"{path}: a name that is marked as UTF-8 is not; make the archive again") from None
    except (OSError, *DAMAGED) as error:
        reason = " ".join(str(error).split())[:120]
        raise LayoutError(f"{path}: is no readable .zip archive ({reason}); copy it again") from None


def _relative(info: zipfile.ZipInfo) -> str | None:
    """The name as NFC text without a leading `./`; None when it is no UTF-8."""
    name = info.orig_filename
    if not info.flag_bits & _UTF8 and not name.isascii():
        try:
            # Without the flag the reader took the bytes for code page 437; most writers mean UTF-8 all the same.
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            return None
    while name.startswith("./"):
        name = name[2:]
    return nfc(name)  # empty for the archive's own root


def _refusal(info: zipfile.ZipInfo, name: str | None, times: int) -> str | None:
    if name is None:
        return "its name is no UTF-8"
    if (reason := _bad_name(name)) is not None or name.endswith("/") or not name:
        return reason
    return _bad_content(info) or ("the name occurs more than once" if times > 1 else None)


def _bad_name(name: str) -> str | None:
    """Why a path may not be followed."""
    parts = name.rstrip("/").split("/")
    if ".." in parts:
        return "its name leads out of the archive (..)"
    if "\\" in name:
        return "its name has a backslash where / belongs"
    if name.startswith("/") or name[1:2] == ":":
        return "its name is an absolute path"
    if not name.removesuffix("Icon\r").isprintable():
        return "its name has control characters"
    if name and ("" in parts or "." in parts):
        return "its name has empty parts"
    return None


def _bad_content(info: zipfile.ZipInfo) -> str | None:
    """Why a member may not be read, by what the directory claims."""
    if stat.S_ISLNK(info.external_attr >> 16):
        return "it is a link, not a file"
    if info.flag_bits & _ENCRYPTED:
        return "it is encrypted"
    if info.flag_bits & _PATCH or info.compress_type not in _METHODS:
        return f"it is compressed by method {info.compress_type}, and only stored and deflated members are read"
    if info.file_size > MAX_MEMBER:
        return f"it claims more than {MAX_MEMBER:,} bytes"
    if info.file_size > SMALL and info.file_size > MAX_RATIO * info.compress_size:
        return f"it claims to have been shrunk more than {MAX_RATIO} times"
    return None


def _printable(name: str) -> str:
    return name if name.isprintable() else ascii(name)
