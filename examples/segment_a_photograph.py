"""Segment a photograph with a pulled dense encoder, torch alone: nothing of this project is imported.

    splatsweep pull fit3d-dense@champion --to runs/pulled
    python examples/segment_a_photograph.py runs/pulled photograph.jpg [segments.png [GROUPS]]

The program gives features [1, C + G, h, w] of a photograph in the size that it was exported for. Without labels its
tokens are grouped by k-means; with a linear layer that was fitted on some labelled pictures they would be named.
"""

import json
import sys
from pathlib import Path

import torch


def photograph(file: str, height: int, width: int) -> torch.Tensor:
    """[1, 3, height, width] float32 in [0, 1]."""
    from torchvision.io import decode_image  # any reader of pictures does

    pixels = decode_image(file, mode="RGB")[None].float() / 255
    size = (height, width)
    return torch.nn.functional.interpolate(pixels, size, mode="bilinear", antialias=True).clamp(0, 1)


def grouped(tokens: torch.Tensor, groups: int, rounds: int = 20) -> torch.Tensor:
    """Tokens [n, C] -> the group of each, [n]: k-means from starts that are far apart."""
    standard = (tokens - tokens.mean(0)) / tokens.std(0).clamp_min(1e-6)
    centres = standard[:1]
    while len(centres) < min(groups, len(standard)):
        farthest = torch.cdist(standard, centres).amin(dim=1).argmax()
        centres = torch.cat((centres, standard[farthest][None]))
    for _ in range(rounds):
        mine = torch.cdist(standard, centres).argmin(dim=1)
        centres = torch.stack([standard[mine == k].mean(0) if (mine == k).any() else c for k, c in enumerate(centres)])
    return torch.cdist(standard, centres).argmin(dim=1)


def main(folder: str, picture: str, out: str = "segments.png", groups: str = "6") -> None:
    card = json.loads((Path(folder) / "encoder.json").read_text())["card"]
    program = torch.export.load(Path(folder) / "program.pt2").module()
    with torch.no_grad():
        features = program(photograph(picture, card["height"], card["width"]))[0]
    height, width = features.shape[1:]
    labels = grouped(features.flatten(1).T, int(groups)).view(1, 1, height, width)
    shown = torch.nn.functional.interpolate(labels.float(), (card["height"], card["width"]), mode="nearest")[0]
    colours = torch.tensor(
        [[230, 25, 75], [60, 180, 75], [255, 225, 25], [0, 130, 200], [245, 130, 48], [145, 30, 180]]
    )
    from torchvision.io import write_png

    write_png(colours[shown[0].long() % len(colours)].permute(2, 0, 1).to(torch.uint8), out)
    print(f"{out}: {height} x {width} tokens in {int(labels.max()) + 1} groups")


if __name__ == "__main__":
    main(*sys.argv[1:])
