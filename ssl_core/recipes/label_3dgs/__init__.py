"""Labels on the Gaussians of a scene: see README.md in this folder."""

from ssl_core.data.scene_pack import ScenePack
from ssl_core.models.field_card import SceneFieldCard
from ssl_core.recipes.label_3dgs.config import Label3dgsConfig, paper, quick
from ssl_core.recipes.label_3dgs.teacher_labels import TEACHER
from ssl_core.recipes.label_3dgs.trial import FIELD, RECIPE, SCORE, FieldSession, check
from ssl_core.training.contract import Output, Recipe, Score

LABEL_3DGS = Recipe(
    name=RECIPE,
    title="Label-3DGS: labels on the Gaussians of a scene, from a 2D teacher's",
    config=Label3dgsConfig,
    presets={"quick": quick, "paper": paper},
    reads=ScenePack,
    outputs=(Output(FIELD, SceneFieldCard, Score(metric=SCORE)),),
    check=check,
    open=FieldSession,
    stages=(TEACHER,),
)
