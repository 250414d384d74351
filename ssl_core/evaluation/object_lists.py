"""Which objects carried labels in which draw, and which were scored: `objects.json` beside a report.

Class, split and name identify an object of a pack (`PackObject.key`), so the lists say without this project what a
number was measured on; with it, they are drawn again from the config and must come out the same.
"""

from ssl_core.config import Config
from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.evaluation.probes import draw_labels
from ssl_core.evaluation.protocol import ProbingConfig

OBJECTS_FILE = "objects.json"


class LabelDraw(Config):
    """One draw of labels: `train` are places in the list of training objects, ascending."""

    labels: str
    draw: int
    seed: int
    train: tuple[int, ...]


class ObjectLists(Config):
    """All objects of an evaluation. No object of a draw is left out of its fit, none of `test` out of the scores."""

    pack_digest: str
    draw_seed: int
    class_names: tuple[str, ...]
    train: tuple[str, ...]
    test: tuple[str, ...]
    label_draws: tuple[LabelDraw, ...]
    point_draws: tuple[int, ...]
    """numbers of the point draws, for `PointSampler.draw`"""

    def labelled(self, labels: str, draw: int) -> tuple[str, ...]:
        """Keys of the objects that carried labels. Raises KeyError for a draw that was not made."""
        for found in self.label_draws:
            if (found.labels, found.draw) == (labels, draw):
                return tuple(self.train[place] for place in found.train)
        raise KeyError(f"no draw {draw} of '{labels}' labels")


def object_lists(pack: ObjectPack, config: ProbingConfig) -> ObjectLists:
    """The lists of an evaluation of `config` on `pack`."""
    train, test = pack.objects("train"), pack.objects("test")
    draws = []
    for setting in config.label_settings:
        for draw in range(setting.draws):
            seed = config.label_seed(draw)
            chosen = draw_labels(pack.labels[train], per_class=setting.per_class, fraction=setting.fraction, seed=seed)
            draws.append(LabelDraw(labels=setting.name, draw=draw, seed=seed, train=tuple(chosen.tolist())))
    keys = [item.key for item in pack.manifest.objects]
    return ObjectLists(
        pack_digest=pack.manifest.pack_digest,
        draw_seed=config.draw_seed,
        class_names=tuple(pack.manifest.class_names),
        train=tuple(keys[index] for index in train),
        test=tuple(keys[index] for index in test),
        label_draws=tuple(draws),
        point_draws=tuple(config.point_number(draw) for draw in range(config.point_draws)),
    )
