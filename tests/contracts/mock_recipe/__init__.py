"""A recipe that takes of the contract what no other recipe takes: see README.md in this folder."""

from ssl_core.data.scene_pack import ScenePack
from ssl_core.models.field_card import SceneFieldCard
from ssl_core.training.contract import Output, Recipe, Score, Stage
from tests.contracts.mock_recipe.config import MockConfig, PicturesConfig, paper, quick
from tests.contracts.mock_recipe.trial import METRIC, MockSession, check, make_pictures


def _pictures(config: MockConfig) -> PicturesConfig:
    return config.pictures


MOCK_RECIPE = Recipe(
    name="mock_recipe",
    title="Gaussians of one scene, so many and no more",
    config=MockConfig,
    presets={"quick": quick, "paper": paper},
    reads=ScenePack,
    outputs=(Output("field", SceneFieldCard, Score(metric=METRIC, direction="minimize")),),
    check=check,
    open=MockSession,
    stages=(Stage("pictures", _pictures, make_pictures),),
)
