"""Decompression that stops where the claim ends: a bomb costs no more than what its header may ask for."""

import zlib

from ssl_core.errors import GaussianFileError
from ssl_core.files.source import Source

GZIP_MAGIC = b"\x1f\x8b"
_GZIP = 31
_SLICE = 64 * 1024


def gunzip_head(content: bytes, size: int) -> bytes:
    """The first `size` bytes of a gzip stream, fewer when it is damaged or shorter; touches 64 KiB at most."""
    try:
        return zlib.decompressobj(wbits=_GZIP).decompress(content[:_SLICE], size)
    except zlib.error:
        return b""


def gunzip(source: Source, content: bytes, at_most: int) -> bytearray:
    """One whole gzip stream and nothing after it; checksum and length are verified by zlib.

    The result grows as bytes come out; nothing is allocated on a claim.

    Raises:
        GaussianFileError: truncated, damaged, followed by other bytes, or longer than `at_most`.
    """
    inflater = zlib.decompressobj(wbits=_GZIP)
    unpacked = bytearray()
    consumed = 0
    try:
        while consumed < len(content) and not inflater.eof:
            piece = content[consumed : consumed + _SLICE]
            consumed += len(piece)
            while piece and not inflater.eof:
                unpacked += inflater.decompress(piece, at_most + 1 - len(unpacked))
                if len(unpacked) > at_most:
                    raise GaussianFileError(
                        f"{source}: unpacks to more than the {at_most:,} bytes that its header (offset 8, numPoints) "
                        "stands for; the count is wrong or the file is made to harm: export it again"
                    )
                piece = inflater.unconsumed_tail
    except zlib.error as error:
        raise GaussianFileError(
            f"{source}: the gzip stream is damaged before byte {consumed:,} ({_reason(error)}); copy it again"
        ) from None
    if not inflater.eof:
        raise GaussianFileError(
            f"{source}: is truncated: the gzip stream has no end after {len(content):,} bytes; copy it again"
        )
    trailing = len(inflater.unused_data) + len(content) - consumed
    if trailing:
        raise GaussianFileError(
            f"{source}: {trailing:,} bytes follow the gzip stream at offset {len(content) - trailing:,}; "
            "cut them off or copy the file again"
        )
    return unpacked


def unzstd(source: Source, name: str, frame: bytes, size: int) -> bytes:
    """One zstd frame of exactly `size` bytes when unpacked, and nothing after it.

    Raises:
        GaussianFileError: damaged, truncated, of another size, or followed by other bytes; names the stream.
    """
    import zstandard

    try:
        claimed = zstandard.get_frame_parameters(frame).content_size
        if claimed not in (size, zstandard.CONTENTSIZE_UNKNOWN):
            raise GaussianFileError(
                f"{source}: stream '{name}' claims {claimed:,} bytes where numPoints needs {size:,}; export it again"
            )
        # Never more than `size` is allocated: a frame with more to give ends in an error.
        unpacked = zstandard.ZstdDecompressor().decompress(frame, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise GaussianFileError(
            f"{source}: stream '{name}' is damaged, truncated or not of the {size:,} bytes that numPoints needs "
            f"({_reason(error)}); copy or export it again"
        ) from None
    if len(unpacked) != size:
        raise GaussianFileError(
            f"{source}: stream '{name}' unpacks to {len(unpacked):,} bytes where numPoints needs {size:,}; "
            "export it again"
        )
    return unpacked


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
