"""How a worker opens a trial: the recipe's session over a pack, rebuilt from plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from search_spaces.space import SearchSpace
from ssl_core.config import override
from ssl_core.data.pack import Pack
from ssl_core.errors import PackError
from ssl_core.recipe import RecipeConfig
from ssl_core.recipes import recipe_named
from ssl_core.training.session import TrialSession
from study.packs.object_store import is_uri
from study.packs.pack_storage import needed_files, open_pack
from study.session import TrialRequest


@dataclass(frozen=True)
class TrialOpener:
    """Opens sessions in workers. Holds plain values only, so it travels by any means.

    Attributes:
        recipe: its name.
        base: the base config as canonical JSON.
        pack: folder of the pack as all workers see it, or its URI: each node then fetches it once.
        pack_digest: what the pack must be.
    """

    recipe: str
    base: str
    pack: str
    pack_digest: str

    def config(self, values: Mapping[str, Any]) -> RecipeConfig:
        """The config that searched values mean. Raises ConfigError."""
        return override(recipe_named(self.recipe).config_type.from_json(self.base), values)

    def check(self, values: Mapping[str, Any]) -> None:
        """Raises ConfigError for values that are wrong or that the pack cannot serve."""
        config = self.config(values)
        recipe_named(self.recipe).check(config, self._open_pack(config))

    def open(self, values: Mapping[str, Any], seed: int) -> TrialSession:
        """A fresh session."""
        config = self.config(values)
        return TrialSession(recipe_named(self.recipe), config, self._open_pack(config), seed)

    def __call__(self, request: TrialRequest) -> TrialSession:
        """The session of a request; what `StudyPlan.open_session` wants."""
        return self.open(request.values, request.seed)

    def _open_pack(self, config: RecipeConfig) -> Pack:
        pack = _mapped(self.pack, needed_files(config.to_json()), self.pack_digest)
        if pack.digest != self.pack_digest:
            raise PackError(
                f"{self.pack} changed since the study began (digest {pack.digest}, expected {self.pack_digest}); "
                "restore it, or start a study of another name"
            )
        return pack


def trial_opener(space: SearchSpace, pack: Pack, place: str) -> TrialOpener:
    """The opener of a study whose pack lies at `place`, a path or URI."""
    where = place if is_uri(place) else str(pack.path.absolute())
    return TrialOpener(space.recipe, space.base_config.to_json(), where, pack.digest)


@lru_cache(maxsize=2)
def _mapped(place: str, need: frozenset[str], digest: str) -> Pack:
    """A warm worker keeps its pack mapped between trials."""
    return open_pack(place, need, digest)
