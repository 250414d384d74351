"""Which encoder goes before the gate first."""

import json
from types import SimpleNamespace

from registry.versions.records import EncoderVersion, Lineage
from study.assess import promising_first
from study.record.metrics_file import metrics_path


def test_each_kind_goes_in_order_of_its_own_probe(tmp_path):
    probes = {3: {"points": 0.70, "image": 0.80}, 5: {"points": 0.75, "image": 0.60}}
    versions = []
    for number, probe in probes.items():
        path = metrics_path(tmp_path, number)
        path.parent.mkdir(parents=True)
        other = {"epoch": 3, "val/points_probe": 0.99 - probe["points"], "val/image_probe": 0.99}
        best = {"epoch": 2, "val/points_probe": probe["points"], "val/image_probe": probe["image"]}
        path.write_text("".join(json.dumps(line) + "\n" for line in (other, best)))
        for modality in ("points", "image"):
            versions.append(
                EncoderVersion(
                    name=f"cross-modal-{modality}",
                    version=number,
                    kind="",
                    feature_dim=8,
                    bundle_digest="",
                    lineage=Lineage(study="s", trial=number, run_id="r", seed=0),
                    created="",
                )
            )
    leaders = tuple(SimpleNamespace(number=number, best_epoch=2) for number in probes)
    order = promising_first(SimpleNamespace(folder=tmp_path), SimpleNamespace(leaders=leaders), versions)
    assert [(v.name.rpartition("-")[2], v.lineage.trial) for v in order] == [
        ("image", 3),
        ("image", 5),
        ("points", 5),
        ("points", 3),
    ]
