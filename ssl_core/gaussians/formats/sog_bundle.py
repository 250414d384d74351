"""The outside of a .sog file: a small zip archive, of which only the files that its meta.json names are read."""

import io
import lzma
import struct
import zipfile
import zlib
from dataclasses import dataclass

from ssl_core.errors import GaussianFileError
from ssl_core.files.source import Source
from ssl_core.gaussians.formats.claims import read_file

META = "meta.json"
MAX_ENTRIES = 256
MAX_META_BYTES = 1024 * 1024
MAX_DEFLATE_RATIO = 1032

# What the library raises on a damaged archive: it passes on whatever it met.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
)


@dataclass(frozen=True, eq=False)
class SogBundle:
    """An archive in memory whose directory was checked; `members` by name within the folder of meta.json."""

    source: Source
    size: int
    archive: zipfile.ZipFile
    members: dict[str, zipfile.ZipInfo]

    def read(self, name: str, limit: int) -> bytes:
        """The bytes of a member, at most `limit`.

        Raises:
            GaussianFileError: no plain name, no such member, an impossible size, encrypted or damaged.
        """
        if not name or name in (".", "..") or any(mark in name for mark in "/\\\0:"):
            raise GaussianFileError(
                f"{self.source}: {META} names the file {name[:80]!r}; a plain name without folders is allowed only"
            )
        info = self.members.get(name)
        if info is None:
            raise GaussianFileError(f"{self.source}: lacks the member {name[:80]!r}; export it again")
        self._check(info, limit)
        try:
            with self.archive.open(info) as stream:
                content = stream.read(info.file_size + 1)
        except _DAMAGED as error:
            reason = " ".join(str(error).split())[:120]
            raise GaussianFileError(
                f"{self.source}: member {name[:80]!r} is damaged ({reason}); copy it again"
            ) from None
        if len(content) != info.file_size:
            raise GaussianFileError(
                f"{self.source}: member {name[:80]!r} has {len(content):,} bytes where its directory says "
                f"{info.file_size:,}; copy it again"
            )
        return content

    def _check(self, info: zipfile.ZipInfo, limit: int) -> None:
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & 1:
            raise GaussianFileError(
                f"{self.source}: member {info.filename[:80]!r} is encrypted or packed by method {info.compress_type}; "
                "only stored and deflated ones are read: zip it again"
            )
        if info.file_size > limit:
            raise GaussianFileError(
                f"{self.source}: member {info.filename[:80]!r} claims {info.file_size:,} bytes, more than the "
                f"{limit:,} allowed; export it again"
            )
        if info.compress_size > self.size or info.file_size > MAX_DEFLATE_RATIO * max(1, info.compress_size):
            raise GaussianFileError(
                f"{self.source}: member {info.filename[:80]!r} claims {info.file_size:,} bytes from "
                f"{info.compress_size:,} in an archive of {self.size:,}, which cannot be; export it again"
            )


def open_bundle(source: Source, limit: int) -> SogBundle:
    """Open the archive and find meta.json, in its root or in its one top-level folder.

    Raises:
        GaussianFileError: cannot be read, larger than `limit` bytes, no zip archive, too many entries, a name twice, no
            meta.json.
    """
    content = read_file(source, limit)
    # The library makes an object of some hundred bytes per entry, so they are counted before.
    entries = content.count(b"PK\x01\x02")
    if entries > MAX_ENTRIES:
        raise GaussianFileError(
            f"{source}: has {entries:,} directory entries; a .sog has nine: zip only meta.json and its images"
        )
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
        infos = [info for info in archive.infolist() if not info.is_dir()]
    except _DAMAGED as error:
        reason = " ".join(str(error).split())[:120]
        raise GaussianFileError(
            f"{source}: is no readable zip archive ({reason}), so no .sog, or it is truncated; copy it again"
        ) from None
    names = [info.filename for info in infos]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise GaussianFileError(f"{source}: has the member {twice[0][:80]!r} twice; export it again")
    folder = _folder(source, names)
    members = {info.filename[len(folder) :]: info for info in infos if info.filename.startswith(folder)}
    return SogBundle(source, len(content), archive, members)


def _folder(source: Source, names: list[str]) -> str:
    """Where meta.json is: "" or "name/"."""
    if META in names:
        return ""
    folders = [name[: -len(META)] for name in names if name.count("/") == 1 and name.endswith("/" + META)]
    if len(folders) != 1 or folders[0] in ("/", "./", "../"):
        raise GaussianFileError(
            f"{source}: has no {META} in its root or its one folder, so it is no .sog; members: "
            f"{', '.join(repr(name[:40]) for name in names[:4]) or 'none'}: export it again"
        )
    return folders[0]
