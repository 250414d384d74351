"""A recipe that takes of the contract what no other recipe takes: see README.md in this folder."""

from ssl_core.data.scene_pack import ScenePack
from ssl_core.models.cards import SceneFieldCard
from ssl_core.training.contract import Output, Recipe, Score, Stage
from tests.contracts.mock_recipe.config import MockConfig, RaysConfig, paper, quick
from tests.contracts.mock_recipe.trial import METRIC, MockSession, check, make_rays


def _rays(config: MockConfig) -> RaysConfig:
    return config.rays


MOCK_RECIPE = Recipe(
    name="mock_recipe",
    title="A light field of one scene",
    config=MockConfig,
    presets={"quick": quick, "paper": paper},
    reads=ScenePack,
    outputs=(Output("field", SceneFieldCard, Score(metric=METRIC, direction="minimize")),),
    check=check,
    open=MockSession,
    stages=(Stage("rays", _rays, make_rays),),
)
