"""Names out of .npy files: of strings, of objects, of pickles that would run something."""

import io
import os
import pickle

import numpy as np
import pytest

from ssl_core.errors import DataError
from ssl_core.files.npy_texts import npy_length, npy_texts

NAMES = ["1a04e3eab45ca15dd86060f189eb133_0", "10155655850468db78d106ce0a280f87_9"]


def saved(values) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def of_objects(values, protocol: int, count: int) -> bytes:
    """As numpy writes an array of objects: a header, and a pickle of whatever."""
    head = saved(np.array([None] * count, dtype=object))
    return head[: head.index(b"\n") + 1] + pickle.dumps(values, protocol)


@pytest.mark.parametrize("values", [NAMES, [[name] for name in NAMES]])
def test_strings_and_objects(values):
    for dtype in (None, object, "S"):
        content = saved(np.array(values, dtype=dtype))
        found = npy_texts(content)
        assert [text for text in found if text in NAMES] == NAMES
        assert npy_length(content) == 2


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_every_protocol(protocol):
    lists = np.empty(2, dtype=object)
    lists[:] = [[name] for name in NAMES]
    assert [text for text in npy_texts(of_objects(lists, protocol, 2)) if text in NAMES] == NAMES


def test_bytes_of_python_2():
    """Its pickles hold strings of bytes: here by hand, opcode by opcode."""
    body = b"\x80\x02]q\x01(" + b"".join(b"U" + bytes([len(name)]) + name.encode() for name in NAMES) + b"e."
    content = of_objects(None, 2, 2)
    assert npy_texts(content[: content.index(b"\n") + 1] + body) == NAMES


def test_nothing_runs(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    texts = npy_texts(of_objects([NAMES, Evil()], 4, 2))
    assert set(NAMES) <= set(texts)
    assert not (tmp_path / "made").exists()


def test_what_is_no_array_of_names_is_refused():
    whole = saved(np.array(NAMES, dtype=object))
    for content, words in (
        (b"PK\x03\x04", "is no .npy file"),
        (whole[:-20], "is damaged"),
        (whole[: whole.index(b"\n") + 1] + b"\xff\xff", "is damaged"),
        (saved(np.arange(3)), "holds int64, not names"),
        (saved(np.array(NAMES))[:-9], "is damaged"),
    ):
        with pytest.raises(DataError, match=f"{words}.*write the names as text, one a line"):
            npy_texts(content)
