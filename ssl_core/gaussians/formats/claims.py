"""What a header may claim before any memory is given to it, shared by the compressed formats."""

from ssl_core.errors import DataError, GaussianFileError
from ssl_core.files.source import Source, read_bytes

MAX_RATIO = 1024
"""Bytes unpacked per byte of file that are believed: as good as all that DEFLATE can do (1,032). zstd can do more, on
Gaussians that no training makes."""

ALWAYS = 4 * 1024 * 1024
"""Bytes that any file may unpack to: a small file of equal Gaussians is odd, not dangerous."""


def check_claim(source: Source, count: int, limit: int, unpacked: int, size: int) -> None:
    """Refuse a count that is zero, above the limit, or out of all proportion to the file.

    Args:
        count: Gaussians claimed.
        limit: the most allowed.
        unpacked: bytes that this many need without compression.
        size: bytes of the file.

    Raises:
        GaussianFileError: naming the count and why it is not believed.
    """
    if count == 0:
        raise GaussianFileError(f"{source}: claims 0 Gaussians; train or export it again")
    if count > limit:
        raise GaussianFileError(
            f"{source}: claims {count:,} Gaussians, more than the {limit:,} allowed here; prune or split it"
        )
    if unpacked > max(ALWAYS, MAX_RATIO * size):
        raise GaussianFileError(
            f"{source}: claims {count:,} Gaussians ({unpacked:,} bytes) in a file of {size:,} bytes, which no real "
            f"file is (more than {MAX_RATIO}:1); the file is damaged or made to harm: export it again"
        )


def read_file(source: Source, limit: int) -> bytes:
    """The whole file, at most `limit` bytes. Raises GaussianFileError when it cannot be read or is larger."""
    try:
        return read_bytes(source, limit)
    except DataError as error:
        raise GaussianFileError(str(error)) from None
