"""Further numbers of each Gaussian in a .ply: `sem_0` to `sem_63` of FiT3D, `label_0` and so on of a label field."""

import re
from pathlib import Path

import numpy as np

from ssl_core.errors import PlyError
from ssl_core.files.source import Source, as_source
from ssl_core.gaussians.formats.bounded_reading import columns_at, finish, opened
from ssl_core.gaussians.formats.gaussian_properties import INRIA_PROPERTIES, check_count
from ssl_core.gaussians.formats.ply_header import CODES, check_nothing_left, read_header
from ssl_core.gaussians.formats.ply_rows import open_rows
from ssl_core.gaussians.gaussian_cloud import MAX_GAUSSIANS, Floats

MAX_CHANNELS = 4096


def channel_names(prefix: str, count: int) -> tuple[str, ...]:
    """Names of the properties."""
    return tuple(f"{prefix}_{i}" for i in range(count))


def check_channels(channels: Floats, prefix: str, gaussians: int) -> None:
    """Refuse what `read_channels` would. Raises PlyError."""
    if channels.ndim != 2 or len(channels) != gaussians or channels.shape[1] > MAX_CHANNELS:
        raise PlyError(
            f"channels are {list(channels.shape)}; expected one row for each of the {gaussians:,} Gaussians and at "
            f"most {MAX_CHANNELS:,} columns"
        )
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", prefix) or set(INRIA_PROPERTIES) & {
        f"{prefix}_{i}" for i in range(45)
    }:
        raise PlyError(f"channels cannot be named '{prefix[:40]}_0' and so on; choose another word in small letters")
    if not np.isfinite(channels).all():
        raise PlyError("a channel is not finite; train again with a lower rate")


def read_channels(place: Source | Path | str, prefix: str, limit: int = MAX_GAUSSIANS) -> Floats:
    """[N, C] float32 of a Gaussian .ply's properties `prefix`_0 to `prefix`_(C - 1), in the file's order of rows.

    `gaussian_file.read_gaussians` reads the rest, in the same order where no rows are dropped.

    Raises PlyError: no .ply, no such properties or one missing between others, not floats, truncated, not finite.
    """
    source = as_source(place)
    with opened(source, PlyError) as stream:
        header = read_header(source, stream)
        vertex = header.element("vertex")
        if vertex is None or vertex.count == 0:
            raise PlyError("has no vertices, so no Gaussians; train or export it again")
        check_nothing_left(header)
        check_count(vertex.count, limit)
        names = _found(prefix, vertex.types)
        rows = open_rows(source, stream, header, "vertex")
        table = np.empty((vertex.count, len(names)), np.float32)
        with np.errstate(over="ignore"):
            for at, block in rows.blocks:
                for column, name in enumerate(names):
                    offset, dtype = rows.fields[name]
                    table[at, column] = columns_at(block, at.stop - at.start, rows.row_size, offset, dtype, 1)[:, 0]
        finish(source, stream)
        check_channels(table, prefix, vertex.count)
    return table


def _found(prefix: str, types: dict[str, str]) -> tuple[str, ...]:
    """Names of the channels in a header, none left out."""
    count = sum(re.fullmatch(re.escape(prefix) + r"_\d+", name) is not None for name in types)
    names = channel_names(prefix, min(count, MAX_CHANNELS + 1))
    missing = [name for name in names if name not in types]
    if count == 0 or count > MAX_CHANNELS or missing:
        what = f"lacks '{missing[0]}'" if missing else f"has {count:,} properties '{prefix}_0' and so on"
        raise PlyError(f"{what}; expected 1 to {MAX_CHANNELS:,}, numbered from 0: write it again")
    kinds = {types[name] for name in names}
    if any(CODES.get(kind, "?")[0] != "f" for kind in kinds):
        raise PlyError(f"channels '{prefix}_0' and so on are not all float or double; write it again")
    return names
