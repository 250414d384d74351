"""Cards to test what every card must do: each encoder of the kit, and one of each further kind."""

from ssl_core.models.cards import Card, SceneFieldCard
from tests.contracts import encoders as kit

FIELD = SceneFieldCard(hidden=16, layers=2, frequencies=3)
CARDS: dict[str, Card] = {case.name: case.card for case in kit.CASES} | {"scene_field": FIELD}
ONE_OF_EACH: dict[str, Card] = {name: CARDS[name] for name in ("pointnet-plain", "resnet18", "scene_field")}
