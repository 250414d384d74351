"""Names meet in whatever Unicode normal form they come."""

import time
import unicodedata

import pytest

from ssl_core.files.unicode_names import nfc


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("name", ["chair", "café", "Stühle/Bänke", "椅子/ドア", "의자", "c\u0327e\u0301dille"])
def test_either_form_becomes_one(name, form):
    assert nfc(unicodedata.normalize(form, name)) == unicodedata.normalize("NFC", name)


def test_what_is_no_name_costs_nothing():
    """A run of accents is ordered in the square of its length."""
    hostile = "a" + "\u0301\u0323" * 2_000_000
    started = time.perf_counter()
    assert nfc(hostile) == hostile
    assert nfc("é" * 300) == "é" * 300
    assert time.perf_counter() - started < 5
    assert nfc("\udce9") == "\udce9"  # a byte that is no text
