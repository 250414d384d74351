"""Opacities stored as one byte."""

import numpy as np
from numpy.typing import NDArray

from ssl_core.gaussians.gaussian_cloud import Floats

_ALPHAS = np.clip(np.arange(256) / 255, 1 / 510, 1 - 1 / 510)
_LOGITS: Floats = np.log(_ALPHAS / (1 - _ALPHAS)).astype(np.float32)


def logits_of_bytes(alphas: NDArray[np.uint8]) -> tuple[Floats, tuple[str, ...]]:
    """Opacity logits of alpha = byte / 255, and a note when some were 0 or 255.

    Their logits would be infinite; half a quantisation step (1/510) inside is taken instead.
    """
    extreme = int(np.count_nonzero((alphas == 0) | (alphas == 255)))
    note = f"opacities of {extreme:,} Gaussians are stored as 0 or 1; they are read as 1/510 within"
    return _LOGITS[alphas], (note,) if extreme else ()
