"""What a stage says of itself: `facts.json`, by which a trial that is given another's stage notices."""

import json
import time
from pathlib import Path
from typing import Any

from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.errors import ConfigError


def write_facts(folder: Path, pack: ObjectPack, views: int, began: float, **more: Any) -> None:
    """Pack, views per object, objects and seconds since `began` (`time.perf_counter`), and what else is told."""
    seconds, objects = time.perf_counter() - began, len(pack.objects("train"))
    facts = {"pack": pack.digest, "objects": objects, "views": views, "seconds": round(seconds, 3)}
    text = json.dumps({**facts, "objects_per_second": round(objects / seconds, 2), **more})
    (folder / "facts.json").write_text(text)


def check_facts(folder: Path, pack: ObjectPack, views: int | None = None) -> None:
    """Raises ConfigError: the stage was made of another pack, or of another number of views where one is given."""
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
