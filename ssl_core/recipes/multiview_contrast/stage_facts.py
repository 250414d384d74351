"""What a stage says of itself: the objects that its arrays are of, and `facts.json`, by which a trial that is given
another's stage notices."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from ssl_core.data.batches import Indices
from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.errors import ConfigError


def write_facts(folder: Path, pack: ObjectPack, views: int, began: float, **more: Any) -> None:
    """`objects.npy`, the training objects; pack, views per object, objects, seconds since `began`
    (`time.perf_counter`), and what else is told."""
    seconds, objects = time.perf_counter() - began, pack.objects("train")
    np.save(folder / "objects.npy", objects)
    facts = {"pack": pack.digest, "objects": len(objects), "views": views, "seconds": round(seconds, 3)}
    text = json.dumps({**facts, "objects_per_second": round(len(objects) / seconds, 2), **more})
    (folder / "facts.json").write_text(text)


def rows_of_objects(folder: Path, pack: ObjectPack, views: int | None = None) -> Indices:
    """Of each object of the pack, its row in the stage's arrays; -1 for none.

    Raises ConfigError: the stage was made of another pack, or of another number of views where one is given.
    """
    facts = json.loads((folder / "facts.json").read_text())
    made_of = facts.get("pack", pack.digest)
    if made_of != pack.digest:
        raise ConfigError(
            f"{folder} was made of pack {made_of}, and this trial reads pack {pack.digest}; give it that pack's stage"
        )
    if views is not None and facts["views"] != views:
        raise ConfigError(
            f"{folder} was made of {facts['views']} views per object, and the teacher's features are of {views}; make "
            "both with one setting of teacher.views"
        )
    objects = np.load(folder / "objects.npy")
    rows = np.full(len(pack.manifest.objects), -1, dtype=np.int64)
    rows[objects] = np.arange(len(objects))
    return rows
