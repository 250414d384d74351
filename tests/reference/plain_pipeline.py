"""The evaluation table the plain way: each setting reads and encodes everything anew, one object at a time."""

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torchvision.transforms import functional as transforms

from ssl_core.contracts import ImageContract, PointsContract
from ssl_core.data.object_pack import Pack
from ssl_core.data.point_sampler import PointSampler
from ssl_core.evaluation.features import view_subsets
from ssl_core.evaluation.probes import draw_labels
from ssl_core.evaluation.tasks.probing_report import EvaluationConfig
from ssl_core.models.build import Encoder
from tests.reference.stored_views import views_of


def plain_table(encoder: Encoder, pack: Pack, config: EvaluationConfig) -> dict[tuple[str, int | None], float]:
    """(label setting, number of views) -> test accuracy of a linear SVM; every setting encodes everything anew.

    One point draw, one subset of views and one label draw per setting.
    """
    train, test = pack.objects("train"), pack.objects("test")
    encoder, table = encoder.eval(), {}
    for setting in config.label_settings:
        chosen = draw_labels(pack.labels[train], per_class=setting.per_class, fraction=setting.fraction, seed=0)
        for views in _views(encoder, pack, config):
            fitted = np.stack([_feature(encoder, pack, int(index), views) for index in train[chosen]])
            scored = np.stack([_feature(encoder, pack, int(index), views) for index in test])
            scaler = StandardScaler().fit(fitted)
            probe = SVC(kernel="linear", C=config.svm_c).fit(scaler.transform(fitted), pack.labels[train[chosen]])
            table[setting.name, views] = float(np.mean(probe.predict(scaler.transform(scored)) == pack.labels[test]))
    return table


def _views(encoder: Encoder, pack: Pack, config: EvaluationConfig) -> list[int | None]:
    if isinstance(encoder.contract, PointsContract):
        return [None]
    available = int(pack.num_views.min())
    return sorted({min(views, available) for views in config.views} | {available})


def _feature(encoder: Encoder, pack: Pack, index: int, views: int | None) -> NDArray[np.float32]:
    """[F] of one object: of its points, or the maximum over its views."""
    with torch.no_grad():
        match encoder.contract:
            case PointsContract() as contract:
                one = np.array([index])
                points = PointSampler(pack, contract, one).draw(one, 0)
                return encoder(torch.from_numpy(points))[0].numpy()
            case ImageContract(image_size=size):
                stored = views_of(pack, index)
                subset = view_subsets(len(stored), views or len(stored), 1)[0]
                found = []
                for view in subset:
                    image = torch.from_numpy(np.ascontiguousarray(stored[view])).float()[None] / 255
                    if image.shape[-1] != size:
                        image = transforms.resize(image, [size, size], antialias=True)
                    found.append(image)
                return encoder(torch.cat(found)).numpy().max(axis=0)
