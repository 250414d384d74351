"""Names of files, classes and pictures in one Unicode normal form.

"é" may be one character (NFC) or "e" and a combining accent (NFD). Archives from macOS, and texts that were copied from
its Finder, have the second; disks keep whichever they were given, and compare bytes.
"""

import unicodedata

LONGEST = 255
"""Characters of a part of a path; no disk takes more bytes. Python orders a run of n accents in n^2 steps, and a file
may name what it likes."""


def nfc(name: str) -> str:
    """The name, or path, in form NFC, in which names are compared and kept; unchanged where no file can be called so.

    A file is opened by the name that its disk or archive lists.
    """
    if name.isascii() or any(len(part) > LONGEST for part in name.split("/")):
        return name
    return unicodedata.normalize("NFC", name)
