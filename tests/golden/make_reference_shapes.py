"""Parameter names and shapes of the cross-modal reference, as facts to test against.

    python tests/golden/make_reference_shapes.py STATE_DICT_SHAPES.json

The input lists, per model, the names and shapes found in the reference's checkpoints. Of its ResNet-18 only
the number of tensors is known beside where it comes from (torchvision's, classifier removed), so its names
are read there.
"""

import json
import sys
from pathlib import Path

import torch
import torchvision

MODELS = {"pointnet": "pointnet_cls", "pointnet2_msg": "pointnet2_cls_msg"}


def main(source: Path) -> None:
    listed = json.loads(source.read_text())
    shapes = {
        f"{ours} D={columns}": listed[f"pointnet_state_dict[{theirs},D={columns}]"]
        for ours, theirs in MODELS.items()
        for columns in (3, 10, 54)
    }
    shapes["fusion"] = listed["fusion_network_state_dict"]
    resnet = torchvision.models.resnet18(weights=None)
    resnet.fc = torch.nn.Identity()
    shapes["resnet18"] = {name: list(tensor.shape) for name, tensor in resnet.state_dict().items()}
    assert f"{len(shapes['resnet18'])} tensors" in listed["resnet18_state_dict"]
    lines = [f"{json.dumps(model)}: {json.dumps(names, separators=(',', ':'))}" for model, names in shapes.items()]
    Path(__file__).with_name("reference_shapes.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
