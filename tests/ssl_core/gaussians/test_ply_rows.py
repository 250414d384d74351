"""Rows of a .ply that are no rows: lists beyond the file, and lines of text with too little or too much."""

import numpy as np
import pytest

from ssl_core.errors import PlyError
from ssl_core.gaussians.formats.gaussian_properties import NEEDED
from tests.reference.gaussian_ply import read_gaussian_ply


def refusal(path) -> str:
    """The one line that the file is refused with; it names the file."""
    with pytest.raises(PlyError) as caught:
        read_gaussian_ply(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def list_file(tmp_path, lengths: bytes, kind: str = "uchar", faces: int = 2):
    """A .ply with `faces` lists of ints before one Gaussian; `lengths` are the bytes of its first element."""
    header = (
        f"ply\nformat binary_little_endian 1.0\nelement face {faces}\nproperty list {kind} int i\nelement vertex 1\n"
    )
    header += "".join(f"property float {name}\n" for name in NEEDED) + "end_header\n"
    path = tmp_path / "lists.ply"
    path.write_bytes(header.encode() + lengths + np.ones(14, "<f4").tobytes())
    return path


def test_lists_beyond_the_file(tmp_path):
    assert len(read_gaussian_ply(list_file(tmp_path, b"\x01" + bytes(4) + b"\x00"))) == 1
    assert "a list of 'face' row 0 has length 255" in refusal(list_file(tmp_path, b"\xff" + bytes(5)))
    assert "row 0 has length -1" in refusal(list_file(tmp_path, b"\xff" + bytes(5), "char"))
    assert "row 0 has length 4294967295" in refusal(list_file(tmp_path, b"\xff" * 4 + bytes(9), "uint"))
    # One list too long by one value: the Gaussian's last bytes are missing.
    assert "truncated in 'vertex'" in refusal(list_file(tmp_path, b"\x01" + bytes(4) + b"\x01"))
    many = list_file(tmp_path, bytes(5_000_000), faces=5_000_000)
    assert "has 5,000,000 lists, more than" in refusal(many)


def test_lines_are_rows_exactly(make_cloud, columns_of, write_ply, tmp_path):
    path = write_ply(tmp_path / "a.ply", columns_of(make_cloud(6, 0)), "ascii")
    head, body = path.read_text().split("end_header\n")
    lines = body.splitlines()
    first = head.count("\n") + 2

    def says(changed: list[str], text: str) -> None:
        path.write_text(head + "end_header\n" + "\n".join(changed) + "\n")
        assert text in refusal(path)

    words = lines[2].split()
    says([*lines[:2], " ".join(words[:-1]), *lines[3:]], f"line {first + 2} has 13 values, too few")
    says([*lines[:2], " ".join([*words, "1"]), *lines[3:]], f"line {first + 2} has 15 values, expected 14")
    says([*lines[:2], "", *lines[2:]], f"line {first + 2} has 0 values, too few")
    says([*lines[:2], "# " + lines[2], *lines[3:]], f"line {first + 2}, property 'x': '#' is no number")
    says([*lines[:2], " ".join(["1_0", *words[1:]]), *lines[3:]], "'1_0' is no number")
    says(
        [*lines[:2], " ".join([*words[:5], "1.2.3", *words[6:]]), *lines[3:]], "property 'f_dc_2': '1.2.3' is no number"
    )
    says([*lines[:2], " ".join(["\u0661", *words[1:]]), *lines[3:]], "is no number")
    # A row over two lines has the right number of values in all.
    says([*lines[:2], " ".join(words[:7]), " ".join(words[7:]), *lines[3:]], f"line {first + 2} has 7 values")
    says([*lines[:2], lines[2] + " " + lines[3], *lines[4:]], f"line {first + 2} has 28 values")
    says(lines[:5], "truncated")
    path.write_text(head + "end_header\n" + "\n".join(lines)[:-1])
    assert "no line end" in refusal(path)


def test_a_line_that_never_ends(tmp_path):
    path = tmp_path / "a.ply"
    header = "ply\nformat ascii 1.0\nelement vertex 1\n" + "".join(f"property float {name}\n" for name in NEEDED)
    path.write_bytes(header.encode() + b"end_header\n" + b"1" * 10_000_000)
    assert "a line longer than" in refusal(path)
