"""What a study learns from: a pack of objects or of a scene, told apart by its manifest.

Whoever only moves packs and remembers them (study, registry) needs `path`, `digest` and `files`, which all kinds have.
"""

from pathlib import Path
from typing import Any

from ssl_core.data.manifest import as_manifest, kind_of_values, parse_values, read_values
from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.data.object_pack import PackManifest as ObjectManifest
from ssl_core.data.scene_pack import SceneManifest, ScenePack
from ssl_core.errors import PackError

Dataset = ObjectPack | ScenePack
DatasetManifest = ObjectManifest | SceneManifest


def open_dataset(path: Path | str, without: frozenset[str] = frozenset()) -> Dataset:
    """Map a pack folder of any kind.

    Args:
        path: the folder.
        without: optional files that were left behind, as of `Pack.open`.

    Raises:
        PackError: there is no pack, it is half-written, changed in size, or of a schema or kind that is not known.
    """
    path = Path(path)
    match _manifest(*read_values(path)):
        case ObjectManifest() as objects:
            return ObjectPack(path, objects, without)
        case SceneManifest() as scene:
            return ScenePack(path, scene)


def parse_manifest(content: bytes, file: Path | str) -> DatasetManifest:
    """A manifest of any kind from its text; `file` names it in messages. Raises PackError."""
    return _manifest(parse_values(content, file), file)


def _manifest(values: dict[str, Any], file: Path | str) -> DatasetManifest:
    match kind_of_values(values):
        case "object":
            return as_manifest(ObjectManifest, values, file)
        case "scene":
            return as_manifest(SceneManifest, values, file)
        case kind:
            raise PackError(f"{file}: is the pack of {ascii(kind)[1:-1][:20]}s; use the version that made it")
