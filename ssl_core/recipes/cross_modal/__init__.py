"""Cross-modal learning on Gaussian splats: see README.md in this folder."""

from ssl_core.recipe import Recipe
from ssl_core.recipes.cross_modal.config import CrossModalConfig, paper, paper_pointnet2, quick
from ssl_core.recipes.cross_modal.data import CrossModalData, check
from ssl_core.recipes.cross_modal.objective import CrossModalObjective

CROSS_MODAL = Recipe(
    name="cross_modal",
    title="Cross-modal learning on Gaussian splats",
    config_type=CrossModalConfig,
    presets={"quick": quick, "paper": paper, "paper_pointnet2": paper_pointnet2},
    check=check,
    objective=CrossModalObjective,
    data=CrossModalData,
)
