"""The stored views of one object of a pack."""

import numpy as np

from ssl_core.data.object_pack import Pack


def views_of(pack: Pack, index: int) -> np.ndarray:
    """[V, 3, S, S] uint8, a copy."""
    item = pack.manifest.objects[index]
    return pack.views[item.first_view : item.first_view + item.views]
