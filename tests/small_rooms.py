"""Two or three small furnished rooms as a pack: exact depth and labels, 13 classes, in about a second."""

from pathlib import Path

from ssl_core.data.scene_pack import ScenePack, ScenePackConfig
from ssl_core.packing.scene_writer import write_scene_pack
from ssl_core.splatting.rooms import RoomsConfig, make_rooms

SMALL = RoomsConfig(rooms=3, views=8, image_size=32, points=500)


def small_rooms(folder: Path, rooms: int = 3, views: int = 8, image_size: int = 32, seed: int = 0) -> ScenePack:
    """A pack of `rooms` rooms: the first for training, one each for test and val (of two: train and test).

    Each has `views` views: every eighth for test, the next for val. The pack lies in `folder / "pack"`, the rooms in
    `folder / "rooms"`.
    """
    config = SMALL.model_copy(update={"rooms": rooms, "views": views, "image_size": image_size, "seed": seed})
    make_rooms(folder / "rooms", config)
    return write_scene_pack(folder / "rooms", folder / "pack", ScenePackConfig(), workers=1)
