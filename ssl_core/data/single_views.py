"""One view for each object: what a network that learns from single images sees of it."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ssl_core.data.object_pack import Pack, Split
from ssl_core.errors import InfeasibleError


def objects_of(pack: Pack, split: Split, classes: Sequence[str] = ()) -> NDArray[np.int64]:
    """Indices of a split's objects that are of the classes; none named: of all.

    Raises InfeasibleError: the pack has no class of a name.
    """
    names = pack.manifest.class_names
    for name in classes:
        if name not in names:
            raise InfeasibleError(
                f"classes: pack {pack.path} has no class '{name[:80]}'; it has {', '.join(names)[:300]}"
            )
    objects = pack.objects(split)
    if not classes:
        return objects
    wanted = [index for index, name in enumerate(names) if name in classes]
    return objects[np.isin(pack.labels[objects], wanted)]


def view_of_each(pack: Pack, objects: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """[objects] rows of `pack.views`, one of each object's own views: chosen by seed and the object's key, so that it
    is the same whatever else is in the pack.

    Raises InfeasibleError: an object has no view.
    """
    found = np.empty(len(objects), dtype=np.int64)
    for place, index in enumerate(objects.tolist()):
        item = pack.manifest.objects[index]
        if item.views == 0:
            raise InfeasibleError(f"object {item.key[:80]!a} has no view; pack images of it too, or leave it out")
        drawn = hashlib.sha256(f"{seed} {item.key}".encode()).digest()
        found[place] = item.first_view + int.from_bytes(drawn[:8]) % item.views
    return found
