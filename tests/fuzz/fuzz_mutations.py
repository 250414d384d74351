"""Seeded mutations of files: of their bytes, their text, their JSON, and of what their compression holds.

A case is a folder as a dict, relative path -> bytes. Every mutation is a pure function of its generator, so that an
input is known by (seed, target, number) alone.
"""

import gzip
import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

Case = dict[str, bytes]
Rng = np.random.Generator
Mutation = Callable[[bytes, Rng], bytes]

INTEGERS = (0, 1, -1, 2, 127, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 1, 4_000_000_000, 2**63 - 1, 2**64 - 1)
WORDS = (
    b"0", b"-1", b"1", b"2", b"3", b"255", b"4000000000", b"2147483648", b"4294967295", b"99999999999999999999999",
    b"1e39", b"-1e400", b"nan", b"inf", b"-inf", b"1e-400", b"0x10", b"1_0", b"", b"-", b"1.5", b"\xff\xfe", b"..",
    b"../../etc/passwd", b"/etc/passwd", b"\x00", b"9" * 400, "٣".encode(), b"#",
)  # fmt: skip
VALUES = (
    None, True, False, 0, -1, 1, 1.5, 2**31, 4_000_000_000, 2**64, 10**400, -(10**30), 1e308, float("nan"),
    float("inf"), "", "x", "../../etc/passwd", "/etc/passwd", "a\x00b", "\ud800", "nan", [], {}, [[]],
    [None], [1, 2], {"a": 1}, "9" * 5000,
)  # fmt: skip


def choose(options: Any, rng: Rng) -> Any:
    return options[int(rng.integers(len(options)))]


# bytes


def flip_bits(data: bytes, rng: Rng) -> bytes:
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        if changed:
            changed[int(rng.integers(len(changed)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def set_bytes(data: bytes, rng: Rng) -> bytes:
    changed = bytearray(data)
    at = _place(data, rng)
    length = int(choose((1, 1, 2, 4, 16, 256), rng))
    value = choose((0, 255, 128, int(rng.integers(256))), rng)
    changed[at : at + length] = bytes([value]) * len(changed[at : at + length])
    return bytes(changed)


def truncate(data: bytes, rng: Rng) -> bytes:
    """At any byte; the first and last ones, powers of two and middles more often."""
    ends = [
        0,
        1,
        2,
        len(data) - 1,
        len(data) - 2,
        len(data) // 2,
        2 ** int(rng.integers(12)),
        int(rng.integers(len(data) + 1)),
    ]
    return data[: max(0, choose(ends, rng))]


def insert(data: bytes, rng: Rng) -> bytes:
    at = _place(data, rng)
    length = int(choose((1, 2, 4, 7, 32, 1000), rng))
    return data[:at] + rng.bytes(length) + data[at:]


def append(data: bytes, rng: Rng) -> bytes:
    return data + choose((b"\0", b"\n", b"\xff" * 4, data[:100], rng.bytes(33)), rng)


def delete(data: bytes, rng: Rng) -> bytes:
    at = _place(data, rng)
    return data[:at] + data[at + int(choose((1, 2, 4, 7, 32, 1000), rng)) :]


def repeat(data: bytes, rng: Rng) -> bytes:
    at = _place(data, rng)
    part = data[at : at + int(choose((1, 8, 64, 512), rng))]
    return data[:at] + part * int(rng.integers(2, 5)) + data[at + len(part) :]


def edit_integer(data: bytes, rng: Rng) -> bytes:
    """A field of 1, 2, 4 or 8 bytes, little or big, mostly in the header."""
    width = int(choose((1, 2, 4, 4, 4, 8), rng))
    at = _place(data, rng)
    if rng.random() < 0.6:
        at -= at % width
    order = choose(("little", "little", "big"), rng)
    found = int.from_bytes(data[at : at + width], order)
    value = choose((*INTEGERS, found + 1, found - 1, found * 2), rng) % 256**width
    return (data[:at] + value.to_bytes(width, order) + data[at + width :])[: max(len(data), at + width)]


def edit_float(data: bytes, rng: Rng) -> bytes:
    width, kind = choose(((4, "f"), (8, "d")), rng)
    at = _place(data, rng)
    if rng.random() < 0.6:
        at -= at % width
    value = choose((float("nan"), float("inf"), float("-inf"), 0.0, -0.0, 1e38, -3e38, 1e-45, 2e9, 25.0, -45.0), rng)
    return data[:at] + struct.pack(choose("<>", rng) + kind, value) + data[at + width :]


def _place(data: bytes, rng: Rng) -> int:
    """Half of them in the first 64 bytes, where headers are."""
    reach = min(len(data), int(choose((64, 64, 1024, len(data)), rng)))
    return int(rng.integers(reach)) if reach else 0


# text


def edit_number(data: bytes, rng: Rng) -> bytes:
    """A number of the text, or of the text a binary file begins with."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?([eE][+-]?\d+)?", data[:4096]))
    if not found:
        return flip_bits(data, rng)
    one = choose(found, rng)
    return data[: one.start()] + choose(WORDS, rng) + data[one.end() :]


def edit_word(data: bytes, rng: Rng) -> bytes:
    words = list(re.finditer(rb"[A-Za-z_][\w]*", data[:4096]))
    if not words:
        return flip_bits(data, rng)
    one, other = choose(words, rng), choose(words, rng)
    return data[: one.start()] + choose((other.group(), *WORDS), rng) + data[one.end() :]


def edit_lines(data: bytes, rng: Rng) -> bytes:
    lines = data.split(b"\n")
    count = min(len(lines), 200)
    i, j = int(rng.integers(count)), int(rng.integers(count))
    match int(rng.integers(5)):
        case 0:
            del lines[i]
        case 1:
            lines.insert(i, lines[j])
        case 2:
            lines[i], lines[j] = lines[j], lines[i]
        case 3:
            lines[i] = lines[i][: int(rng.integers(len(lines[i]) + 1))]
        case _:
            lines[i] = lines[i] + b" " + choose(WORDS, rng)
    return choose((b"\n", b"\n", b"\n", b"\r\n", b"\r"), rng).join(lines)


# JSON


def edit_json(data: bytes, rng: Rng) -> bytes:
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return edit_number(data, rng)
    if rng.random() < 0.06:
        deep = b"[" * 100_000 if rng.random() < 0.5 else b'{"a":' * 5000
        return deep + data
    for _ in range(int(rng.integers(1, 4))):
        tree = _edit_tree(tree, rng)
    try:
        return json.dumps(tree).encode()
    except (ValueError, RecursionError):  # 10**400 has more digits than Python prints
        return data[: len(data) // 2] + b"1" + b"0" * 5000 + data[len(data) // 2 :]


def _edit_tree(tree: Any, rng: Rng) -> Any:
    if isinstance(tree, dict) and tree and rng.random() < 0.85:
        key = choose(sorted(tree), rng)
        changed = dict(tree)
        match int(rng.integers(8)):
            case 0:
                del changed[key]
            case 1:
                changed[choose(("extra", key + "x", "version", "count"), rng)] = changed[key]
            case 2:
                changed[key] = choose(VALUES, rng)
            case _:
                changed[key] = _edit_tree(changed[key], rng)
        return changed
    if isinstance(tree, list) and tree and rng.random() < 0.85:
        i = int(rng.integers(len(tree)))
        changed = list(tree)
        match int(rng.integers(8)):
            case 0:
                del changed[i]
            case 1:
                changed.append(changed[i])
            case 2:
                changed[i] = choose(VALUES, rng)
            case _:
                changed[i] = _edit_tree(changed[i], rng)
        return changed
    if isinstance(tree, int | float) and not isinstance(tree, bool) and rng.random() < 0.5:
        return choose((tree + 1, tree - 1, -tree, tree * 1000, str(tree), [tree]), rng)
    return choose(VALUES, rng)


# compression: the payload is changed and packed again with right checksums


def inside_gzip(data: bytes, rng: Rng) -> bytes:
    try:
        payload = gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        return flip_bits(data, rng)
    if rng.random() < 0.04:
        return gzip.compress(payload[:16] + bytes(64 * 2**20), 1, mtime=0)  # a bomb: 64 MB in 64 kB
    return gzip.compress(choose(BINARY, rng)(payload, rng), 1, mtime=0)


def inside_zstd(data: bytes, rng: Rng) -> bytes:
    """Version 4 of .spz: one frame of the table is changed, packed again, and its sizes are mended (or not)."""
    import zstandard

    streams, toc = (data[15], struct.unpack_from("<I", data, 16)[0]) if len(data) >= 32 else (0, 0)
    if data[:4] != b"NGSP" or not 0 < streams < 9 or toc + 16 * streams > len(data):
        return flip_bits(data, rng)
    sizes = [struct.unpack_from("<QQ", data, toc + 16 * i) for i in range(streams)]
    start, frames = toc + 16 * streams, []
    for size, _ in sizes:
        frames.append(data[start : start + size])
        start += size
    which = int(rng.integers(streams))
    try:
        payload = zstandard.ZstdDecompressor().decompress(frames[which], max_output_size=2**24)
    except zstandard.ZstdError:
        return flip_bits(data, rng)
    changed = bytes(64 * 2**20) if rng.random() < 0.04 else choose(BINARY, rng)(payload, rng)
    frames[which] = zstandard.ZstdCompressor(write_content_size=rng.random() < 0.7).compress(changed)
    said = len(changed) if rng.random() < 0.5 else sizes[which][1]
    table = [(len(f), said if i == which else sizes[i][1]) for i, f in enumerate(frames)]
    return data[:toc] + b"".join(struct.pack("<QQ", *row) for row in table) + b"".join(frames)


def inside_zip(data: bytes, rng: Rng) -> bytes:
    """A member is changed, renamed, doubled, dropped, made a link or blown up; checksums are right."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(info, archive.read(info)) for info in archive.infolist()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, zlib.error, RuntimeError):
        return flip_bits(data, rng)
    if not members:
        return flip_bits(data, rng)
    i = int(rng.integers(len(members)))
    info, content = members[i]
    method, name, mode = zipfile.ZIP_DEFLATED, info.filename, 0o100644
    match int(rng.integers(10)):
        case 0:
            prefix = choose(("../", "/", "a/../../", "C:\\", "..\\", "./", "\x01", "é", ".", "x" * 300 + "/"), rng)
            name = prefix + name
        case 1:
            members.append(members[i])
        case 2:
            del members[i]
        case 3:
            mode = 0o120777
        case 4 if rng.random() < 0.3:
            content = bytes(32 * 2**20)
        case 5:
            name = choose(members, rng)[0].filename
        case _:
            content = mutate(name, content, rng)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for other, (old, old_content) in enumerate(members):
            here = other == i and old is info
            made = zipfile.ZipInfo(name if here else old.filename)
            made.external_attr = (mode if here else 0o100644) << 16
            archive.writestr(
                made, content if here else old_content, compress_type=method if here else old.compress_type
            )
    return out.getvalue()


def inside_png(data: bytes, rng: Rng) -> bytes:
    """A chunk is changed and its checksum made right: sizes, depths and pixel data get past the first check."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    if data[:4] != b"\x89PNG" or not chunks:
        return flip_bits(data, rng)
    i = int(rng.integers(len(chunks))) if rng.random() < 0.5 else 0
    kind, content = chunks[i]
    if kind == b"IDAT" and rng.random() < 0.5:
        try:
            content = zlib.compress(choose(BINARY, rng)(zlib.decompress(content), rng))
        except zlib.error:
            content = flip_bits(content, rng)
    else:
        content = choose(BINARY, rng)(content, rng)
    chunks[i] = (kind, content)
    packed = (struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    return data[:8] + b"".join(packed)


BINARY: tuple[Mutation, ...] = (
    flip_bits, set_bytes, truncate, insert, append, delete, repeat, edit_integer, edit_integer, edit_float,
)  # fmt: skip
TEXT: tuple[Mutation, ...] = (edit_number, edit_number, edit_word, edit_lines, edit_lines, truncate, flip_bits)


def mutate(name: str, data: bytes, rng: Rng) -> bytes:
    """One to three mutations that suit what the bytes are."""
    for _ in range(int(choose((1, 1, 1, 2, 3), rng))):
        data = choose(_suiting(name, data), rng)(data, rng)
    return data


def _suiting(name: str, data: bytes) -> tuple[Mutation, ...]:
    if data[:2] == b"\x1f\x8b":
        return (inside_gzip, inside_gzip, inside_gzip, choose_binary)
    if data[:4] == b"NGSP":
        return (inside_zstd, inside_zstd, choose_binary)
    if data[:4] == b"PK\x03\x04":
        return (inside_zip, inside_zip, inside_zip, choose_binary)
    if data[:4] == b"\x89PNG":
        return (inside_png, inside_png, choose_binary)
    if name.endswith(".json"):
        return (edit_json, edit_json, edit_json, choose_text, choose_binary)
    if name.endswith((".txt", ".off")):
        return (choose_text, choose_text, choose_text, choose_binary)
    if data[:3] == b"ply" or name.endswith(".npy"):
        return (choose_text, choose_binary)
    return (choose_binary,)


def choose_binary(data: bytes, rng: Rng) -> bytes:
    changed: bytes = choose(BINARY, rng)(data, rng)
    return changed


def choose_text(data: bytes, rng: Rng) -> bytes:
    changed: bytes = choose(TEXT, rng)(data, rng)
    return changed


def mutant(cases: list[Case], rng: Rng) -> Case:
    """A changed copy of one of the cases: one file mutated, spliced with its like, taken away or emptied."""
    case = dict(choose(cases, rng))
    name = choose(sorted(case), rng)
    pick = rng.random()
    if pick < 0.03 and len(case) > 1:
        del case[name]
    elif pick < 0.05:
        case[name] = b""
    elif pick < 0.13:
        other = choose(sorted(choose(cases, rng).items()), rng)[1]
        case[name] = case[name][: int(rng.integers(len(case[name]) + 1))] + other[int(rng.integers(len(other) + 1)) :]
    else:
        case[name] = mutate(name, case[name], rng)
    return case
